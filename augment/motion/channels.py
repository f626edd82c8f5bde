"""Joint-angle channels: their names, normal ranges, and how trajectories are kept inside them.

A posture is a mapping channel -> degrees; a motion is an array (T, C) in the order of `CHANNELS`. Anatomical
signs: flexion, abduction, internal rotation and dorsiflexion are positive; trunk and head side bending and
rotation are positive towards the body's left. Ranges are data (`range_of_motion.yaml`, with their sources).
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import yaml

from augment.errors import AugmentError

SIDES = ("left", "right")
ROOT_CHANNELS = ("pelvis_yaw", "pelvis_pitch", "pelvis_list")


@dataclass(frozen=True)
class ChannelTable:
    """Ranges of all channels, as arrays in channel order (degrees)."""

    names: tuple[str, ...]
    lowest_deg: np.ndarray
    highest_deg: np.ndarray
    rest_deg: np.ndarray
    spread: np.ndarray
    elevation_by_plane_deg: np.ndarray
    straight_leg_raise_deg: float
    hip_per_knee_degree: float

    def index(self, name: str) -> int:
        """Position of a channel.

        Raises:
            AugmentError: if there is no such channel.
        """
        try:
            return self.names.index(name)
        except ValueError:
            raise AugmentError(
                f"no joint-angle channel '{name}'; there are {', '.join(self.names)}"
            ) from None

    def indices(self, names: list[str]) -> np.ndarray:
        """Positions of several channels."""
        return np.array([self.index(name) for name in names], dtype=np.int64)


@cache
def channel_table() -> ChannelTable:
    """The channels of `range_of_motion.yaml`, the three of the root first (they have no range)."""
    data = yaml.safe_load((Path(__file__).parent / "range_of_motion.yaml").read_text(encoding="utf-8"))
    entries: dict[str, dict] = dict(data["channels"])
    for side in SIDES:
        entries |= {f"{side}_{name}": entry for name, entry in data["sided_channels"].items()}
    no_range = {"limits": [-np.inf, np.inf], "rest": 0.0, "spread": 0.0}
    entries = dict.fromkeys(ROOT_CHANNELS, no_range) | entries
    leg_raise = data["straight_leg_raise"]
    return ChannelTable(
        names=tuple(entries),
        lowest_deg=np.array([entry["limits"][0] for entry in entries.values()], dtype=np.float64),
        highest_deg=np.array([entry["limits"][1] for entry in entries.values()], dtype=np.float64),
        rest_deg=np.array([entry["rest"] for entry in entries.values()], dtype=np.float64),
        spread=np.array([entry["spread"] for entry in entries.values()], dtype=np.float64),
        elevation_by_plane_deg=np.array(data["shoulder_elevation_by_plane"], dtype=np.float64),
        straight_leg_raise_deg=float(leg_raise["hip_flexion"]),
        hip_per_knee_degree=float(leg_raise["per_knee_degree"]),
    )


def clamp_to_range(angles_deg: np.ndarray) -> np.ndarray:
    """Angles inside the normal ranges, by smooth saturation, so that speeds do not jump at a limit.

    Args:
        angles_deg: (T, C) in the order of `channel_table().names`.

    Returns:
        (T, C): each channel strictly inside its range; the shoulder also inside the range that its plane of
        elevation allows, the hip inside the straight leg raise that its knee allows.
    """
    table = channel_table()
    clamped = _soft_clip(angles_deg, table.lowest_deg, table.highest_deg)
    for side in SIDES:
        plane, elevation = table.index(f"{side}_shoulder_plane"), table.index(f"{side}_shoulder_elevation")
        points = table.elevation_by_plane_deg
        highest_deg = np.interp(clamped[:, plane], points[:, 0], points[:, 1])
        clamped[:, elevation] = _soft_clip(clamped[:, elevation], np.zeros_like(highest_deg), highest_deg)
        hip, knee = table.index(f"{side}_hip_flexion"), table.index(f"{side}_knee_flexion")
        highest_deg = table.straight_leg_raise_deg + table.hip_per_knee_degree * clamped[:, knee]
        highest_deg = np.minimum(highest_deg, table.highest_deg[hip])
        clamped[:, hip] = _soft_clip(
            clamped[:, hip], np.full_like(highest_deg, table.lowest_deg[hip]), highest_deg
        )
    return clamped


def _soft_clip(
    values: np.ndarray, lowest: np.ndarray, highest: np.ndarray, margin: float = 6.0
) -> np.ndarray:
    """Identity inside the range less `margin`; beyond that tanh towards the limit (continuous slope)."""
    with np.errstate(invalid="ignore"):
        high_start = np.where(np.isfinite(highest), highest - margin, np.inf)
        low_start = np.where(np.isfinite(lowest), lowest + margin, -np.inf)
        above = high_start + margin * np.tanh((values - high_start) / margin)
        below = low_start - margin * np.tanh((low_start - values) / margin)
    return np.where(values > high_start, above, np.where(values < low_start, below, values))
