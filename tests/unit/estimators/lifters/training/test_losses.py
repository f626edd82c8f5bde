"""Losses of lifter training."""

import pytest
import torch

from estimators.lifters.training.losses import loss_per_sample
from poses.kinematics import bone_vectors
from poses.skeleton import load_skeleton

SKELETON = load_skeleton("h36m_16")


def poses(seed: int) -> torch.Tensor:
    return torch.randn(5, 16, 3, generator=torch.Generator().manual_seed(seed))


def test_joints_and_bones_is_the_papers_sum_over_the_number_of_coordinates() -> None:
    predicted, target = poses(0), poses(1)
    joints = (predicted - target).square().sum((1, 2))
    bones = (bone_vectors(predicted, SKELETON) - bone_vectors(target, SKELETON)).square().sum((1, 2))
    got = loss_per_sample("joints_bones", predicted, target, SKELETON)
    torch.testing.assert_close(got, (joints + bones) / 48)


def test_a_shifted_pose_has_right_bones() -> None:
    target = poses(2)
    shifted = target + torch.tensor([0.1, 0.2, 0.3])
    joints = loss_per_sample("joints", shifted, target, SKELETON)
    torch.testing.assert_close(loss_per_sample("joints_bones", shifted, target, SKELETON), joints)


def test_released_forms() -> None:
    predicted, target = poses(3), poses(4)
    error = predicted - target
    assert float(loss_per_sample("joints", predicted, target, SKELETON).mean()) == pytest.approx(
        float(torch.nn.functional.mse_loss(predicted, target))
    )
    torch.testing.assert_close(
        loss_per_sample("mse", predicted, target, SKELETON), error.square().mean((1, 2))
    )
    torch.testing.assert_close(loss_per_sample("l2", predicted, target, SKELETON), error.norm(dim=-1).mean(1))


def test_time_axis() -> None:
    predicted, target = poses(5), poses(6)
    once = loss_per_sample("joints_bones", predicted, target, SKELETON)
    twice = [values[:, None].expand(-1, 2, -1, -1) for values in (predicted, target)]
    torch.testing.assert_close(loss_per_sample("joints_bones", *twice, SKELETON), once)
