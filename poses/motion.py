"""A motion clip: one person, one recording, in the world frame."""

from dataclasses import dataclass

import numpy as np

from poses.errors import PoseShapeError
from poses.skeleton import Skeleton


@dataclass(frozen=True, eq=False)
class MotionClip:
    """Joints over time in the world frame (metres, y up, floor at y = 0), with where they came from.

    Args:
        key: Name of the clip, unique in its dataset, for instance "cmu_bvh/07/07_01".
        subject: Who moves.
        action: What they do; free text.
        rate_hz: Frames per second.
        joints_world_m: (T, J, 3) float32.
        skeleton: What the J joints are.
        source_file: File the clip was read from, or what generated it.
        source_frame: (T,) int32, the frame of the source that each frame was taken from.

    Raises:
        PoseShapeError: if array shapes, types or the rate do not fit.
    """

    key: str
    subject: str
    action: str
    rate_hz: float
    joints_world_m: np.ndarray
    skeleton: Skeleton
    source_file: str
    source_frame: np.ndarray

    def __post_init__(self) -> None:
        joints = self.joints_world_m
        wanted = (len(joints), self.skeleton.n_joints, 3)
        if joints.shape != wanted or joints.dtype != np.float32:
            raise PoseShapeError(
                f"clip {self.key!r}: joints_world_m wants float32 (T, {self.skeleton.n_joints}, 3) for skeleton "
                f"{self.skeleton.name!r}, got {joints.dtype} {joints.shape}"
            )
        if self.source_frame.shape != (len(joints),) or self.source_frame.dtype != np.int32:
            raise PoseShapeError(
                f"clip {self.key!r}: source_frame wants int32 ({len(joints)},), "
                f"got {self.source_frame.dtype} {self.source_frame.shape}"
            )
        if not (np.isfinite(self.rate_hz) and self.rate_hz > 0):
            raise PoseShapeError(f"clip {self.key!r}: rate_hz wants a positive number, got {self.rate_hz}")

    def __len__(self) -> int:
        return len(self.joints_world_m)

    @property
    def duration_s(self) -> float:
        """Seconds from the first to the last frame."""
        return max(len(self) - 1, 0) / self.rate_hz
