"""Bodies of capsules around a skeleton's bones, in camera axes: what `drawn_people` paints.

Widths are those of a grown person, by joint name; any skeleton works, joints that are not named here get thin limbs. A
skeleton with hips, shoulders and a head gets a face on the front of its head, which tells front from back.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from poses.skeleton import Skeleton

SHIRT, TROUSERS, LEFT_SHIRT, RIGHT_SHIRT, LEFT_TROUSERS, RIGHT_TROUSERS, SKIN, HAIR = range(8)
"""What a capsule is painted with."""
N_PAINTS = 8
_RADII_M = {
    "hip": (0.11, 0.10), "knee": (0.085, 0.06), "ankle": (0.06, 0.04), "toe": (0.04, 0.03), "foot": (0.04, 0.03),
    "spine": (0.13, 0.13), "thorax": (0.13, 0.11), "shoulder": (0.08, 0.06), "elbow": (0.055, 0.045),
    "wrist": (0.045, 0.03), "hand": (0.03, 0.03), "neck": (0.06, 0.05), "head": (0.06, 0.06),
}  # fmt: skip
"""Radii at the parent and at the child of the bone that ends in a joint of this name."""
_OTHER_M = (0.04, 0.03)
_LEGS, _HANDS = ("hip", "knee", "ankle", "toe", "foot"), ("wrist", "hand")
_HEAD_M, _FACE_M, _FACE_AHEAD_M = 0.105, 0.08, 0.055


@dataclass(frozen=True, eq=False)
class Capsules:
    """N tapered capsules of each of B people.

    Attributes:
        ends_m: (B, N, 2, 3) camera axes.
        radius_m: (N, 2) at both ends.
        paint: (N,) one of the paints above.
    """

    ends_m: Float[np.ndarray, "B N 2 3"]
    radius_m: Float[np.ndarray, "N 2"]
    paint: Int[np.ndarray, " N"]


def figures(joints_camera_m: Float[np.ndarray, "B J 3"], skeleton: Skeleton) -> Capsules:
    """The bodies of B people."""
    joints = joints_camera_m.astype(np.float64)
    bones = np.stack([joints[:, skeleton.bone_parent_index], joints[:, skeleton.bone_child_index]], axis=2)
    ends = [bones]
    radii = [_radii(bone) for bone in skeleton.bones]
    paint = [_paint(bone) for bone in skeleton.bones]
    if "head" in skeleton.joints:
        head = joints[:, skeleton.index("head")]
        ends.append(_ball(head))
        radii.append((_HEAD_M, _HEAD_M))
        paint.append(HAIR)
        ahead = _front(joints, skeleton)
        if ahead is not None:
            ends.append(_ball(head + _FACE_AHEAD_M * ahead))
            radii.append((_FACE_M, _FACE_M))
            paint.append(SKIN)
    return Capsules(np.concatenate(ends, axis=1), np.asarray(radii), np.asarray(paint, np.int64))


def _ball(centre: np.ndarray) -> np.ndarray:
    """(B, 1, 2, 3) a capsule whose ends are one point."""
    return np.stack([centre, centre], axis=1)[:, None]


def _radii(joint: str) -> tuple[float, float]:
    return next((radii for name, radii in _RADII_M.items() if name in joint), _OTHER_M)


def _paint(joint: str) -> int:
    if any(name in joint for name in _HANDS) or joint in ("head", "neck", "neck_nose"):
        return SKIN
    is_leg = any(name in joint for name in _LEGS)
    if joint.startswith("left_"):
        return LEFT_TROUSERS if is_leg else LEFT_SHIRT
    if joint.startswith("right_"):
        return RIGHT_TROUSERS if is_leg else RIGHT_SHIRT
    return TROUSERS if is_leg else SHIRT


def _front(joints: np.ndarray, skeleton: Skeleton) -> np.ndarray | None:
    """(B, 3) unit vectors out of the chest: left cross up, in axes with y down. None where there is no trunk."""
    wanted = ("left_hip", "right_hip", "left_shoulder", "right_shoulder")
    if any(name not in skeleton.joints for name in wanted):
        return None
    left_hip, right_hip, left_shoulder, right_shoulder = (joints[:, skeleton.index(name)] for name in wanted)
    left = left_hip - right_hip + left_shoulder - right_shoulder
    up = left_shoulder + right_shoulder - left_hip - right_hip
    ahead = np.cross(left, up)
    return ahead / np.maximum(np.linalg.norm(ahead, axis=1, keepdims=True), 1e-9)
