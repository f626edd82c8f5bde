"""Mass generation: independence of the batch, consistent pairs, provenance, both normalisations, checkpoints."""

import numpy as np
import pytest
import torch

from augment.contract import UP_COLUMN
from augment.errors import AugmentError
from augment.poseaug.augmentor import PoseAugAugmentor
from augment.poseaug.trained import TrainedAugmentor, export_augmentor, import_augmentor
from augment.validity import REASONS
from estimators.checkpoints import Checkpoint, checkpoint_from_bytes, checkpoint_to_bytes
from estimators.lifters.settings import build_lifter
from estimators.lifters.simple_baseline import SimpleBaselineSettings
from poses.batch import PoseBatch
from poses.cameras import make_camera_px, project_px
from poses.identity import derive_ids
from poses.skeleton import load_skeleton
from tests.unit.augment.poseaug.samples import SKELETON, gan_batch, poses, small_learner


@pytest.fixture(scope="module")
def trained() -> TrainedAugmentor:
    learner, lifter = small_learner(), build_lifter(SimpleBaselineSettings(width=8), SKELETON, seed=0)
    for step in range(30):
        learner.gan_step(gan_batch(64, seed=step), lifter, epoch=1)
    with torch.no_grad():
        learner.generator.rigid_motion.translation_head.output.bias.copy_(torch.tensor([0.0, 0.0, 2.0]))
    return import_augmentor(checkpoint_from_bytes(checkpoint_to_bytes(*export_augmentor(learner))))


def batch_of(rows: int, up: bool = False) -> PoseBatch:
    joints = poses(rows, 11).numpy()
    cameras = np.tile(
        make_camera_px((1145.0, 1144.0), (512.0, 515.0), (1000.0, 1002.0), k1=-0.2, k2=0.2), (rows, 1)
    )
    text = np.full(rows, "x", dtype=object)
    ids = np.arange(100, 100 + rows, dtype=np.int64)
    extra = {UP_COLUMN: np.tile(np.float32([0.0, -1.0, 0.0]), (rows, 1))} if up else {}
    return PoseBatch(
        skeleton=SKELETON,
        sample_id=ids,
        joints_camera_m=joints,
        keypoints_px=project_px(joints, cameras),
        keypoint_confidence=np.zeros((rows, 16), np.float32),
        camera_px=cameras,
        source_id=ids,
        copy=np.zeros(rows, np.int32),
        frame=np.arange(rows, dtype=np.int32),
        clip=text,
        subject=text,
        action=text,
        camera_name=text,
        extra=extra,
    )


def test_pairs_project_and_carry_their_origin(trained: TrainedAugmentor) -> None:
    batch = batch_of(200)
    made = PoseAugAugmentor(trained, seed=5).augment(batch, copy=2)
    pairs = made.pairs
    assert len(pairs) > 20
    assert len(made.rejected) > 0
    assert len(pairs) + len(made.rejected) == 200
    assert sorted([*pairs.source_id.tolist(), *made.rejected.source_id.tolist()]) == batch.sample_id.tolist()
    assert set(made.rejected.counts()) <= set(REASONS)
    pairs.validate()
    np.testing.assert_allclose(pairs.keypoints_px, project_px(pairs.joints_camera_m, pairs.camera_px))
    np.testing.assert_array_equal(pairs.sample_id, derive_ids(pairs.source_id, 5, "poseaug", 2))
    assert set(pairs.copy.tolist()) == {2}
    assert bool((pairs.keypoint_confidence == 1).all())
    assert pairs.extra["augment_bone_length_ratio"].shape == (len(pairs), 9)
    np.testing.assert_allclose(pairs.extra["augment_translation_m"], pairs.joints_camera_m[:, 0], atol=1e-5)


def test_a_row_does_not_depend_on_its_batch(trained: TrainedAugmentor) -> None:
    batch = batch_of(60)
    augmentor = PoseAugAugmentor(trained, seed=5)
    whole = augmentor.augment(batch, copy=1).pairs
    order = np.random.default_rng(0).permutation(60)
    for index in (order, order[:7], np.arange(60)[::-1]):
        part = augmentor.augment(batch.take(index), copy=1).pairs
        where = [whole.sample_id.tolist().index(identity) for identity in part.sample_id.tolist()]
        assert part.joints_camera_m.tobytes() == whole.joints_camera_m[where].tobytes()
        assert part.keypoints_px.tobytes() == whole.keypoints_px[where].tobytes()


def test_copies_and_seeds_differ(trained: TrainedAugmentor) -> None:
    batch = batch_of(40)
    one, two = (PoseAugAugmentor(trained, seed=5).augment(batch, copy=copy).pairs for copy in (1, 2))
    other = PoseAugAugmentor(trained, seed=6).augment(batch, copy=1).pairs
    assert not set(one.sample_id.tolist()) & (set(two.sample_id.tolist()) | set(other.sample_id.tolist()))
    common = np.intersect1d(one.source_id, two.source_id)[0]
    assert not np.allclose(
        one.joints_camera_m[one.source_id == common], two.joints_camera_m[two.source_id == common]
    )


def test_batch_normalisation_follows_the_batch_and_leaves_the_network_alone(
    trained: TrainedAugmentor,
) -> None:
    batch = batch_of(60)
    before = {name: value.clone() for name, value in trained.generator.state_dict().items()}
    augmentor = PoseAugAugmentor(trained, seed=5, normalisation="batch")
    whole, half = augmentor.augment(batch, 1).pairs, augmentor.augment(batch.take(np.arange(30)), 1).pairs
    common = np.intersect1d(whole.source_id, half.source_id)
    assert len(common) > 3
    a, b = (p.joints_camera_m[np.isin(p.source_id, common)] for p in (whole, half))
    assert not np.allclose(a, b, atol=1e-3)
    for name, value in trained.generator.state_dict().items():
        assert torch.equal(value, before[name])


def test_up_is_turned_with_the_pose(trained: TrainedAugmentor) -> None:
    batch = batch_of(60, up=True)
    pairs = PoseAugAugmentor(trained, seed=5).augment(batch, copy=1).pairs
    up = pairs.extra[UP_COLUMN]
    np.testing.assert_allclose(np.linalg.norm(up, axis=-1), 1.0, atol=1e-5)
    # the torso keeps its direction in the body, so its angle to "up" survives the rotation
    source = batch.take(np.searchsorted(batch.sample_id, pairs.source_id))
    spine = SKELETON.index("spine")
    for name, poses_, ups in (("source", source, source.extra[UP_COLUMN]), ("made", pairs, up)):
        bone = poses_.joints_camera_m[:, spine] - poses_.joints_camera_m[:, 0]
        angle = (bone * ups).sum(-1) / np.linalg.norm(bone, axis=-1)
        if name == "source":
            wanted = angle
    np.testing.assert_allclose(angle, wanted, atol=1e-4)


def test_scores_are_recorded_on_demand(trained: TrainedAugmentor) -> None:
    pairs = PoseAugAugmentor(trained, seed=5, record_scores=True).augment(batch_of(30), copy=1).pairs
    assert pairs.extra["augment_score_3d"].shape == (len(pairs), 5)
    with torch.no_grad():
        wanted = trained.body_part_discriminator(torch.from_numpy(pairs.joints_camera_m)).numpy()
    np.testing.assert_allclose(pairs.extra["augment_score_3d"], wanted, atol=1e-4)
    assert pairs.extra["augment_score_2d"].shape == (len(pairs),)


def test_wrong_skeletons_and_checkpoints_are_refused(trained: TrainedAugmentor) -> None:
    with pytest.raises(AugmentError, match=r"'h36m_16' \(16 joints\), got poses of 'h36m_17' \(17\)"):
        PoseAugAugmentor(trained, seed=0).augment(PoseBatch.empty(load_skeleton("h36m_17")), copy=1)
    with pytest.raises(AugmentError, match="kind 'poseaug', got 'lifter'"):
        import_augmentor(Checkpoint(tensors={}, metadata={"kind": "lifter"}))


def test_an_empty_batch_gives_an_empty_answer(trained: TrainedAugmentor) -> None:
    made = PoseAugAugmentor(trained, seed=5).augment(batch_of(3).take(np.zeros(0, np.int64)), copy=1)
    assert len(made.pairs) == len(made.rejected) == 0
