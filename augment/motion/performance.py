"""What a behaviour hands to the generator: joint angles over time, and when the body leaves the floor."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from augment.motion.anthropometry import Body
from augment.motion.channels import channel_table
from augment.motion.trajectories import Timeline


@dataclass(frozen=True)
class Performance:
    """Joint angles (T, C) in degrees; `lift_m` and `glide` (T,) as in `ground.root_path_m`."""

    angles_deg: np.ndarray
    lift_m: np.ndarray
    glide: np.ndarray


Behaviour = Callable[[Body, np.ndarray, np.random.Generator], Performance]


def grounded(angles_deg: np.ndarray) -> Performance:
    """A performance that never leaves the floor."""
    still = np.zeros(len(angles_deg))
    return Performance(angles_deg=angles_deg, lift_m=still, glide=still.copy())


def from_timeline(timeline: Timeline, times_s: np.ndarray, generator: np.random.Generator) -> Performance:
    """Sample a timeline; the upper body's channels lag or lead by up to 70 ms, each by its own amount."""
    table = channel_table()
    upper = np.array([name.split("_")[-2] not in ("hip", "knee", "ankle", "pelvis") for name in table.names])
    delays_s = np.where(upper, generator.uniform(-0.07, 0.07, size=len(table.names)), 0.0)
    return grounded(timeline.sample(times_s, delays_s))


def rest_angles_deg(n_frames: int) -> np.ndarray:
    """(T, C) of the relaxed standing posture."""
    return np.repeat(channel_table().rest_deg[None, :], n_frames, axis=0)


def both_sides(posture: dict[str, float]) -> dict[str, float]:
    """The same values left and right, for channels named without a side."""
    return {f"{side}_{name}": value for side in ("left", "right") for name, value in posture.items()}


def one_side(side: str, posture: dict[str, float]) -> dict[str, float]:
    """Values for one side, for channels named without it."""
    return {f"{side}_{name}": value for name, value in posture.items()}
