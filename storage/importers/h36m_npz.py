"""Human3.6M-style npz as VideoPose3D makes them: `positions_3d`, a pickled dictionary [subject][action] ->
(T, J, 3).

World metres with z up, 50 Hz, J = 32 joints of the original skeleton (their names: joint_maps/h36m_32.yaml)
or the 17 that move. The pickle is read without running code (see safe_npz).
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from poses.skeleton import load_skeleton
from storage.errors import ImporterError
from storage.importers.clip_source import SourceClip, to_y_up
from storage.importers.clips_npz import SKELETON, joints_array
from storage.importers.joint_map import load_joint_map
from storage.importers.safe_npz import NpzArchive, iterate_strings

MEMBER = "positions_3d"
DEFAULT_RATE_HZ = 50.0
JOINT_MAP = "h36m_32"


def read_h36m_npz(
    path: Path, rate_hz: float | None = None, unit_m: float | None = None, up_axis: str | None = None
) -> Iterator[SourceClip]:
    """The clips of a Human3.6M-style npz; names are "<subject>/<action>".

    Args:
        path: The file.
        rate_hz: Rate of the clips; 50 if not given.
        unit_m: Metres per unit; 1 if not given.
        up_axis: "z" (if not given) or "y".

    Raises:
        ImporterError: if the file is damaged, is no such dictionary, or its pickle holds more than arrays.
    """
    with NpzArchive(path) as archive:
        subjects = archive.read(MEMBER)
    for subject, actions in iterate_strings(subjects, f"{path}: {MEMBER}"):
        for action, values in iterate_strings(actions, f"{path}: {MEMBER}[{subject}]"):
            where = f"{path}: {MEMBER}[{subject}][{action}]"
            joints = moving_joints(joints_array(values, where), where) * (unit_m or 1.0)
            yield SourceClip(
                name=f"{subject}/{action}",
                joints_world_m=to_y_up(joints, up_axis or "z"),
                skeleton=load_skeleton(SKELETON),
                rate_hz=rate_hz or DEFAULT_RATE_HZ,
                subject=subject,
                action=action,
            )


def moving_joints(joints: np.ndarray, where: str) -> np.ndarray:
    """(T, 17, 3) of h36m_17 out of 32 or 17 joints."""
    joint_map = load_joint_map(JOINT_MAP)
    if joints.shape[1] == joint_map.target.n_joints:
        return joints
    if joints.shape[1] != len(joint_map.array_joints):
        raise ImporterError(
            f"{where}: wanted {len(joint_map.array_joints)} joints of Human3.6M, or the "
            f"{joint_map.target.n_joints} that move, got {joints.shape[1]}"
        )
    return joint_map.apply(joints, joint_map.array_joints)
