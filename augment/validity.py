"""Which pairs may be used: finite, before the camera, inside the image on all four sides.

The published filter looks at one side only (a coordinate above 1), and lets poses behind the camera through.
"""

import numpy as np
from jaxtyping import Float32, Shaped
from pydantic import BaseModel, ConfigDict, Field

from poses.cameras import camera_field, in_front, inside_image

NOT_FINITE = "not_finite"
BEHIND_CAMERA = "behind_camera"
OUTSIDE_IMAGE = "outside_image"
REASONS = (NOT_FINITE, BEHIND_CAMERA, OUTSIDE_IMAGE)
"""In order of precedence: a pair gets the first that applies."""


class ValiditySettings(BaseModel):
    """What a usable pair is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    z_min_m: float = Field(default=0.3, gt=0.0)
    """Every joint is at least this far before the camera."""
    margin: float = Field(default=0.0, ge=0.0)
    """How far outside the image a keypoint may lie, as a share of the image's width."""
    require_inside: bool = True


def reasons_to_reject(
    joints_camera_m: Float32[np.ndarray, "B J 3"],
    keypoints_px: Float32[np.ndarray, "B J 2"],
    camera_px: Float32[np.ndarray, "B 11"],
    settings: ValiditySettings,
) -> Shaped[np.ndarray, " B"]:
    """(B,) object array of str: the reason against each pair, "" where there is none."""
    reason = np.full(len(joints_camera_m), "", dtype=object)
    if settings.require_inside:
        inside = np.zeros(len(reason), bool)
        width_px = np.unique(camera_field(camera_px, "width"))
        for width in width_px:
            rows = camera_field(camera_px, "width") == width
            inside[rows] = inside_image(
                keypoints_px[rows], camera_px[rows], margin_px=float(settings.margin * width)
            )
        reason[~inside] = OUTSIDE_IMAGE
    reason[~in_front(joints_camera_m, settings.z_min_m)] = BEHIND_CAMERA
    # a joint at depth 0 projects to infinity: that is behind the camera, not a broken number
    broken = (
        ~_finite(joints_camera_m) | ~_finite(camera_px) | (~_finite(keypoints_px) & (reason != BEHIND_CAMERA))
    )
    reason[broken] = NOT_FINITE
    return reason


def reasons_if_not_finite(
    joints_camera_m: Float32[np.ndarray, "B J 3"], keypoints_px: Float32[np.ndarray, "B J 2"]
) -> Shaped[np.ndarray, " B"]:
    """(B,) object array of str: "not_finite" or "", for augmentors that cannot make a good pair bad."""
    reason = np.full(len(joints_camera_m), "", dtype=object)
    reason[~_finite(joints_camera_m) | ~_finite(keypoints_px)] = NOT_FINITE
    return reason


def _finite(array: np.ndarray) -> np.ndarray:
    return np.asarray(np.isfinite(array).all(axis=tuple(range(1, array.ndim))))
