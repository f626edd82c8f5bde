"""Does a clip look like a person? Catches wrong units and a wrong up axis before they reach a dataset."""

import numpy as np
from jaxtyping import Float

from poses.skeleton import Skeleton
from storage.errors import ImporterError

MIN_BODY_M, MAX_BODY_M = 0.5, 2.6
CHAIN = ("right_knee", "right_ankle", "spine", "thorax", "neck_nose", "head")


def body_height_m(joints_m: Float[np.ndarray, "T J 3"], skeleton: Skeleton) -> float:
    """Length of the chain ankle - knee - hip, pelvis - head: about standing height without the feet.

    Args:
        joints_m: (T, J, 3); the median over the finite frames is taken, NaN if there are none.
        skeleton: Must have the joints of the chain; those it lacks (neck_nose) are bridged by its own bones.
    """
    bones = [skeleton.bone_index(name) for name in CHAIN if name in skeleton.bones]
    child, parent = skeleton.bone_child_index[bones], skeleton.bone_parent_index[bones]
    lengths = np.linalg.norm(joints_m[:, child] - joints_m[:, parent], axis=-1).sum(axis=1)
    finite = lengths[np.isfinite(lengths)]
    return float(np.median(finite)) if len(finite) else float("nan")


def check_body_size(joints_m: Float[np.ndarray, "T J 3"], skeleton: Skeleton, where: str) -> None:
    """ImporterError if the body is no person's size; a body of zero length, or none, is left to cleaning."""
    height_m = body_height_m(joints_m, skeleton)
    if height_m > 0 and np.isfinite(height_m) and not MIN_BODY_M <= height_m <= MAX_BODY_M:
        raise ImporterError(
            f"{where}: the body is {height_m:.3g} m tall (knees to head along the bones), wanted "
            f"{MIN_BODY_M} to {MAX_BODY_M}; the unit is wrong: set unit_m to the metres per file unit"
        )


def odd_posture(joints_m: Float[np.ndarray, "T J 3"], skeleton: Skeleton) -> str:
    """A sentence if the median trunk points along z, as that of a z-up file read as y-up does; else ""."""
    finite = joints_m[np.isfinite(joints_m).all(axis=(1, 2))]
    if not len(finite):
        return ""
    spine = np.median(finite[:, skeleton.index("thorax")] - finite[:, skeleton.root_index], axis=0)
    if spine[2] > 2.0 * max(abs(spine[1]), abs(spine[0])):
        return "the trunk points along +z in most frames; if the file is z up, set up_axis: z"
    return ""
