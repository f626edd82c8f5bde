"""What lifter training makes small: one number per sample from predictions and root-relative targets.

- `mse`, `joints`: mean squared coordinate, as SemGCN, SimpleBaseline and PoseAug are released.
- `joints_bones`: SemGCN's paper (Eq. 6): squared joint errors plus squared errors of the bone vectors, summed. Divided
  by the number of joint coordinates here, so that its first term is `joints`; the paper's weights of the two terms,
  1 : 1, stay. The released code trains without the second term.
- `l2`: mean joint distance, as VideoPose3D.
- `l2_motion`: as MotionBERT: `l2`, half of it again after each frame's best scale, and 20 times the mean distance of
  the joints' steps from frame to frame (0 without a time axis).
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from poses.kinematics import bone_vectors
from poses.skeleton import Skeleton

LossName = Literal["mse", "l2", "joints", "joints_bones", "l2_motion"]
_SCALED_WEIGHT, _VELOCITY_WEIGHT = 0.5, 20.0
_LEAST_SQUARE_M2 = 1e-12


def loss_per_sample(
    name: LossName,
    predicted: Float[Tensor, "B *T J 3"],
    joints_root_m: Float[Tensor, "B *T J 3"],
    skeleton: Skeleton,
) -> Float[Tensor, " B"]:
    """The loss of every sample.

    Args:
        name: Which loss.
        predicted: `Lifter.lift_for_loss`, metres.
        joints_root_m: Targets of the same shape, metres, the root at zero.
        skeleton: Their joints; its bones are those of `joints_bones`.
    """
    error = predicted - joints_root_m
    if name == "l2":
        return _mean_distance(error)
    if name == "l2_motion":
        return _motion_loss(predicted, joints_root_m)
    joints = error.square().flatten(1)
    if name != "joints_bones":
        return joints.mean(1)
    bones = bone_vectors(error, skeleton).square().flatten(1)
    return (joints.sum(1) + bones.sum(1)) / joints.shape[1]


def _motion_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """MotionBERT's three terms with their published weights."""
    square = predicted.square().sum((-2, -1), keepdim=True).clamp_min(_LEAST_SQUARE_M2)
    scale = (predicted * target).sum((-2, -1), keepdim=True) / square
    loss = _mean_distance(predicted - target) + _SCALED_WEIGHT * _mean_distance(scale * predicted - target)
    if predicted.ndim < 4 or predicted.shape[1] < 2:
        return loss
    return loss + _VELOCITY_WEIGHT * _mean_distance((predicted - target).diff(dim=1))


def _mean_distance(error: Tensor) -> Tensor:
    return torch.linalg.vector_norm(error, dim=-1).flatten(1).mean(1)
