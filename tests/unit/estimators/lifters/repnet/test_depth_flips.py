"""What tells a pose from its mirror image in depth: the frames' conventions, and which losses can see a flip.

For a camera K and a pose X in the body's frame, the pose with z negated and K with its third column negated make the
same image. That camera is a scaled proper rotation as well, and all bone lengths and angles are the same.
"""

import torch
from torch import Tensor

from estimators.lifters.repnet.camera import camera_loss, camera_parts, reproject
from estimators.lifters.repnet.critic import KinematicChainCritic
from estimators.lifters.repnet.flat_pose import flatten_joints
from estimators.lifters.repnet.settings import CriticSettings
from estimators.lifters.repnet.torso import align_to_torso
from poses.rotations import axis_angle_to_matrix
from poses.skeleton import load_skeleton
from tests.unit.pipelines.closed_loop.loop_parts import source_poses

SKELETON = load_skeleton("h36m_16")
FLIP = torch.tensor([1.0, 1.0, -1.0])


def cameras(rows: int) -> Tensor:
    turn = axis_angle_to_matrix(torch.randn(rows, 3, generator=torch.Generator().manual_seed(2)))
    return 1.3 * turn[:, :2]


def test_image_camera_loss_and_chain_do_not_see_a_flip_but_coordinates_do() -> None:
    torch.manual_seed(0)
    critic = KinematicChainCritic(CriticSettings(pose_width=8, chain_width=16, joined_width=8), SKELETON)
    pose = align_to_torso(source_poses(6).joints_root_m, SKELETON).joints_m
    camera = cameras(6)
    torch.testing.assert_close(reproject(camera * FLIP, pose * FLIP), reproject(camera, pose))
    torch.testing.assert_close(camera_loss(camera * FLIP), camera_loss(camera))
    flat, flipped = flatten_joints(pose), flatten_joints(pose * FLIP)
    torch.testing.assert_close(critic.psi(flipped), critic.psi(flat))
    assert not torch.allclose(critic(flipped), critic(flat))


def test_cameras_are_proper_rotations_flipped_ones_too() -> None:
    camera = cameras(6)
    for one in (camera, camera * FLIP):
        determinant = torch.linalg.det(camera_parts(one).rotation)
        torch.testing.assert_close(determinant, torch.ones(6))


def test_alignment_keeps_handedness_and_a_body_before_the_camera_keeps_its_axes() -> None:
    poses = source_poses(6).joints_root_m  # people that face a level camera, in its axes
    aligned = align_to_torso(poses, SKELETON)
    torch.testing.assert_close(torch.linalg.det(aligned.rotation), torch.ones(6))
    facing = aligned.rotation.diagonal(dim1=1, dim2=2)
    assert bool((facing > 0.8).all()), "x right, y down, z away are the body's axes, too"
