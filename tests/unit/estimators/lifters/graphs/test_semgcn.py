"""SemGCN: groups of joints, first weights, the fast form, the root, input that is not for it."""

import math

import pytest
import torch

from estimators.errors import CheckpointError, LifterInputError
from estimators.lifters.graphs.convolution import (
    ChannelGraphConvolution,
    PlainGraphConvolution,
    SemanticGraphConvolution,
)
from estimators.lifters.graphs.joint_graphs import adjacency_mask, joint_groups
from estimators.lifters.graphs.non_local import GraphNonLocal
from estimators.lifters.graphs.semgcn import SemGCNLifter, SemGCNSettings
from estimators.lifters.graphs.semgcn_inference import CHUNK
from estimators.lifters.settings import build_lifter
from estimators.lifters.simple_baseline import SimpleBaselineSettings
from poses.errors import SkeletonError
from poses.skeleton import load_skeleton, skeleton_names

SKELETON = load_skeleton("h36m_16")
SMALL = SemGCNSettings(channels=16, blocks=2, non_local=True)
PUBLISHED_GROUPS = {
    ("right_knee", "right_ankle"),
    ("left_knee", "left_ankle"),
    ("right_hip", "left_hip"),
    ("pelvis", "spine"),
    ("thorax", "head"),
    ("right_elbow", "right_wrist"),
    ("left_shoulder", "right_shoulder"),
    ("left_elbow", "left_wrist"),
}


def lifter_of(settings: SemGCNSettings = SMALL, skeleton: str = "h36m_16") -> SemGCNLifter:
    """With BatchNorms that do something."""
    torch.manual_seed(0)
    lifter = SemGCNLifter(settings, load_skeleton(skeleton))
    for part in lifter.modules():
        if isinstance(part, torch.nn.BatchNorm1d) and part.running_mean is not None:
            torch.nn.init.uniform_(part.weight, 0.5, 1.5)
            torch.nn.init.normal_(part.running_mean, std=0.1)
    for name, value in lifter.named_parameters():
        if name.endswith(".e"):
            torch.nn.init.normal_(value)
    return lifter.eval()


def keypoints(rows: int, joints: int = 16) -> torch.Tensor:
    return torch.rand(rows, joints, 2, generator=torch.Generator().manual_seed(3)) * 2 - 1


def test_groups_of_h36m_16_are_the_published_ones() -> None:
    assert {frozenset(group) for group in joint_groups(SKELETON)} == {
        frozenset(group) for group in PUBLISHED_GROUPS
    }


@pytest.mark.parametrize("name", skeleton_names())
def test_every_skeleton_has_groups_of_two_and_few_lonely_joints(name: str) -> None:
    skeleton = load_skeleton(name)
    groups = joint_groups(skeleton)
    assert sorted(joint for group in groups for joint in group) == sorted(skeleton.joints)
    lonely = [group for group in groups if len(group) == 1]
    assert all(len(group) <= 2 for group in groups)
    assert len(lonely) <= 3
    assert len(lonely) % 2 == skeleton.n_joints % 2


def test_wrong_groups_are_refused() -> None:
    with pytest.raises(SkeletonError, match="every joint of skeleton 'h36m_16' once"):
        SemGCNLifter(SemGCNSettings(joint_groups=(("pelvis", "spine"),), non_local=True), SKELETON)
    with pytest.raises(SkeletonError, match="no joint 'nose'"):
        SemGCNLifter(SemGCNSettings(joint_groups=(("pelvis", "nose"),)), SKELETON)


def test_first_weights_follow_the_released_rules() -> None:
    torch.manual_seed(1)
    layer, channels = SemanticGraphConvolution(128, 128, SKELETON), ChannelGraphConvolution(128, 64, SKELETON)
    bound = 1.414 * math.sqrt(6 / (128 * 128 + 2 * 128))
    assert bound == pytest.approx(0.02685, abs=1e-5)
    assert 0.98 * bound < float(layer.W.detach().abs().max()) <= bound
    assert bool((layer.e == 1).all())
    assert 0.9 / math.sqrt(128) < float(layer.bias.detach().abs().max()) <= 1 / math.sqrt(128)
    assert float(channels.bias.detach().abs().max()) <= 1 / math.sqrt(128)
    plain = PlainGraphConvolution(128, 128, SKELETON)
    assert float(plain.W.detach().abs().max()) > 0.2
    block = GraphNonLocal(128, joint_groups(SKELETON), SKELETON)
    assert torch.equal(block(x := torch.randn(4, 16, 128)), x)
    assert float(block.theta.weight.detach().std()) == pytest.approx(math.sqrt(2 / 128), rel=0.05)
    assert not block.theta.bias.detach().any()


def test_first_adjacency_is_the_row_normalised_one() -> None:
    mask = adjacency_mask(SKELETON).float()
    adjacency = SemanticGraphConvolution(2, 3, SKELETON).adjacency()[0].detach()
    torch.testing.assert_close(adjacency, mask / mask.sum(1, keepdim=True))


def test_the_number_of_an_edge_belongs_to_its_row() -> None:
    """Row-major order: the first numbers are those of the first joint's row."""
    layer = SemanticGraphConvolution(2, 3, SKELETON)
    with torch.no_grad():
        layer.e[0, 0] = 5.0
    adjacency = layer.adjacency()[0].detach()
    first = SKELETON.root_index
    assert float(adjacency[first, first]) > 0.9
    torch.testing.assert_close(adjacency[1:], SemanticGraphConvolution(2, 3, SKELETON).adjacency()[0, 1:])


@pytest.mark.parametrize("graph", ["shared", "channel_wise", "plain"])
@pytest.mark.parametrize("skeleton", ["h36m_16", "h36m_17"])
@pytest.mark.parametrize("rows", [1, CHUNK + 1])
def test_the_fast_form_gives_the_same_numbers(graph: str, skeleton: str, rows: int) -> None:
    lifter = lifter_of(SMALL.model_copy(update={"graph": graph}), skeleton)
    inputs = keypoints(rows, lifter.skeleton.n_joints)
    with torch.no_grad():
        fast = lifter(inputs)
    plain = lifter(inputs)
    assert plain.requires_grad
    assert not fast.requires_grad
    torch.testing.assert_close(fast, plain.detach(), atol=2e-6, rtol=1e-4)


def test_the_fast_form_follows_the_weights() -> None:
    lifter, inputs = lifter_of(), keypoints(3)
    kept = lifter.folded()
    with torch.inference_mode():
        before = lifter.network(inputs)
    with torch.no_grad():
        lifter.gconv_output.bias.add_(1.0)
        torch.testing.assert_close(lifter.network(inputs), before + 1.0)
        torch.testing.assert_close(kept(inputs), before)


def test_evaluation_mode_has_gradients_for_its_input() -> None:
    lifter, inputs = lifter_of(), keypoints(3).requires_grad_()
    lifter.requires_grad_(False)
    lifter(inputs).square().sum().backward()
    assert float(inputs.grad.abs().sum()) > 0


def test_the_loss_sees_the_predicted_root() -> None:
    lifter, inputs = lifter_of(), keypoints(4)
    raw, relative = lifter(inputs, "loss"), lifter(inputs)
    assert bool(raw[:, SKELETON.root_index].any())
    torch.testing.assert_close(relative, raw - raw[:, :1])
    lifter.train()
    raw = lifter(inputs, "loss")
    assert bool(raw[:, SKELETON.root_index].any())


def test_an_empty_batch_gives_an_empty_batch() -> None:
    lifter = lifter_of()
    with torch.no_grad():
        assert lifter(keypoints(0)).shape == (0, 16, 3)
    assert lifter(keypoints(0)).shape == (0, 16, 3)


def test_a_single_pose_can_be_trained_on() -> None:
    lifter = lifter_of().train()
    lifter(keypoints(1), "loss").square().mean().backward()
    assert all(bool(torch.isfinite(value.grad).all()) for value in lifter.parameters())


def test_a_checkpoint_of_another_architecture_is_refused() -> None:
    lifter = lifter_of()
    local = lifter_of(SemGCNSettings(channels=16, blocks=2))
    with pytest.raises(CheckpointError, match=r"SemGCN state: tensor .*nonlocal|non_local"):
        lifter.from_published_state(local.to_published_state())
    other = build_lifter(SimpleBaselineSettings(width=8), SKELETON, seed=0)
    before = {name: value.clone() for name, value in lifter.state_dict().items()}
    with pytest.raises(CheckpointError, match="another architecture"):
        lifter.from_published_state(other.to_published_state())
    assert all(torch.equal(value, before[name]) for name, value in lifter.state_dict().items())


def test_pixels_and_missing_keypoints_are_refused() -> None:
    lifter, inputs = lifter_of(), keypoints(2)
    with pytest.raises(LifterInputError, match="look like pixels"):
        lifter((inputs + 1) * 500, "loss")
    inputs[0, 3] = float("nan")
    with pytest.raises(LifterInputError, match="NaN"), torch.no_grad():
        lifter(inputs)
