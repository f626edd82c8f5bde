"""What every importer hands on: clips of our joints in metres, with the frames and rate of the file."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from poses.skeleton import Skeleton


@dataclass(frozen=True)
class SourceClip:
    """One clip before cleaning and resampling.

    Args:
        name: What to append to the file's key; "" where a file is one clip.
        joints_world_m: (T, J, 3) float64, y up.
        skeleton: What the joints are.
        rate_hz: Rate of the frames as the file says.
        subject, action: Where the file knows them, else "".
        inserted_pose_frames: Frames at the start that are no motion, if a pose was inserted there.
    """

    name: str
    joints_world_m: np.ndarray
    skeleton: Skeleton
    rate_hz: float
    subject: str = ""
    action: str = ""
    inserted_pose_frames: int = 0


def to_y_up(points: Float[np.ndarray, "*any 3"], up_axis: str) -> Float[np.ndarray, "*any 3"]:
    """(..., 3) points of a y-up or z-up world in the y-up world; right-handed stays right-handed."""
    if up_axis == "y":
        return points
    return np.stack([points[..., 0], points[..., 2], -points[..., 1]], axis=-1)
