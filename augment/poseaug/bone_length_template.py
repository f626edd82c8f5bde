"""Bone lengths of real people, and poses given the lengths of one of them (the released `random_bl_aug`)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from augment.errors import AugmentError
from augment.poseaug.geometry import bones_of, joints_of, lengths_and_directions
from poses.skeleton import Skeleton


@dataclass(frozen=True, eq=False)
class BoneLengthTemplate:
    """Bone lengths of S people.

    Args:
        skeleton: Whose bones they are.
        subjects: Their names.
        lengths_m: (S, K) float32 metres, bones in the skeleton's order.
    """

    skeleton: Skeleton
    subjects: tuple[str, ...]
    lengths_m: np.ndarray


def build_bone_length_template(
    joints_m: Float[np.ndarray, "B J 3"],
    subject: Sequence[str] | np.ndarray,
    skeleton: Skeleton,
    tie: bool = False,
) -> BoneLengthTemplate:
    """Median bone lengths of every subject in a dataset.

    Args:
        joints_m: Poses in metres, in any frame.
        subject: Name of the person in each row.
        skeleton: Of the poses.
        tie: Average bones of one length group, so that left and right are equal.

    Raises:
        AugmentError: if there is no pose, or a subject has a bone without length.
    """
    names = np.asarray(subject).astype(str)
    if len(joints_m) == 0 or len(names) != len(joints_m):
        raise AugmentError(
            f"bone length template wants at least one pose and a subject for each, got {len(joints_m)} poses "
            f"and {len(names)} subjects"
        )
    bones = joints_m[:, skeleton.bone_child_index] - joints_m[:, skeleton.bone_parent_index]
    lengths = np.linalg.norm(bones, axis=-1)
    subjects = sorted(set(names.tolist()))
    table = np.stack([np.median(lengths[names == name], axis=0) for name in subjects]).astype(np.float32)
    if tie:
        table = _tie_groups(table, skeleton)
    for row, bone in np.argwhere(~(table > 0)):
        raise AugmentError(
            f"bone length template: bone {skeleton.bones[bone]!r} of subject {subjects[row]!r} has length "
            f"{table[row, bone]} m, wanted a positive number; drop that subject or mend its joints"
        )
    return BoneLengthTemplate(skeleton=skeleton, subjects=tuple(subjects), lengths_m=table)


def swap_bone_lengths(
    joints_camera_m: Float[Tensor, "B J 3"], template: BoneLengthTemplate, uniform: Float[Tensor, " B"]
) -> Float[Tensor, "B J 3"]:
    """Poses with every bone as long as a random subject's; directions and the root stay.

    Args:
        joints_camera_m: Poses; lengths are replaced, so repeated calls do not add up.
        template: Whose lengths to take.
        uniform: Numbers in [0, 1) that choose the subject of each pose.
    """
    table = torch.as_tensor(template.lengths_m, dtype=joints_camera_m.dtype, device=joints_camera_m.device)
    chosen = (uniform * len(table)).long().clamp_(max=len(table) - 1)
    root = template.skeleton.root_index
    _, directions = lengths_and_directions(bones_of(joints_camera_m, template.skeleton), safe=True)
    lengths_m = table.index_select(0, chosen.to(table.device)).unsqueeze(-1)
    return joints_of(directions * lengths_m, joints_camera_m[:, root : root + 1], template.skeleton)


def _tie_groups(table: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    tied = np.empty_like(table)
    for group in range(skeleton.n_bone_groups):
        members = skeleton.bone_group_index == group
        tied[:, members] = table[:, members].mean(axis=1, keepdims=True)
    return tied
