"""What BVH and ASF/AMC have in common: a tree of joints, rest offsets, and angles over time.

Forward kinematics runs over whole clips at once, on only the joints that somebody asks for and their
ancestors (fingers and toes are half of a CMU skeleton). Matrices lie component first, (3, 3, T), so that each
product is 27 long vector operations instead of T small ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from storage.errors import ImporterError

NO_PARENT = -1
AXES = "xyz"


@dataclass(frozen=True)
class JointChannels:
    """Where a joint's motion stands in the value table.

    Args:
        rotations: (axis, column) in the order of multiplication: the matrix is R_1 @ R_2 @ ...
        translations: (axis, column); a channel replaces that component of the rest offset.
        rest_rotation: (3,3) C or None: the joint's angles are about the axes of C, its matrix is C @ R @ C.T.
        quaternion: Columns of (w, x, y, z), where the joint's rotation is given so instead of by angles.
    """

    rotations: tuple[tuple[str, int], ...] = ()
    translations: tuple[tuple[str, int], ...] = ()
    rest_rotation: np.ndarray | None = None
    quaternion: tuple[int, int, int, int] | None = None


@dataclass(frozen=True)
class SkeletalMotion:
    """A clip as its file holds it, in the file's unit, y or z up as in the file.

    Args:
        joints: Names, parents before children. BVH: the joint; ASF: the far end of the bone of that name.
        parents: Index of each joint's parent, -1 for the root.
        offsets: (J,3) float64 rest offset from the parent, file units.
        offset_moves_with: Index of the joint whose rotation carries the offset: the parent (BVH) or the joint
            itself (ASF); -1 for the root.
        channels: One per joint.
        values: (T, C) float64; angles in radians, translations in file units.
        rate_hz: Frames per second as the header says.
        source_file: For errors and provenance.
        unit_m: Metres per file unit where the format states it, else None.
    """

    joints: tuple[str, ...]
    parents: tuple[int, ...]
    offsets: np.ndarray
    offset_moves_with: tuple[int, ...]
    channels: tuple[JointChannels, ...]
    values: np.ndarray
    rate_hz: float
    source_file: str
    unit_m: float | None = None

    @property
    def n_frames(self) -> int:
        """Number of frames, T."""
        return len(self.values)

    def index(self, joint: str) -> int:
        """Index of a joint; ImporterError lists the names if there is none of this name."""
        if joint not in self.joints:
            raise ImporterError(
                f"{self.source_file}: no joint {joint!r}; its joints are {', '.join(self.joints)}"
            )
        return self.joints.index(joint)


def borrow_offsets(motion: SkeletalMotion, lenders: dict[str, str]) -> tuple[SkeletalMotion, tuple[str, ...]]:
    """Give joints whose rest offset is exactly zero the rest offset of another joint.

    For bones that a conversion has lost (cgspeed's MotionBuilder BVH and the thorax).

    Args:
        motion: Left as it is.
        lenders: Joint -> joint whose own offset it gets.

    Returns:
        The mended motion, and the joints that were mended; a joint that has an offset keeps it.
    """
    offsets = motion.offsets.copy()
    mended = []
    for joint, lender in lenders.items():
        row = motion.index(joint)
        if not motion.offsets[row].any():
            offsets[row] = motion.offsets[motion.index(lender)]
            mended.append(joint)
    return replace(motion, offsets=offsets), tuple(mended)


def world_positions(motion: SkeletalMotion, joints: Sequence[str]) -> Float[np.ndarray, "T J 3"]:
    """Positions of the named joints in every frame.

    Args:
        motion: The clip.
        joints: Names; only they and their ancestors are computed.

    Returns:
        (T, len(joints), 3) float64, file units, the file's world frame.

    Raises:
        ImporterError: if a joint is not there.
    """
    wanted = [motion.index(joint) for joint in joints]
    needed = _with_ancestors(motion, wanted)
    local = _local_rotations(motion, needed)
    turned: dict[int, np.ndarray] = {}
    placed: dict[int, np.ndarray] = {}
    for joint in needed:  # parents stand before children
        parent = motion.parents[joint]
        if parent == NO_PARENT:
            turned[joint] = local[joint]
            placed[joint] = _offset(motion, joint)
            continue
        rotation = local.get(joint)
        turned[joint] = turned[parent] if rotation is None else _matmul(turned[parent], rotation)
        carrier = turned[motion.offset_moves_with[joint]]
        placed[joint] = placed[parent] + (carrier * _offset(motion, joint)[None]).sum(axis=1)
    positions = np.empty((motion.n_frames, len(wanted), 3))
    for slot, joint in enumerate(wanted):
        positions[:, slot] = placed[joint].T
    return positions


def _with_ancestors(motion: SkeletalMotion, wanted: Sequence[int]) -> list[int]:
    needed: set[int] = set()
    for start in wanted:
        joint = start
        while joint != NO_PARENT and joint not in needed:
            needed.add(joint)
            joint = motion.parents[joint]
    return sorted(needed)


def _offset(motion: SkeletalMotion, joint: int) -> np.ndarray:
    """(3, T) or (3, 1): the joint's offset from its parent, with translation channels put in."""
    moving = motion.channels[joint].translations
    offset = motion.offsets[joint][:, None]
    if not moving and motion.parents[joint] != NO_PARENT:
        return offset
    offset = np.repeat(offset, motion.n_frames, axis=1)
    for axis, column in moving:
        offset[AXES.index(axis)] = motion.values[:, column]
    return offset


def _local_rotations(motion: SkeletalMotion, needed: Sequence[int]) -> dict[int, np.ndarray]:
    """Joint -> (3,3,T); joints without rotation channels are left out, but for the root."""
    by_order: dict[str, list[int]] = {}
    for joint in needed:
        order = "".join(axis for axis, _ in motion.channels[joint].rotations)
        if motion.channels[joint].quaternion is not None:
            continue
        if order or motion.parents[joint] == NO_PARENT:
            by_order.setdefault(order, []).append(joint)
    local: dict[int, np.ndarray] = {
        joint: _quaternion_rotation(motion.values[:, list(columns)].T)
        for joint in needed
        if (columns := motion.channels[joint].quaternion) is not None
    }
    for order, members in by_order.items():
        if not order:
            local |= {joint: np.repeat(np.eye(3)[:, :, None], motion.n_frames, axis=2) for joint in members}
            continue
        columns = [[column for _, column in motion.channels[joint].rotations] for joint in members]
        angles = motion.values[:, columns].transpose(2, 1, 0)  # (rotations, joints, T)
        product = _axis_rotation(order[0], angles[0])
        for axis, angle in zip(order[1:], angles[1:], strict=True):
            product = _turn_about(product, axis, angle)
        for slot, joint in enumerate(members):
            rest = motion.channels[joint].rest_rotation
            matrix = product[:, :, slot]
            local[joint] = (
                matrix if rest is None else np.einsum("ij,jkt,lk->ilt", rest, matrix, rest, optimize=True)
            )
    return local


def _axis_rotation(axis: str, angle_rad: np.ndarray) -> np.ndarray:
    """(3,3,...) right-handed rotations about one axis."""
    matrix = np.zeros((3, 3, *angle_rad.shape))
    i = AXES.index(axis)
    j, k = (i + 1) % 3, (i + 2) % 3
    matrix[i, i] = 1.0
    matrix[j, j] = matrix[k, k] = np.cos(angle_rad)
    matrix[k, j] = np.sin(angle_rad)
    matrix[j, k] = -matrix[k, j]
    return matrix


def _quaternion_rotation(wxyz: np.ndarray) -> np.ndarray:
    """(3,3,T) from (4,T) quaternions of any length but zero, which give NaN."""
    with np.errstate(invalid="ignore", divide="ignore"):
        w, x, y, z = wxyz / np.linalg.norm(wxyz, axis=0)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def _turn_about(matrix: np.ndarray, axis: str, angle_rad: np.ndarray) -> np.ndarray:
    """matrix @ rotation(axis): only two columns change."""
    i = AXES.index(axis)
    j, k = (i + 1) % 3, (i + 2) % 3
    cosine, sine = np.cos(angle_rad), np.sin(angle_rad)
    turned = matrix.copy()
    turned[:, j] = matrix[:, j] * cosine + matrix[:, k] * sine
    turned[:, k] = matrix[:, k] * cosine - matrix[:, j] * sine
    return turned


def _matmul(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Matrix products of (3,3,T) stacks."""
    return (
        left[:, 0, None] * right[None, 0]
        + left[:, 1, None] * right[None, 1]
        + left[:, 2, None] * right[None, 2]
    )
