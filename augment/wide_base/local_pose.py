"""Poses in local form: a pelvis frame, the chest relative to it, and unit bones in the frame that each moves with.

In this form limbs can be exchanged between poses and turned in their sockets without moving the rest. Frames have
columns left, up, forward. World: y up, right-handed.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from augment.wide_base.body_plan import BodyPlan

EPSILON = 1e-8


@dataclass(frozen=True)
class LocalPoses:
    """N poses without their bone lengths.

    Attributes:
        world_from_pelvis: (N, 3, 3).
        pelvis_from_chest: (N, 3, 3).
        directions: (N, K, 3) unit bones, parent to child; chest bones in the chest's frame, others in the pelvis'.
    """

    world_from_pelvis: Float[Tensor, "N 3 3"]
    pelvis_from_chest: Float[Tensor, "N 3 3"]
    directions: Float[Tensor, "N K 3"]

    def __len__(self) -> int:
        return len(self.directions)

    def take(self, rows: Tensor) -> "LocalPoses":
        """The poses of `rows`, in its order."""
        return LocalPoses(self.world_from_pelvis[rows], self.pelvis_from_chest[rows], self.directions[rows])


def unit(vectors: Tensor) -> Tensor:
    """Unit vectors; the zero vector stays (nearly) zero instead of turning into NaN."""
    return vectors / (vectors.norm(dim=-1, keepdim=True) + EPSILON)


def rotate(rotation: Tensor, vectors: Tensor) -> Tensor:
    """Rotate (..., 3) by (..., 3, 3), element by element, so that the result does not depend on the batch's size."""
    return (rotation * vectors.unsqueeze(-2)).sum(-1)


def rotate_back(rotation: Tensor, vectors: Tensor) -> Tensor:
    """Rotate by the inverse."""
    return (rotation * vectors.unsqueeze(-1)).sum(-2)


def compose(first: Tensor, second: Tensor) -> Tensor:
    """The matrix product first · second of (..., 3, 3), element by element."""
    return (first.unsqueeze(-1) * second.unsqueeze(-3)).sum(-2)


def rotation_from_vector(rotation_vector: Tensor) -> Tensor:
    """Rotation matrices of axis-angle vectors (..., 3), radians; safe at zero."""
    angle = rotation_vector.norm(dim=-1, keepdim=True).clamp_min(EPSILON)
    x, y, z = (rotation_vector / angle).unbind(-1)
    angle = angle.squeeze(-1)
    sine, cosine = torch.sin(angle), torch.cos(angle)
    rest = 1.0 - cosine
    rows = [
        cosine + x * x * rest, x * y * rest - z * sine, x * z * rest + y * sine,
        x * y * rest + z * sine, cosine + y * y * rest, y * z * rest - x * sine,
        x * z * rest - y * sine, y * z * rest + x * sine, cosine + z * z * rest,
    ]  # fmt: skip
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


def axis_rotation(axis: int, angle_rad: Tensor) -> Tensor:
    """Rotation matrices about one coordinate axis."""
    vector = torch.zeros(*angle_rad.shape, 3)
    vector[..., axis] = angle_rad
    return rotation_from_vector(vector)


def body_frame(left: Tensor, up: Tensor) -> Tensor:
    """Columns left, up, forward; left is kept, up is made orthogonal to it."""
    left = unit(left)
    up = unit(up - (left * up).sum(-1, keepdim=True) * left)
    return torch.stack([left, up, torch.linalg.cross(left, up)], -1)


def to_local(joints_world_m: Float[Tensor, "N J 3"], plan: BodyPlan) -> LocalPoses:
    """Local form of poses given in a frame whose y axis points up."""
    j = joints_world_m
    skeleton = plan.skeleton
    root = skeleton.root_index
    pelvis = body_frame(j[:, plan.left_hip] - j[:, plan.right_hip], j[:, plan.spine] - j[:, root])
    chest = body_frame(
        j[:, plan.left_shoulder] - j[:, plan.right_shoulder], j[:, plan.thorax] - j[:, plan.spine]
    )
    child, parent = torch.as_tensor(skeleton.bone_child_index), torch.as_tensor(skeleton.bone_parent_index)
    world = unit(j[:, child] - j[:, parent])
    directions = world.clone()
    directions[:, plan.pelvis_bones] = rotate_back(pelvis.unsqueeze(1), world[:, plan.pelvis_bones])
    directions[:, plan.chest_bones] = rotate_back(chest.unsqueeze(1), world[:, plan.chest_bones])
    return LocalPoses(pelvis, compose(pelvis.transpose(1, 2), chest), directions)


def to_world(
    poses: LocalPoses, bone_lengths_m: Float[Tensor, "N K"], plan: BodyPlan
) -> Float[Tensor, "N J 3"]:
    """Joints in the world with the root at the origin: the inverse of `to_local`, given bone lengths."""
    world_from_chest = compose(poses.world_from_pelvis, poses.pelvis_from_chest)
    bones = torch.empty_like(poses.directions)
    bones[:, plan.pelvis_bones] = rotate(
        poses.world_from_pelvis.unsqueeze(1), poses.directions[:, plan.pelvis_bones]
    )
    bones[:, plan.chest_bones] = rotate(world_from_chest.unsqueeze(1), poses.directions[:, plan.chest_bones])
    bones = bones * bone_lengths_m.unsqueeze(-1)
    skeleton = plan.skeleton
    joints = [torch.zeros_like(bones[:, 0])] * skeleton.n_joints
    for bone, (child, parent) in enumerate(
        zip(skeleton.bone_child_index, skeleton.bone_parent_index, strict=True)
    ):
        joints[child] = joints[parent] + bones[:, bone]
    return torch.stack(joints, 1)
