"""Discriminators: counts, invariances, and the reduced first layers against a plain full formulation."""

import math

import torch

from augment.poseaug.discriminators import BodyPartDiscriminator, ProjectionDiscriminator, reduced_linear
from augment.poseaug.geometry import rotation_from_axis_angle
from augment.poseaug.settings import DiscriminatorSettings
from tests.unit.augment.poseaug.samples import SKELETON, poses


def test_published_parameter_counts() -> None:
    parts = BodyPartDiscriminator(DiscriminatorSettings(), SKELETON)
    assert parts.published_parameter_count == 1_076_205
    inputs = sorted(branch.layer_1.in_features for branch in parts.branches.values())
    assert inputs == [16, 16, 25, 25, 49]
    projections = ProjectionDiscriminator(DiscriminatorSettings(), SKELETON)
    assert sum(parameter.numel() for parameter in projections.parameters()) == 43_801


def full_scores(network: BodyPartDiscriminator, joints: torch.Tensor) -> torch.Tensor:
    """The published formulation: all 225 inputs of every part, masked."""
    child, parent = (
        torch.tensor(index.copy()) for index in (SKELETON.bone_child_index, SKELETON.bone_parent_index)
    )
    bones = joints[:, child] - joints[:, parent]
    unit = bones / bones.norm(dim=-1, keepdim=True)

    def score(part: str, branch: torch.nn.Module) -> torch.Tensor:
        chosen = torch.tensor(sorted(int(bone) for bone in SKELETON.part_bone_index(part)))
        mask = torch.zeros(SKELETON.n_bones, 1)
        mask[chosen] = 1.0
        gram = (unit * mask) @ (unit * mask).transpose(1, 2)
        weight = torch.full((branch.layer_1.out_features, SKELETON.n_bones, SKELETON.n_bones), 7.0)
        n = len(chosen)
        weight[:, chosen[:, None], chosen[None, :]] = branch.layer_1.weight.view(-1, n, n)
        first = torch.nn.functional.leaky_relu(
            gram.flatten(1) @ weight.flatten(1).t() + branch.layer_1.bias, 0.01
        )
        second = torch.nn.functional.leaky_relu(branch.layer_2(first), 0.01)
        last = torch.nn.functional.leaky_relu(branch.layer_last(branch.layer_3(second) + first), 0.01)
        return branch.score(last)

    return torch.cat([score(part, branch) for part, branch in network.branches.items()], dim=1)


def test_reduced_layers_equal_the_full_formulation_with_gradients() -> None:
    torch.manual_seed(0)
    network = BodyPartDiscriminator(DiscriminatorSettings(part_width=20, part_neck=8), SKELETON)
    joints = poses(6).requires_grad_(True)
    gradients = []
    for scores in (network(joints), full_scores(network, joints)):
        gradients.append(torch.autograd.grad(scores.square().sum(), [joints, *network.parameters()]))
    torch.testing.assert_close(network(joints), full_scores(network, joints), atol=1e-5, rtol=1e-4)
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-3)


def test_initial_weights_are_those_of_the_full_layer() -> None:
    torch.manual_seed(0)
    reduced = reduced_linear(49, 225, 4000)
    full = torch.nn.Linear(225, 4000)
    torch.nn.init.kaiming_normal_(full.weight)
    assert math.isclose(float(reduced.weight.detach().std()), float(full.weight.detach().std()), rel_tol=0.02)
    assert float(reduced.bias.detach().abs().max()) <= 1 / 15
    assert math.isclose(float(reduced.bias.detach().std()), float(full.bias.detach().std()), rel_tol=0.05)


def test_body_part_scores_ignore_place_view_and_size() -> None:
    torch.manual_seed(0)
    network = BodyPartDiscriminator(DiscriminatorSettings(part_width=20, part_neck=8), SKELETON)
    joints = poses(6)
    rotation = rotation_from_axis_angle(torch.randn(6, 3))
    moved = 1.7 * joints @ rotation.transpose(1, 2) + 3.0
    torch.testing.assert_close(network(moved), network(joints), atol=1e-4, rtol=1e-3)
    assert not torch.allclose(network(poses(6, 1)), network(joints), atol=1e-3)
