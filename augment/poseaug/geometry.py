"""Skeleton indices as tensors, and the few differentiable operations that PoseAug's networks share."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from poses.skeleton import Skeleton

TINY = 1e-8
"""Squared metres below which a bone has no direction of its own."""


@dataclass(frozen=True, eq=False)
class SkeletonTensors:
    """Index tensors of a skeleton on one device.

    Args:
        child: (K,) joint at each bone's far end.
        parent: (K,) joint at its near end.
        group: (K,) length group of each bone.
        path: (J, K) 1 where a bone lies between the root and a joint: joints = root + path @ bones.
    """

    child: Tensor
    parent: Tensor
    group: Tensor
    path: Tensor


@lru_cache(maxsize=32)
def skeleton_tensors(skeleton: Skeleton, device: str = "cpu") -> SkeletonTensors:
    """Index tensors of a skeleton, made once per device."""
    path = np.zeros((skeleton.n_joints, skeleton.n_bones), dtype=np.float32)
    bone_of_joint = {int(child): bone for bone, child in enumerate(skeleton.bone_child_index)}
    for joint in range(skeleton.n_joints):
        at = joint
        while at != skeleton.root_index:
            path[joint, bone_of_joint[at]] = 1.0
            at = skeleton.parents[at]
    return SkeletonTensors(
        child=torch.tensor(skeleton.bone_child_index, device=device),
        parent=torch.tensor(skeleton.bone_parent_index, device=device),
        group=torch.tensor(skeleton.bone_group_index, device=device),
        path=torch.tensor(path, device=device),
    )


def bones_of(joints_m: Float[Tensor, "B J 3"], skeleton: Skeleton) -> Float[Tensor, "B K 3"]:
    """Bone vectors, child minus parent (the published code has parent minus child)."""
    index = skeleton_tensors(skeleton, str(joints_m.device))
    return joints_m.index_select(1, index.child) - joints_m.index_select(1, index.parent)


def joints_of(
    bones_m: Float[Tensor, "B K 3"], root_m: Float[Tensor, "B 1 3"], skeleton: Skeleton
) -> Float[Tensor, "B J 3"]:
    """Joints from bone vectors and the root's position."""
    path = skeleton_tensors(skeleton, str(bones_m.device)).path.to(bones_m.dtype)
    return root_m + path @ bones_m


def lengths_and_directions(
    bones_m: Float[Tensor, "B K 3"], safe: bool
) -> tuple[Float[Tensor, "B K 1"], Float[Tensor, "B K 3"]]:
    """Length and unit direction of bones.

    Args:
        bones_m: Bone vectors.
        safe: Give bones without length a zero direction and finite gradients; otherwise NaN, as published.
    """
    squared = bones_m.square().sum(-1, keepdim=True)
    lengths_m = (squared.clamp_min(TINY) if safe else squared).sqrt()
    return lengths_m, bones_m / lengths_m


def rotation_from_axis_angle(axis_angle_rad: Float[Tensor, "B 3"]) -> Float[Tensor, "B 3 3"]:
    """Rodrigues' formula, I + (sin t / t) K + ((1 - cos t) / t^2) K^2, with finite gradients at zero."""
    x, y, z = axis_angle_rad.unbind(-1)
    squared = axis_angle_rad.square().sum(-1)
    small = squared < 1e-8
    angle = torch.where(small, torch.ones_like(squared), squared).sqrt()
    a = torch.where(small, 1.0 - squared / 6.0, angle.sin() / angle)
    b = torch.where(small, 0.5 - squared / 24.0, (1.0 - angle.cos()) / angle.square())
    c = 1.0 - b * squared
    entries = (
        (c + b * x * x, b * x * y - a * z, b * x * z + a * y),
        (b * x * y + a * z, c + b * y * y, b * y * z - a * x),
        (b * x * z - a * y, b * y * z + a * x, c + b * z * z),
    )
    return torch.stack([torch.stack(row, dim=-1) for row in entries], dim=-2)
