"""DeepMimic's motion clips: JSON, one row of quaternions and hinge angles per frame, on a humanoid in a file beside.

A frame is [duration, root position, root quaternion, then the joints of the character file in their order: 4 numbers
(w, x, y, z) for a spherical joint, 1 (radians about z) for a revolute one, none for a fixed one]. Metres, y up. The
humanoid has no head: points 12 and 26 cm above its neck, in the neck's frame, stand for neck and top of the head.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from storage.errors import ImporterError
from storage.importers.bvh import snap_rate_hz
from storage.importers.files import decode_text, read_file
from storage.importers.skeletal_motion import NO_PARENT, JointChannels, SkeletalMotion

WIDTH_OF_TYPE = {"spherical": 4, "revolute": 1, "fixed": 0}
ROOT_COLUMNS = (1, 2, 3)
FIRST_QUATERNION = 4
ABOVE_NECK = (("neck_middle", 0.12), ("head_top", 0.26))
MAX_JOINTS = 200


def read_deepmimic(path: Path, rate_hz: float | None = None) -> SkeletalMotion:
    """A clip's motion.

    Args:
        path: The clip; its character file (a name with "character" in it) lies in the same folder.
        rate_hz: Frames per second to take instead of the frames' own duration.

    Raises:
        ImporterError: if the clip is damaged or its character file is not there.
    """
    where = str(path)
    frames = _frames(_load(path), where)
    character = find_character(path)
    joints = _character_joints(_load(character), str(character))
    if rate_hz is None:
        durations_s = frames[:-1, 0] if len(frames) > 1 else frames[:, 0]
        duration_s = float(np.median(durations_s))
        if not 1e-5 <= duration_s <= 10.0:
            raise ImporterError(f"{where}: frames last {duration_s} s; give the true rate in rate_overrides")
        rate_hz = snap_rate_hz(duration_s)
    names, parents, offsets, channels, width = _layout(joints, str(character))
    if frames.shape[1] != width:
        raise ImporterError(
            f"{where}: {frames.shape[1]} numbers per frame, wanted {width} for the joints of {character}"
        )
    return SkeletalMotion(
        joints=names,
        parents=parents,
        offsets=offsets,
        offset_moves_with=parents,
        channels=channels,
        values=frames,
        rate_hz=rate_hz,
        source_file=where,
        unit_m=1.0,
    )


def is_deepmimic(path: Path) -> bool:
    """Does a file begin like a DeepMimic clip? Character files and label lists do not."""
    try:
        with path.open("rb") as stream:
            start = stream.read(2048)
    except OSError:
        return False
    return start.lstrip().startswith(b"{") and b'"Frames"' in start


def find_character(path: Path) -> Path:
    """The character file beside a clip; ImporterError if there is none, or more than one."""
    found = sorted(file for file in path.parent.glob("*character*") if file.suffix in (".txt", ".json"))
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise ImporterError(f"{path}: wanted one character file (*character*.txt) beside it, found {names}")
    return found[0]


def _load(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(decode_text(read_file(path)))
    except (ValueError, RecursionError) as error:
        raise ImporterError(f"{path}: no valid JSON, or truncated: {error}") from error
    if not isinstance(values, dict):
        raise ImporterError(f"{path}: wanted a JSON object, got a {type(values).__name__}")
    return values


def _frames(values: dict[str, Any], where: str) -> np.ndarray:
    try:
        frames = np.array(values.get("Frames"), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ImporterError(f"{where}: Frames wants rows of numbers of one length: {error}") from error
    if frames.ndim != 2 or not frames.size or frames.shape[1] <= FIRST_QUATERNION:
        raise ImporterError(f"{where}: Frames wants rows of numbers, got an array of shape {frames.shape}")
    return frames


def _character_joints(values: dict[str, Any], where: str) -> list[dict[str, Any]]:
    skeleton = values.get("Skeleton")
    joints = skeleton.get("Joints") if isinstance(skeleton, dict) else None
    if not isinstance(joints, list) or not 0 < len(joints) <= MAX_JOINTS:
        raise ImporterError(f"{where}: no Skeleton with a list of Joints; it is no character file")
    if not all(isinstance(joint, dict) for joint in joints):
        raise ImporterError(f"{where}: Skeleton.Joints wants JSON objects")
    return joints


def _layout(
    joints: list[dict[str, Any]], where: str
) -> tuple[tuple[str, ...], tuple[int, ...], np.ndarray, tuple[JointChannels, ...], int]:
    """Names, parents, offsets, channels and numbers per frame, the two points above the neck included."""
    names, parents, offsets, channels = [], [], [], []
    column = FIRST_QUATERNION
    for row, joint in enumerate(joints):
        try:
            kind, parent = str(joint["Type"]), int(joint["Parent"])
            names.append(str(joint["Name"]))
            offsets.append([float(joint[f"Attach{axis}"]) for axis in "XYZ"])
        except (KeyError, TypeError, ValueError) as error:
            raise ImporterError(
                f"{where}: joint {row} lacks a value or has a wrong one: {error!r}"
            ) from error
        width = 4 if row == 0 else WIDTH_OF_TYPE.get(kind)
        if width is None or (parent != NO_PARENT if row == 0 else not 0 <= parent < row):
            raise ImporterError(
                f"{where}: joint {names[-1]!r} wants an earlier joint as parent and a type out of "
                f"{', '.join(WIDTH_OF_TYPE)}, got parent {parent} and type {kind!r}"
            )
        parents.append(parent)
        channels.append(
            JointChannels(
                rotations=(("z", column),) if width == 1 else (),
                translations=tuple(zip("xyz", ROOT_COLUMNS, strict=True)) if row == 0 else (),
                quaternion=(column, column + 1, column + 2, column + 3) if width == 4 else None,
            )
        )
        column += width
    for name, above_m in ABOVE_NECK if "neck" in names else ():
        parents.append(names.index("neck"))
        names.append(name)
        offsets.append([0.0, above_m, 0.0])
        channels.append(JointChannels())
    return tuple(names), tuple(parents), np.array(offsets), tuple(channels), column
