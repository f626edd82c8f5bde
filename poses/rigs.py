"""Camera rigs: several cameras round a capture space, as data.

World frame: metres, y up, floor at y = 0; the subject is recentred so that the clip-mean hip ground position
is the origin. A camera stands at (distance sin(azimuth), height, distance cos(azimuth)), so azimuth 0 is on
the +z axis and 90 degrees on +x, and looks at (0, look_at_y, 0). Its frame: x right, y down, z forward.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from poses.cameras import make_camera_px
from poses.errors import CameraError
from poses.safe_yaml import load_plain_yaml

RIG_FOLDER = Path(__file__).parent / "rigs"
CAMERA_KEYS = frozenset(
    {"name", "azimuth_deg", "distance_m", "height_m", "look_at_y_m", "focal_px", "center_px", "size_px"}
)


@dataclass(frozen=True, eq=False)
class RigCamera:
    """One camera: intrinsics `camera_px` (11,), and x_camera = R x_world + t."""

    name: str
    camera_px: np.ndarray
    camera_from_world_rotation: np.ndarray
    camera_from_world_translation_m: np.ndarray

    @property
    def position_world_m(self) -> np.ndarray:
        """(3,) where the camera stands."""
        return -self.camera_from_world_rotation.T @ self.camera_from_world_translation_m


@dataclass(frozen=True, eq=False)
class Rig:
    """Named cameras."""

    name: str
    cameras: tuple[RigCamera, ...]


def rig_names() -> tuple[str, ...]:
    """Names of the built-in rigs, sorted."""
    return tuple(sorted(path.stem for path in RIG_FOLDER.glob("*.yaml")))


@lru_cache(maxsize=32)
def load_rig(name_or_yaml_path: str | Path) -> Rig:
    """A built-in rig by name, or your own by the path of a YAML file like poses/rigs/h36m_like.yaml.

    Raises:
        CameraError: if there is no such rig or the file does not describe one.
    """
    text = str(name_or_yaml_path)
    if text not in rig_names() and not text.endswith((".yaml", ".yml")):
        raise CameraError(
            f"no camera rig {text!r}; built in are {', '.join(rig_names())}; or give the path of a .yaml file"
        )
    path = RIG_FOLDER / f"{text}.yaml" if text in rig_names() else Path(text)
    try:
        values = load_plain_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CameraError(f"{path}: cannot read the rig file: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CameraError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(values, Mapping) or set(values) != {"name", "cameras"} or not values["cameras"]:
        raise CameraError(
            f"{path}: wanted the keys 'name' and 'cameras' (a list that is not empty), got {values!r:.120}"
        )
    return Rig(str(values["name"]), tuple(_camera(entry, str(path)) for entry in values["cameras"]))


def look_at(
    position_world_m: tuple[float, float, float] | np.ndarray,
    target_world_m: tuple[float, float, float] | np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Rotation (3,3) and translation (3,) float32 of an upright camera (no roll, y up) looking at a point.

    Raises:
        CameraError: if it stands on the point, or straight above or below it, where upright means nothing.
    """
    position, target = np.asarray(position_world_m, np.float64), np.asarray(target_world_m, np.float64)
    forward = target - position
    right = np.cross(forward, [0.0, 1.0, 0.0])
    if np.linalg.norm(right) < 1e-9:
        raise CameraError(
            f"a camera at {position} cannot look upright at {target}; move one of them sideways"
        )
    forward /= np.linalg.norm(forward)
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    return rotation.astype(np.float32), (-rotation @ position).astype(np.float32)


def _camera(entry: Any, where: str) -> RigCamera:
    if not isinstance(entry, Mapping) or set(entry) != CAMERA_KEYS:
        keys = set(entry) if isinstance(entry, Mapping) else set()
        raise CameraError(
            f"{where}: a camera wants exactly the keys {', '.join(sorted(CAMERA_KEYS))}; "
            f"missing: {', '.join(sorted(CAMERA_KEYS - keys)) or 'none'}; "
            f"unknown: {', '.join(map(str, keys - CAMERA_KEYS)) or 'none'}"
        )
    azimuth = np.radians(entry["azimuth_deg"])
    distance = entry["distance_m"]
    position = np.asarray([distance * np.sin(azimuth), entry["height_m"], distance * np.cos(azimuth)])
    rotation, translation = look_at(position, np.asarray([0.0, entry["look_at_y_m"], 0.0]))
    focal = entry["focal_px"]
    camera_px = make_camera_px((focal, focal), tuple(entry["center_px"]), tuple(entry["size_px"]))
    return RigCamera(str(entry["name"]), camera_px, rotation, translation)
