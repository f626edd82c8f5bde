"""RepNet's word on another lifter's poses: what it is a function of, and where its gradients go."""

import torch
from torch import Tensor

from estimators.lifters.repnet.critic import KinematicChainCritic
from estimators.lifters.repnet.flat_pose import flatten_joints
from estimators.lifters.repnet.lifter import RepNetLifter, build_repnet
from estimators.lifters.repnet.settings import CriticSettings, RepNetSettings, RepNetTrainerSettings
from estimators.lifters.repnet.torso import align_to_torso
from estimators.lifters.repnet.weak_supervision import WeakSupervision
from poses.rotations import axis_angle_to_matrix
from poses.skeleton import load_skeleton

SKELETON = load_skeleton("h36m_16")
SETTINGS = RepNetTrainerSettings(
    critic=CriticSettings(pose_width=8, chain_width=16, joined_width=8),
    reprojection_weight=3.0,
    weak_adversarial_weight=0.5,
)


def parts() -> tuple[WeakSupervision, RepNetLifter, KinematicChainCritic]:
    torch.manual_seed(0)
    lifter = build_repnet(RepNetSettings(width=16, pose_blocks=1, camera_blocks=1), SKELETON, 1)
    critic = KinematicChainCritic(SETTINGS.critic, SKELETON)
    return WeakSupervision(SETTINGS, lifter, critic), lifter, critic


def data(rows: int = 6) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(5)
    return torch.randn(rows, 16, 3, generator=random), torch.rand(rows, 16, 2, generator=random)


def test_total_is_the_weighted_sum_and_the_critic_is_asked_in_the_bodys_frame() -> None:
    weak, _, critic = parts()
    joints, keypoints = data()
    found = weak.losses(joints, keypoints)
    torch.testing.assert_close(found.total, 3.0 * found.reprojection + 0.5 * found.critic)
    aligned = align_to_torso(joints, SKELETON, SETTINGS.torso).joints_m
    torch.testing.assert_close(found.critic, critic(flatten_joints(aligned)).mean())


def test_place_view_and_size_of_a_pose_do_not_count() -> None:
    weak, _, _ = parts()
    joints, keypoints = data()
    turn = axis_angle_to_matrix(torch.tensor([[0.3, -1.1, 0.4]]))
    moved = 1.7 * joints @ turn.transpose(1, 2) + torch.tensor([0.2, 3.0, 5.0])
    one, other = weak.losses(joints, keypoints), weak.losses(moved, keypoints)
    torch.testing.assert_close(one.total, other.total, rtol=1e-4, atol=1e-5)


def test_repnets_own_pose_has_repnets_own_reprojection() -> None:
    weak, lifter, _ = parts()
    _, keypoints = data()
    estimate = lifter.estimate(keypoints)
    # A pose in the body's frame is what the camera was made for; aligned it is another one as a rule.
    aligned = align_to_torso(estimate.joints_body_m, SKELETON, SETTINGS.torso).joints_m
    image = aligned @ estimate.camera.transpose(1, 2)
    wanted = (flatten_joints(image) - estimate.keypoints.flat).abs().mean()
    torch.testing.assert_close(weak.losses(estimate.joints_body_m, keypoints).reprojection, wanted)


def test_gradients_reach_the_poses_alone_and_lead_downhill() -> None:
    weak, lifter, critic = parts()
    joints, keypoints = data()
    joints.requires_grad_()
    before = weak.losses(joints, keypoints)
    before.total.backward()
    assert joints.grad is not None
    assert all(parameter.grad is None for parameter in (*lifter.parameters(), *critic.parameters()))
    after = weak.losses(joints.detach() - 1e-2 * joints.grad, keypoints)
    assert float(after.total) < float(before.total.detach())
