"""RepNet's losses by name, and those that need no critic."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from estimators.lifters.repnet.camera import camera_loss, centre_on_available, reproject, reprojection_loss
from estimators.lifters.repnet.flat_pose import unflatten_joints
from estimators.lifters.repnet.settings import RepNetTrainerSettings
from poses.skeleton import Skeleton


@dataclass(frozen=True)
class RepNetLosses:
    """Losses of one step before its updates, means over the batch.

    Args:
        critic: Sum of the three of the critic.
        critic_real, critic_fake: Mean score of real poses, minus that of the generator's.
        gradient_penalty: Weighted.
        generator: Weighted sum of all terms of the generator.
        adversarial: Mean score of the generator's poses by the updated critic.
        reprojection, camera: Unweighted.
        turned_pose_m, turned_camera: Of `turned_views.turned_losses`, unweighted; 0 without that term.
    """

    critic: float
    critic_real: float
    critic_fake: float
    gradient_penalty: float
    generator: float
    adversarial: float
    reprojection: float
    camera: float
    turned_pose_m: float = 0.0
    turned_camera: float = 0.0


def joint_weights(settings: RepNetTrainerSettings, skeleton: Skeleton) -> Float[Tensor, " J"]:
    """Weight of every joint's reprojection; SkeletonError if the settings name a joint that is not there."""
    weights = settings.joint_weights
    for joint in weights:
        skeleton.index(joint)
    return torch.tensor([weights.get(joint, 1.0) for joint in skeleton.joints])


def image_losses(
    settings: RepNetTrainerSettings,
    keypoints_flat: Float[Tensor, "B D"],
    poses_flat: Float[Tensor, "B P"],
    camera_flat: Float[Tensor, "B 6"],
    joint_weight: Float[Tensor, " J"],
    availability: Float[Tensor, "B J"] | None = None,
) -> tuple[Tensor, Tensor]:
    """Mean reprojection and camera losses of a batch."""
    camera = camera_flat.view(-1, 2, 3)
    joints_m, weight = unflatten_joints(poses_flat, 3), joint_weight
    if availability is not None:
        joints_m = centre_on_available(joints_m, availability)
        weight = joint_weight * availability
    keypoints = unflatten_joints(keypoints_flat, 2)
    reprojection = reprojection_loss(keypoints, reproject(camera, joints_m), weight, settings.distance)
    return reprojection.mean(), camera_loss(camera, settings.distance).mean()
