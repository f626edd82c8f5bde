"""ST-GCN: its graphs on any skeleton, the joint put in, small batches, checkpoints that are not for it."""

import pytest
import torch

from estimators.errors import CheckpointError, LifterInputError
from estimators.lifters.graphs.semgcn import SemGCNSettings
from estimators.lifters.graphs.stgcn import STGCNLifter, STGCNSettings
from estimators.lifters.graphs.stgcn_graph import body_graph, inner_skeleton
from estimators.lifters.settings import build_lifter
from poses.skeleton import load_skeleton, skeleton_names

SKELETON = load_skeleton("h36m_16")
SMALL = STGCNSettings(channels=(8, 8, 16), part_channels=16, dropout=0.0)


def lifter_of(settings: STGCNSettings = SMALL) -> STGCNLifter:
    torch.manual_seed(0)
    return STGCNLifter(settings, SKELETON).eval()


def keypoints(rows: int) -> torch.Tensor:
    return torch.rand(rows, 16, 2, generator=torch.Generator().manual_seed(3)) * 2 - 1


@pytest.mark.parametrize("name", skeleton_names())
def test_partitions_of_any_skeleton_add_up_to_normalised_columns(name: str) -> None:
    skeleton = load_skeleton(name)
    graph = body_graph(skeleton)
    for split in (graph.joints, graph.parts):
        torch.testing.assert_close(split.sum((0, 1)), torch.ones(split.shape[1]))
        assert int((split > 0).sum(0).max()) == 1
    assert sorted(joint for part in graph.members for joint in part) == list(range(skeleton.n_joints))


def test_the_seventeenth_joint_lies_between_thorax_and_head() -> None:
    inner, inward, outward = inner_skeleton(SKELETON)
    assert inner.name == "h36m_17"
    points = keypoints(1)[0]
    inserted = inward @ points
    middle = (points[SKELETON.index("thorax")] + points[SKELETON.index("head")]) / 2
    torch.testing.assert_close(inserted[inner.index("neck_nose")], middle)
    torch.testing.assert_close(outward @ inserted, points)


def test_other_skeletons_stay_as_they_are() -> None:
    skeleton = load_skeleton("coco_17")
    assert inner_skeleton(skeleton)[0] is skeleton


def test_the_input_norm_has_the_published_eps() -> None:
    assert lifter_of().stgcn.data_bn.eps == 0.1


def test_published_dropout_of_every_layer() -> None:
    def rates(settings: STGCNSettings) -> set[float]:
        parts = lifter_of(settings).modules()
        return {part.probability for part in parts if hasattr(part, "probability")}

    assert rates(STGCNSettings(channels=(8, 8, 16), part_channels=16)) == {0.05, 0.1, 0.25}
    assert rates(SMALL) == {0.0}


def test_one_pose_and_none() -> None:
    lifter = lifter_of()
    torch.testing.assert_close(lifter(keypoints(1)), lifter(keypoints(4))[:1], atol=1e-5, rtol=1e-4)
    assert lifter(keypoints(0)).shape == (0, 16, 3)
    lifter.train()
    with pytest.raises(LifterInputError, match="at least two poses"):
        lifter(keypoints(1))
    assert lifter(keypoints(2), "loss").shape == (2, 16, 3)


def test_the_loss_sees_the_predicted_root() -> None:
    lifter = lifter_of()
    raw, relative = lifter(keypoints(3), "loss"), lifter(keypoints(3))
    assert bool(raw[:, 0].any())
    torch.testing.assert_close(relative, raw - raw[:, :1])


def test_pixels_and_missing_keypoints_are_refused() -> None:
    lifter, inputs = lifter_of(), keypoints(2)
    with pytest.raises(LifterInputError, match="look like pixels"):
        lifter((inputs + 1) * 500)
    inputs[0, 3] = float("nan")
    with pytest.raises(LifterInputError, match="NaN"):
        lifter(inputs)


def test_a_checkpoint_of_another_architecture_is_refused() -> None:
    lifter = lifter_of()
    other = build_lifter(SemGCNSettings(channels=8, blocks=1), SKELETON, seed=0)
    with pytest.raises(CheckpointError, match="ST-GCN state: tensor"):
        lifter.from_published_state(other.to_published_state())
    wider = lifter_of(STGCNSettings(channels=(8, 8, 16), part_channels=32))
    with pytest.raises(CheckpointError, match="part_channels"):
        lifter.from_published_state(wider.to_published_state())
