"""What a RepNet says of another lifter's poses of 2D that has no 3D: a loss for that lifter.

RepNet's own loss of its generator (Wandt and Rosenhahn, CVPR 2019, section 3.4) with the other lifter's pose in the
place of the generator's: turned into the body's frame, imaged by the camera that RepNet's camera network finds for the
2D pose, and scored by the critic. RepNet's networks are not trained by it, and the rotation and scale that turn a pose
into the body's frame count as fixed, so gradients reach the pose's shape and not the view that the lifter says it is
seen from.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from estimators.lifters.repnet.critic import KinematicChainCritic
from estimators.lifters.repnet.flat_pose import flatten_joints, normalise_keypoints
from estimators.lifters.repnet.lifter import RepNetLifter
from estimators.lifters.repnet.losses import image_losses, joint_weights
from estimators.lifters.repnet.settings import RepNetTrainerSettings
from estimators.lifters.repnet.torso import align_to_torso


@dataclass(frozen=True)
class WeakLosses:
    """Means over a batch, differentiable in the poses.

    Args:
        reprojection: Distance of the poses' images from their keypoints, by RepNet's own measure, unweighted.
        critic: Mean score of the critic; low for poses like real ones.
        total: Both by the weights of RepNet's settings.
    """

    reprojection: Tensor
    critic: Tensor
    total: Tensor


class WeakSupervision:
    """RepNet's networks as a loss.

    Args:
        settings: How RepNet is trained; its weights of the terms count here, too.
        lifter: Finds cameras. critic: Scores poses. Both are left as they are.
    """

    def __init__(
        self, settings: RepNetTrainerSettings, lifter: RepNetLifter, critic: KinematicChainCritic
    ) -> None:
        self.settings = settings
        self.lifter = lifter.eval().requires_grad_(False)
        self.critic = critic.eval().requires_grad_(False)
        device = next(lifter.parameters()).device
        self._joint_weight = joint_weights(settings, lifter.skeleton).to(device)

    def losses(
        self, joints_m: Float[Tensor, "B J 3"], keypoints_screen: Float[Tensor, "B J 2"]
    ) -> WeakLosses:
        """The losses of poses that somebody made of keypoints; place, view and (if so trained) size do not count.

        Raises:
            SkeletonError: if the skeleton has no hips or shoulders.
        """
        settings = self.settings
        with torch.no_grad():
            keypoints_flat = normalise_keypoints(keypoints_screen).flat
            _, camera = self.lifter.network(keypoints_flat)
            frame = align_to_torso(joints_m.detach(), self.lifter.skeleton, settings.torso)
        centred = joints_m - joints_m.mean(1, keepdim=True)
        aligned = frame.scale[:, None, None] * (centred @ frame.rotation.transpose(1, 2))
        poses_flat = flatten_joints(aligned)
        reprojection, _ = image_losses(settings, keypoints_flat, poses_flat, camera, self._joint_weight)
        score = self.critic(poses_flat).mean()
        total = settings.reprojection_weight * reprojection + settings.weak_adversarial_weight * score
        return WeakLosses(reprojection, score, total)
