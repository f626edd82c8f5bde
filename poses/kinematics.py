"""Bones, chains and forward kinematics on whole batches. torch in, torch out, float32 or float64.

A bone vector is child minus parent (the PoseAug code has parent minus child; its Gram matrices are the same).

Speed, batch 1024, h36m_16, one CPU thread: bone vectors and joints from bones each as one product of the
flattened poses with a constant (3J x 3K) matrix of -1, 0, 1 take 0.11 ms; two gathers take 0.20 to 0.55 ms, a
loop over the joints 0.31 ms, a gather per tree depth 1.6 ms. The product only adds, so it has the bits of the
loop and does not depend on the batch's size. It is used on the CPU in full precision; elsewhere (TF32 or bf16
could round the coordinates) gathers and doubling steps give the same sums. One NaN makes the whole pose NaN
in the product.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from poses.errors import PoseShapeError, SkeletonError
from poses.skeleton import Skeleton

SAFE_LENGTH_M = 1e-6


def bone_vectors(joints: Float[Tensor, "*B J D"], skeleton: Skeleton) -> Float[Tensor, "*B K D"]:
    """Child minus parent for every bone, in the order of `skeleton.bones`; any frame and unit.

    Raises:
        PoseShapeError: if the joint count is not the skeleton's.
    """
    check_joint_axis(joints, skeleton)
    if joints.shape[-1] == 3 and _exact_products(joints):
        matrix = _bone_matrix(skeleton, joints.device, joints.dtype)
        return (joints.flatten(-2) @ matrix).unflatten(-1, (skeleton.n_bones, 3))
    child, parent = bone_index_tensors(skeleton, joints.device)
    return joints.index_select(-2, child) - joints.index_select(-2, parent)


def bone_lengths_m(joints_m: Float[Tensor, "*B J D"], skeleton: Skeleton) -> Float[Tensor, "*B K"]:
    """Length of every bone in metres; 0, with gradient 0, for a bone shorter than SAFE_LENGTH_M."""
    squared = _squared_length(bone_vectors(joints_m, skeleton))
    length = squared.clamp_min(SAFE_LENGTH_M**2).sqrt()
    return torch.where(squared < SAFE_LENGTH_M**2, torch.zeros_like(length), length)


def bone_directions(joints: Float[Tensor, "*B J D"], skeleton: Skeleton) -> Float[Tensor, "*B K D"]:
    """Unit vector of every bone; a zero-length bone gives the zero vector and a finite gradient."""
    return safe_normalise(bone_vectors(joints, skeleton))


def safe_normalise(vectors: Float[Tensor, "*B D"], floor: float = SAFE_LENGTH_M) -> Float[Tensor, "*B D"]:
    """vector / max(|vector|, floor): exact for lengths above the floor, zero for zero, finite gradients."""
    squared = _squared_length(vectors)
    return vectors / squared.clamp_min(floor**2).sqrt().unsqueeze(-1)


def joints_from_bones(
    bones: Float[Tensor, "*B K D"], skeleton: Skeleton, root_m: Float[Tensor, "*B D"] | None = None
) -> Float[Tensor, "*B J D"]:
    """Joints by adding bones outwards from the root; the inverse of `bone_vectors`.

    Args:
        bones: Child minus parent, in the order of `skeleton.bones`.
        skeleton: The tree.
        root_m: Where the root goes; the origin if not given.
    """
    if bones.shape[-2] != skeleton.n_bones:
        raise PoseShapeError(
            f"joints_from_bones wants {skeleton.n_bones} bones for skeleton {skeleton.name!r}, "
            f"got shape {tuple(bones.shape)}"
        )
    if bones.shape[-1] == 3 and _exact_products(bones):
        matrix = _chain_matrix(skeleton, bones.device, bones.dtype)
        joints = (bones.flatten(-2) @ matrix).unflatten(-1, (skeleton.n_joints, 3))
    else:
        slot, *ancestors = _doubling_tensors(skeleton, bones.device)
        zero = torch.zeros_like(bones[..., :1, :])
        joints = torch.cat([bones, zero], dim=-2).index_select(-2, slot)
        for ancestor in ancestors:
            padded = torch.cat([joints, zero], dim=-2)
            joints = joints + padded.index_select(-2, ancestor)
    return joints if root_m is None else joints + root_m.unsqueeze(-2)


def replace_bone_lengths(
    joints_m: Float[Tensor, "*B J 3"], lengths_m: Float[Tensor, "*L K"], skeleton: Skeleton
) -> Float[Tensor, "*B J 3"]:
    """The same pose with other bone lengths: directions and root stay. `lengths_m` may be (K,) for all poses."""
    bones = bone_directions(joints_m, skeleton) * lengths_m.unsqueeze(-1)
    return joints_from_bones(bones, skeleton, joints_m[..., skeleton.root_index, :])


def scale_bones(
    joints_m: Float[Tensor, "*B J 3"], ratio: Float[Tensor, "*L K"], skeleton: Skeleton
) -> Float[Tensor, "*B J 3"]:
    """The same pose with every bone vector times its ratio; the root stays."""
    bones = bone_vectors(joints_m, skeleton) * ratio.unsqueeze(-1)
    return joints_from_bones(bones, skeleton, joints_m[..., skeleton.root_index, :])


def rotate_joints(
    joints: Float[Tensor, "*B J 3"], rotation: Float[Tensor, "*R 3 3"]
) -> Float[Tensor, "*B J 3"]:
    """R x for every joint, about the origin; elementwise, so full precision under autocast."""
    columns = rotation.unsqueeze(-3)
    x, y, z = joints[..., 0:1], joints[..., 1:2], joints[..., 2:3]
    return x * columns[..., 0] + y * columns[..., 1] + z * columns[..., 2]


def rotate_limbs(
    joints_m: Float[Tensor, "*B J 3"], local_rotations: Float[Tensor, "*B J 3 3"], skeleton: Skeleton
) -> Float[Tensor, "*B J 3"]:
    """Turn at every joint everything that lies beyond it, about that joint; bone lengths and root stay.

    Args:
        joints_m: The pose that counts as unrotated.
        local_rotations: One rotation per joint, in the frame of the joints, composed outwards from the root;
            identity leaves a joint alone, and the rotation of a leaf moves nothing.
        skeleton: The tree.
    """
    root = skeleton.root_index
    moved = torch.zeros_like(joints_m).index_copy(
        -2, bone_index_tensors(skeleton, joints_m.device)[0], bone_vectors(joints_m, skeleton)
    )
    turned, _ = forward_kinematics(local_rotations, moved, skeleton.parents)
    return turned + joints_m[..., root : root + 1, :]


def forward_kinematics(
    local_rotations: Float[Tensor, "*B J 3 3"], rest_offsets: Float[Tensor, "*O J 3"], parents: Sequence[int]
) -> tuple[Float[Tensor, "*B J 3"], Float[Tensor, "*B J 3 3"]]:
    """Joint positions and global rotations of a kinematic tree.

    Args:
        local_rotations: Rotation of each joint relative to its parent's frame.
        rest_offsets: Each joint's place in its parent's frame (the root's: in the world); leading axes
            broadcast.
        parents: Parent index of each joint, -1 for the root; any order.

    Returns:
        joints: x_j = x_p + G_p o_j. global_rotations: G_j = G_p R_j.
    """
    offsets = rest_offsets.expand(*local_rotations.shape[:-2], 3)
    n_joints = len(parents)
    if local_rotations.shape[-3] != n_joints:
        raise PoseShapeError(
            f"forward_kinematics wants a rotation for each of {n_joints} parents, "
            f"got shape {tuple(local_rotations.shape)}"
        )
    joints: list[Tensor | None] = [None] * n_joints
    rotations: list[Tensor | None] = [None] * n_joints
    with torch.autocast(local_rotations.device.type, enabled=False):
        for joint in _outward_order(tuple(parents)):
            local, offset, parent = local_rotations[..., joint, :, :], offsets[..., joint, :], parents[joint]
            parent_joint, parent_rotation = (
                (joints[parent], rotations[parent]) if parent >= 0 else (None, None)
            )
            if parent_joint is None or parent_rotation is None:
                joints[joint], rotations[joint] = offset, local
            else:
                joints[joint] = parent_joint + (parent_rotation @ offset.unsqueeze(-1)).squeeze(-1)
                rotations[joint] = parent_rotation @ local
    return (
        torch.stack([joint for joint in joints if joint is not None], dim=-2),
        torch.stack([rotation for rotation in rotations if rotation is not None], dim=-3),
    )


def kinematic_chain_gram(
    joints: Float[Tensor, "*B J 3"], skeleton: Skeleton, part: str | None = None, unit: bool = True
) -> Float[Tensor, "*B n n"]:
    """Gram matrix of the bone vectors (the kinematic chain space matrix of RepNet and PoseAug).

    Args:
        joints: Joints in any frame; with unit bones the result is invariant to rotation, translation and
            length.
        skeleton: The tree and its body parts.
        part: Name of a body part: only its n bones, in bone order; None for all K bones. PoseAug stores the
            same numbers as a (K, K) matrix with zeros elsewhere.
        unit: Normalise every bone first.
    """
    bones = bone_directions(joints, skeleton) if unit else bone_vectors(joints, skeleton)
    if part is not None:
        bones = bones.index_select(-2, part_index_tensor(skeleton, part, bones.device))
    with torch.autocast(bones.device.type, enabled=False):
        return bones @ bones.transpose(-1, -2)


def mirror_joints(joints: Float[Tensor, "*B J D"], skeleton: Skeleton) -> Float[Tensor, "*B J D"]:
    """The pose in a mirror: x negated, left and right names swapped. For 3D, and for screen-frame 2D of a
    camera whose principal point is the image centre (see `poses.cameras.mirror_camera_px` for the others)."""
    check_joint_axis(joints, skeleton)
    swapped = joints.index_select(-2, _mirror_tensor(skeleton, joints.device))
    return torch.cat([-swapped[..., :1], swapped[..., 1:]], dim=-1)


def check_joint_axis(joints: Tensor, skeleton: Skeleton) -> None:
    """Raise PoseShapeError unless the last axis but one has the skeleton's joint count."""
    if joints.ndim < 2 or joints.shape[-2] != skeleton.n_joints:
        raise PoseShapeError(
            f"wanted joints (..., {skeleton.n_joints}, D) for skeleton {skeleton.name!r}, got {tuple(joints.shape)}; "
            "map other skeletons with poses.skeleton.joint_map"
        )


def _squared_length(vectors: Tensor) -> Tensor:
    if vectors.shape[-1] != 3:
        return vectors.square().sum(-1)
    x, y, z = vectors.unbind(-1)
    return x * x + y * y + z * z


def _exact_products(array: Tensor) -> bool:
    return array.device.type == "cpu" and array.element_size() >= 4 and not torch.is_autocast_enabled("cpu")


# Constants per skeleton, device and type. Made outside inference mode: tensors born inside it cannot join autograd.


@lru_cache(maxsize=128)
def bone_index_tensors(skeleton: Skeleton, device: torch.device) -> tuple[Tensor, Tensor]:
    """(child (K,), parent (K,)) joint indices as tensors on a device; cached, do not write to them."""
    with torch.inference_mode(False):
        return (
            torch.tensor(skeleton.bone_child_index, device=device),
            torch.tensor(skeleton.bone_parent_index, device=device),
        )


@lru_cache(maxsize=512)
def part_index_tensor(skeleton: Skeleton, part: str, device: torch.device) -> Tensor:
    """Bone indices of a body part in bone order; cached, do not write to it."""
    with torch.inference_mode(False):
        return torch.tensor(sorted(skeleton.part_bone_index(part)), device=device)


@lru_cache(maxsize=128)
def _mirror_tensor(skeleton: Skeleton, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor(skeleton.mirror_index, device=device)


@lru_cache(maxsize=128)
def _bone_matrix(skeleton: Skeleton, device: torch.device, dtype: torch.dtype) -> Tensor:
    with torch.inference_mode(False):
        identity = torch.eye(skeleton.n_joints, dtype=dtype, device=device)
        child, parent = bone_index_tensors(skeleton, device)
        bone_of = identity[child] - identity[parent]
        return torch.kron(bone_of, torch.eye(3, dtype=dtype, device=device)).T.contiguous()


@lru_cache(maxsize=128)
def _chain_matrix(skeleton: Skeleton, device: torch.device, dtype: torch.dtype) -> Tensor:
    with torch.inference_mode(False):
        on_path = torch.zeros(skeleton.n_joints, skeleton.n_bones, dtype=dtype, device=device)
        for joint in _outward_order(skeleton.parents):
            parent = skeleton.parents[joint]
            if parent >= 0:
                on_path[joint] = on_path[parent]
                on_path[joint, skeleton.bones.index(skeleton.joints[joint])] = 1.0
        return torch.kron(on_path, torch.eye(3, dtype=dtype, device=device)).T.contiguous()


@lru_cache(maxsize=128)
def _doubling_tensors(skeleton: Skeleton, device: torch.device) -> tuple[Tensor, ...]:
    """Bone slot of each joint (K: none), then the 1st, 2nd, 4th, ... ancestor of each joint (J: none)."""
    with torch.inference_mode(False):
        none = skeleton.n_joints
        slot = torch.full((none,), skeleton.n_bones)
        slot[torch.tensor(skeleton.bone_child_index)] = torch.arange(skeleton.n_bones)
        ancestor = torch.tensor([parent if parent >= 0 else none for parent in skeleton.parents] + [none])
        steps = [slot]
        while bool((ancestor != none).any()):
            steps.append(ancestor[:none])
            ancestor = ancestor[ancestor]
        return tuple(step.to(device) for step in steps)


@lru_cache(maxsize=128)
def _outward_order(parents: tuple[int, ...]) -> tuple[int, ...]:
    order: list[int] = []
    while len(order) < len(parents):
        ready = [j for j, parent in enumerate(parents) if j not in order and (parent < 0 or parent in order)]
        if not ready:
            raise SkeletonError(f"parents {parents} form a circle; every joint must reach the root (-1)")
        order.extend(ready)
    return tuple(order)
