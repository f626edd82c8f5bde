"""Semi-supervised training: warm-up, joints by name, flips, resuming, and input that cannot be used."""

import dataclasses

import pytest
import torch

from estimators.errors import CheckpointError, LifterInputError
from estimators.lifters.settings import build_lifter
from estimators.lifters.simple_baseline import SimpleBaselineSettings
from estimators.lifters.temporal.trajectory import RootTrajectory
from estimators.lifters.temporal.videopose import VideoPoseSettings
from estimators.lifters.training.batch_norm import BatchNormMomentum
from estimators.lifters.training.mirroring import mirror_intrinsics, mirror_root
from estimators.lifters.training.semi_losses import (
    Labelled,
    LensModel,
    Unlabelled,
    projection_term,
    shared_joints,
)
from estimators.lifters.training.semi_supervised import SemiSupervisedSettings, SemiSupervisedTrainer
from poses.cameras import project_screen
from poses.kinematics import mirror_joints
from poses.skeleton import Skeleton, load_skeleton

SHAPE = VideoPoseSettings(channels=16, kernel_widths=(3, 3), dropout=0.2)
FRAMES = 9
CAMERA = torch.tensor([2.29, 2.287, 0.025, 0.0289, -0.207, 0.2478, -0.0031, -0.00098, -0.00142])


def trainer_of(
    settings: SemiSupervisedSettings | None = None, seed: int = 0, target: str | None = None
) -> SemiSupervisedTrainer:
    skeleton = load_skeleton("h36m_17")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        trajectory = RootTrajectory(SHAPE, skeleton)
    return SemiSupervisedTrainer(
        settings or SemiSupervisedSettings(warmup_epochs=0),
        build_lifter(SHAPE, skeleton, seed=seed),
        trajectory,
        seed=seed,
        target_skeleton=None if target is None else load_skeleton(target),
    )


def camera_poses(rows: int, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    joints = 0.3 * torch.randn(rows, FRAMES, 17, 3, generator=generator)
    return joints + torch.tensor([0.1, 0.2, 5.0])


def batches(rows: int = 6) -> tuple[Labelled, Unlabelled]:
    known, unknown = camera_poses(rows), camera_poses(rows, seed=2)
    cameras = CAMERA.expand(rows, 9)
    keypoints = [project_screen(joints, CAMERA[None, None]) for joints in (known, unknown)]
    middle = known[:, FRAMES // 2]
    return (
        Labelled(keypoints[0], middle - middle[:, :1], middle[:, 0]),
        Unlabelled(keypoints[1], keypoints[1][:, FRAMES // 2], cameras),
    )


def test_warm_up_leaves_unlabelled_windows_out() -> None:
    labelled, unlabelled = batches()
    trained = trainer_of(SemiSupervisedSettings(warmup_epochs=1))
    alone = trainer_of(SemiSupervisedSettings(warmup_epochs=1))
    first = trained.step(labelled, unlabelled)
    assert first == alone.step(labelled)
    assert (first.projection, first.bones) == (0.0, 0.0)
    trained.begin_epoch(1)
    after = trained.step(labelled, unlabelled)
    assert after.projection > 0
    assert after.bones > 0
    assert after.total == pytest.approx(
        after.position + after.trajectory + after.projection + after.bones, rel=1e-5
    )


def test_learns_to_place_poses_without_their_3d() -> None:
    labelled, unlabelled = batches(16)
    trainer = trainer_of()
    losses = [trainer.step(labelled, unlabelled) for _ in range(40)]
    assert losses[-1].projection < 0.7 * losses[0].projection, losses
    assert losses[-1].position < losses[0].position


def test_resumes_bit_for_bit() -> None:
    labelled, unlabelled = batches()
    whole, first = trainer_of(), trainer_of()
    losses = []
    for epoch in range(4):
        whole.begin_epoch(epoch)
        losses.append(whole.step(labelled, unlabelled))
    for epoch in range(2):
        first.begin_epoch(epoch)
        first.step(labelled, unlabelled)
    tensors, scalars = first.state_dict()
    resumed = trainer_of(seed=7)
    resumed.load_state_dict(tensors, scalars)
    for epoch in range(2, 4):
        resumed.begin_epoch(epoch)
        assert resumed.step(labelled, unlabelled) == losses[epoch]
    for name, value in whole.state_dict()[0].items():
        assert torch.equal(value, resumed.state_dict()[0][name]), name


def test_a_state_of_other_networks_is_refused() -> None:
    tensors, scalars = trainer_of().state_dict()
    with pytest.raises(CheckpointError, match=r"trajectory: tensor 'expand.mixing.linear.weight' is missing"):
        trainer_of().load_state_dict(
            {name: value for name, value in tensors.items() if not name.startswith("trajectory/expand")},
            scalars,
        )


def test_joints_are_compared_by_name_whatever_their_order() -> None:
    """COCO's order of keypoints against H36M's order of joints, which the released loss compares place by place."""
    ours, coco = load_skeleton("h36m_17"), load_skeleton("coco_17")
    shared = shared_joints(ours, coco)
    assert [ours.joints[i] for i in shared.predicted] == [coco.joints[i] for i in shared.target]
    assert len(shared.target) == 12
    joints = camera_poses(3)[:, :1]
    detections = torch.full((3, 1, coco.n_joints, 2), 9.0)
    projected = project_screen(joints, CAMERA[None, None], clamp=True)
    for name in set(ours.joints) & set(coco.joints):
        detections[:, :, coco.index(name)] = projected[:, :, ours.index(name)]
    cameras = CAMERA.expand(3, 9)
    assert float(projection_term(joints, detections, cameras, shared, distortion="published")) < 1e-6
    as_released = (projected - detections).norm(dim=-1).mean()
    assert float(as_released) > 1.0


def test_training_on_coco_detections() -> None:
    labelled, unlabelled = batches()
    trainer = trainer_of(target="coco_17")
    detections = dataclasses.replace(unlabelled, target_screen=torch.zeros(6, 17, 2))
    assert trainer.step(labelled, detections).projection > 0


def test_skeletons_without_a_common_joint_are_refused() -> None:
    strangers = Skeleton("other", ("hand", "finger"), (-1, 0))
    with pytest.raises(LifterInputError, match="'h36m_17' and 'other' share no joint"):
        shared_joints(load_skeleton("h36m_17"), strangers)


def test_the_mirrored_camera_sees_the_mirrored_pose() -> None:
    skeleton = load_skeleton("h36m_17")
    joints = camera_poses(4)[:, 0]
    mirrored = project_screen(mirror_joints(joints, skeleton), mirror_intrinsics(CAMERA)[None], clamp=True)
    wanted = mirror_joints(project_screen(joints, CAMERA[None], clamp=True), skeleton)
    torch.testing.assert_close(mirrored, wanted)
    assert torch.equal(mirror_root(joints[:, 0])[:, 1:], joints[:, 0, 1:])
    assert torch.equal(mirror_intrinsics(mirror_intrinsics(CAMERA)), CAMERA)


def test_flipped_prediction_is_the_same_for_mirrored_input() -> None:
    trainer, skeleton = trainer_of(), load_skeleton("h36m_17")
    keypoints = batches()[0].keypoints_screen
    poses = trainer.predict_camera(keypoints, flip=True)
    mirrored = trainer.predict_camera(mirror_joints(keypoints, skeleton), flip=True)
    torch.testing.assert_close(mirror_joints(mirrored, skeleton), poses, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        poses - poses[..., :1, :], trainer.predict(keypoints, flip=True), atol=1e-5, rtol=1e-5
    )


def test_batch_norm_forgets_more_slowly_every_epoch() -> None:
    momentum = BatchNormMomentum(first=0.1, last=0.001, epochs=10)
    assert momentum.at(0) == pytest.approx(0.1)
    assert momentum.at(5) == pytest.approx(0.01)
    assert momentum.at(10) == momentum.at(30) == pytest.approx(0.001)
    trainer = trainer_of(SemiSupervisedSettings(batch_norm_momentum=momentum))
    trainer.begin_epoch(5)
    (found,) = {
        part.momentum for part in trainer.trajectory.modules() if isinstance(part, torch.nn.BatchNorm1d)
    }
    assert found == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"root_camera_m": torch.tensor([[0.0, 0.0, -1.0]]).expand(6, 3)}, "roots in front of the camera"),
        ({"joints_root_m": torch.zeros(6, 16, 3)}, r"targets of shape \[6, 1, 16, 3\]"),
        ({"joints_root_m": torch.full((6, 17, 3), float("nan"))}, "wanted a finite number; look for NaN"),
        ({"keypoints_screen": torch.zeros(6, FRAMES - 1, 17, 2)}, "pad the clip"),
    ],
)
def test_input_that_cannot_be_used_is_named(change: dict[str, torch.Tensor], message: str) -> None:
    labelled, _ = batches()
    trainer = trainer_of()
    before = trainer.state_dict()[0]
    with pytest.raises(LifterInputError, match=message):
        trainer.step(dataclasses.replace(labelled, **change))
    assert all(
        torch.equal(before[name], value) for name, value in trainer.state_dict()[0].items() if "adam" in name
    )


def test_one_window_is_too_few() -> None:
    labelled, _ = batches(1)
    with pytest.raises(LifterInputError, match=r"1 sample\(s\) of 1 output frame\(s\), wanted at least 2"):
        trainer_of().step(labelled)


def test_networks_of_different_windows_are_refused() -> None:
    skeleton = load_skeleton("h36m_17")
    lifter = build_lifter(SimpleBaselineSettings(width=8), skeleton, seed=0)
    with pytest.raises(LifterInputError, match="lifter sees 1 frames of 17 joints, the trajectory model 9"):
        SemiSupervisedTrainer(SemiSupervisedSettings(), lifter, RootTrajectory(SHAPE, skeleton))


def test_the_lens_formulas_differ_and_can_be_left_out() -> None:
    skeleton = load_skeleton("h36m_17")
    shared, joints, cameras = shared_joints(skeleton, skeleton), camera_poses(3)[:, :1], CAMERA.expand(3, 9)
    seen: dict[LensModel, torch.Tensor] = {
        "published": project_screen(joints, cameras[:, None], distortion="published"),
        "brown_conrady": project_screen(joints, cameras[:, None], distortion="brown_conrady"),
        "none": joints[..., :2] / joints[..., 2:] * CAMERA[:2] + CAMERA[2:4],
    }
    for lens, keypoints in seen.items():
        errors = {
            other: float(projection_term(joints, keypoints, cameras, shared, distortion=other))
            for other in seen
        }
        assert errors[lens] < 1e-6
        assert min(value for other, value in errors.items() if other != lens) > 1e-6
