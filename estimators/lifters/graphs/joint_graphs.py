"""A skeleton as a graph: its adjacency, and joints in groups of two for the pooling of non-local blocks."""

from functools import lru_cache

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from poses.errors import SkeletonError
from poses.skeleton import Skeleton

JointGroups = tuple[tuple[str, ...], ...]


def adjacency_mask(skeleton: Skeleton) -> Bool[Tensor, "J J"]:
    """True where two joints share a bone, and on the diagonal."""
    mask = torch.eye(skeleton.n_joints, dtype=torch.bool)
    child, parent = torch.from_numpy(skeleton.bone_child_index), torch.from_numpy(skeleton.bone_parent_index)
    mask[child, parent] = True
    mask[parent, child] = True
    return mask


def normalised_adjacency(skeleton: Skeleton) -> Float[Tensor, "J J"]:
    """D^-1/2 (A + I) D^-1/2 of plain graph convolutions (Kipf and Welling 2017, arXiv 1609.02907)."""
    adjacency = adjacency_mask(skeleton).double()
    scale = adjacency.sum(1).rsqrt()
    return (scale.unsqueeze(1) * adjacency * scale).float()


@lru_cache(maxsize=64)
def joint_groups(skeleton: Skeleton) -> JointGroups:
    """Joints in groups of two or one, by what the skeleton says about itself.

    Along each side's limbs a joint goes with its parent, from the far end inwards; what is left of the sides goes
    with its mirror image; the middle line is paired along its bones, from the far end too. A joint without partner
    is a group of its own. On h36m_16 these are the published groups (spec 1.1). Order changes no output.
    """
    side = _sides(skeleton)
    sided = {joint for joint in skeleton.joints if side[joint]}
    limbs = _pairs_along_bones(skeleton, side, [joint for joint in skeleton.joints if side[joint]])
    open_sided = sided.difference(*limbs)
    mirrored = [pair for pair in skeleton.mirror_pairs if open_sided.issuperset(pair)]
    middle = _pairs_along_bones(skeleton, side, [joint for joint in skeleton.joints if not side[joint]])
    pairs = [*limbs, *mirrored, *middle]
    paired = {joint for pair in pairs for joint in pair}
    return (*pairs, *((joint,) for joint in skeleton.joints if joint not in paired))


def check_groups(groups: JointGroups, skeleton: Skeleton) -> None:
    """Raise SkeletonError unless the groups hold every joint of the skeleton once, at most two in each."""
    joints = [joint for group in groups for joint in group]
    skeleton.indices(joints)
    wrong_size = [group for group in groups if len(group) not in (1, 2)]
    if wrong_size or sorted(joints) != sorted(skeleton.joints):
        raise SkeletonError(
            f"joint groups want every joint of skeleton {skeleton.name!r} once, in groups of two or one; got "
            f"{len(joints)} names for {skeleton.n_joints} joints and {len(wrong_size)} groups of other sizes; leave "
            "joint_groups out to have them derived"
        )


def _sides(skeleton: Skeleton) -> dict[str, str]:
    side = dict.fromkeys(skeleton.joints, "")
    for left, right in skeleton.mirror_pairs:
        side[left], side[right] = "left", "right"
    return side


def _pairs_along_bones(skeleton: Skeleton, side: dict[str, str], joints: list[str]) -> list[tuple[str, str]]:
    """(parent, child) pairs of one side among these joints, those farthest from the root first."""
    depth = {joint: _depth(skeleton, joint) for joint in joints}
    pairs: list[tuple[str, str]] = []
    taken: set[str] = set()
    for child in sorted(joints, key=lambda joint: -depth[joint]):
        parent_index = skeleton.parents[skeleton.index(child)]
        parent = skeleton.joints[parent_index] if parent_index >= 0 else None
        if parent is None or side[parent] != side[child] or taken & {parent, child}:
            continue
        pairs.append((parent, child))
        taken |= {parent, child}
    return pairs


def _depth(skeleton: Skeleton, joint: str) -> int:
    depth, at = 0, skeleton.index(joint)
    while skeleton.parents[at] >= 0:
        depth, at = depth + 1, skeleton.parents[at]
    return depth
