"""npz files of ready clips: one array (T, J, 3) per clip, world metres, y up, as in data/mocap/h36m17_30fps.

Array names are "<subject>/<take>". J is 17 (skeleton h36m_17). The rate is not in the file.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from poses.skeleton import load_skeleton
from storage.errors import ImporterError
from storage.importers.clip_source import SourceClip, to_y_up
from storage.importers.safe_npz import NpzArchive

DEFAULT_RATE_HZ = 30.0
SKELETON = "h36m_17"


def read_clips_npz(
    path: Path, rate_hz: float | None = None, unit_m: float | None = None, up_axis: str | None = None
) -> Iterator[SourceClip]:
    """The clips of an npz, one at a time, in file order.

    Args:
        path: The file.
        rate_hz: Rate of the clips; 30 if not given.
        unit_m: Metres per unit; 1 if not given.
        up_axis: "y" (if not given) or "z".

    Raises:
        ImporterError: if an array is no clip of 17 joints.
    """
    skeleton = load_skeleton(SKELETON)
    with NpzArchive(path) as archive:
        if not archive.names:
            raise ImporterError(f"{path}: the npz holds no arrays")
        for name in archive.names:
            values = archive.read(name)
            joints = joints_array(values, f"{path}: {name}")
            if joints.shape[1] != skeleton.n_joints:
                raise ImporterError(
                    f"{path}: {name}: wanted (T, {skeleton.n_joints}, 3) for skeleton {SKELETON}, got "
                    f"{joints.shape}"
                )
            yield SourceClip(
                name=name,
                joints_world_m=to_y_up(joints * (unit_m or 1.0), up_axis or "y"),
                skeleton=skeleton,
                rate_hz=rate_hz or DEFAULT_RATE_HZ,
                subject=name.split("/")[0] if "/" in name else "",
            )


def joints_array(values: object, where: str) -> np.ndarray:
    """(T, J, 3) float64, or an error that says what it is instead."""
    if (
        not isinstance(values, np.ndarray)
        or values.ndim != 3
        or values.shape[2] != 3
        or values.dtype.kind not in "fiu"
    ):
        got = f"{values.dtype} {values.shape}" if isinstance(values, np.ndarray) else type(values).__name__
        raise ImporterError(f"{where}: wanted numbers of shape (T, J, 3), got {got}")
    if not len(values):
        raise ImporterError(f"{where}: the clip has no frames")
    return values.astype(np.float64)
