"""What makes a set of joints, parents and groups a skeleton; each check raises SkeletonError with the names."""

import difflib
from collections.abc import Mapping, Sequence

import numpy as np

from poses.errors import SkeletonError

ROOT_PARENT = -1


def check_tree(name: str, joints: Sequence[str], parents: Sequence[int]) -> None:
    """Unique joint names, one parent each, exactly one root, and every joint reaches it."""
    if len(joints) != len(parents) or not joints:
        raise SkeletonError(
            f"skeleton {name!r} has {len(joints)} joints but {len(parents)} parents; give one each"
        )
    repeated = sorted({joint for joint in joints if joints.count(joint) > 1})
    if repeated:
        raise SkeletonError(
            f"skeleton {name!r} names {', '.join(repeated)} more than once; joint names are unique"
        )
    roots = [joint for joint, parent in zip(joints, parents, strict=True) if parent == ROOT_PARENT]
    if len(roots) != 1:
        raise SkeletonError(f"skeleton {name!r} wants exactly one root, has {', '.join(roots) or 'none'}")
    for joint, parent in zip(joints, parents, strict=True):
        if not ROOT_PARENT <= parent < len(joints):
            raise SkeletonError(
                f"skeleton {name!r}: joint {joint!r} has parent index {parent}, "
                f"wanted -1 (root) to {len(joints) - 1}"
            )
    for start in range(len(joints)):
        at, steps = start, 0
        while at != ROOT_PARENT:
            at, steps = parents[at], steps + 1
            if steps > len(joints):
                raise SkeletonError(
                    f"skeleton {name!r}: joint {joints[start]!r} never reaches the root; its parents form a circle"
                )


def check_pairs(name: str, paired_index: np.ndarray) -> None:
    """A joint stands in at most one mirror pair."""
    if len(np.unique(paired_index)) != len(paired_index):
        raise SkeletonError(f"skeleton {name!r}: a joint stands in two mirror pairs; each has one partner")


def check_bone_groups(name: str, bones: Sequence[str], groups: Mapping[str, Sequence[str]]) -> None:
    """The bone-length groups hold every bone exactly once."""
    grouped = [bone for members in groups.values() for bone in members]
    missing = [bone for bone in bones if bone not in grouped]
    repeated = sorted({bone for bone in grouped if grouped.count(bone) > 1})
    if missing or repeated:
        raise SkeletonError(
            f"skeleton {name!r}: bone_length_groups want every bone exactly once; "
            f"missing: {', '.join(missing) or 'none'}; repeated: {', '.join(repeated) or 'none'}"
        )


def did_you_mean(name: str, valid: Sequence[str]) -> str:
    """The text `; did you mean 'x'` for the nearest valid name, or nothing."""
    near = difflib.get_close_matches(name, valid, n=1)
    return f"; did you mean {near[0]!r}" if near else ""
