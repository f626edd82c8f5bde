"""Between which lengths a human bone lies (`bone_range_m.yaml`), for the bones of any skeleton."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from poses.skeleton import Skeleton

_FILE = Path(__file__).with_name("bone_range_m.yaml")


@lru_cache(maxsize=1)
def _table() -> dict[str, Any]:
    return yaml.safe_load(_FILE.read_text(encoding="utf-8"))


def _sideless(joint: str) -> str:
    return joint.removeprefix("left_").removeprefix("right_")


def bone_limits_m(skeleton: Skeleton) -> np.ndarray:
    """(K, 2) float32: least and greatest human length of every bone, in the order of `skeleton.bones`.

    Bones that the table does not know get its widest range.
    """
    table = _table()
    known = table["bones"]
    joints = [_sideless(joint) for joint in skeleton.joints]
    names = [
        f"{joints[child]} from {joints[parent]}"
        for child, parent in zip(skeleton.bone_child_index, skeleton.bone_parent_index, strict=True)
    ]
    return np.asarray([known.get(name, table["any"]) for name in names], dtype=np.float32).reshape(-1, 2)


def bone_lengths_m(joints_m: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """(B, K) lengths of the bones of (B, J, 3) poses."""
    bones = joints_m[:, skeleton.bone_child_index] - joints_m[:, skeleton.bone_parent_index]
    return np.sqrt(np.einsum("bkd,bkd->bk", bones, bones))


def are_impossible(lengths_m: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """(B, K) which bones are shorter or longer than any human's."""
    limits_m = bone_limits_m(skeleton)
    return (lengths_m < limits_m[:, 0]) | (lengths_m > limits_m[:, 1])
