"""Square crops of images around people, and what they do to 2D, 3D and camera. Numpy, B people at a time.

A crop is a square of the image, perhaps turned and mirrored:

    pixel = centre + half_side * R(angle) (M crop),    M = diag(-1, 1) if mirrored, else 1

with crop coordinates from -1 (left, upper edge) to 1 (right, lower edge), and pixels that count from the image's upper
left corner (the centre of the first pixel lies at 0.5, 0.5), as everywhere in posemill.

**3D stays in camera axes**, of the camera turned about its optical axis and mirrored as the crop is. That is exact, not
the weak-perspective approximation that one might fear: turning an image about any point is a turn of the camera about
its axis and a shift of the principal point, and cutting and scaling are a shift of the principal point and another
focal length. `crop_cameras` gives that camera, and the turned joints project onto the turned keypoints through it
(tests/unit/estimators/images/test_crops.py). A network sees the crop and not its camera: that a person at the image's
edge is seen from the side, by up to half the field of view, is for it to guess. The paper does the same.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field

from poses.cameras import CAMERA_FIELDS
from poses.errors import CameraError
from poses.skeleton import Skeleton

STRIDE = 32
"""Crops are multiples of it, for the backbone's last stage."""
_SQUARE_PIXELS = 1e-3
"""Largest relative difference of fx and fy under which a turned camera has one focal length."""


class CropSettings(BaseModel):
    """What of an image a network sees; the same in training and evaluation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(default=256, ge=STRIDE, multiple_of=STRIDE, description="side of a crop, in its pixels")
    margin: float = Field(
        default=0.15,
        ge=0.0,
        le=2.0,
        description="around the person's box, on each side, as a share of the box's side",
    )


@dataclass(frozen=True, eq=False)
class Crops:
    """B squares of images.

    Attributes:
        centre_px: (B, 2) float64.
        half_side_px: (B,) float64, above 0.
        angle_rad: (B,) float64: how far the square is turned, from x (right) towards y (down).
        mirrored: (B,) bool: left and right of the crop are exchanged.
    """

    centre_px: np.ndarray
    half_side_px: np.ndarray
    angle_rad: np.ndarray
    mirrored: np.ndarray

    def __len__(self) -> int:
        return len(self.half_side_px)

    def take(self, rows: np.ndarray | slice) -> "Crops":
        """The rows of an index, a mask or a slice."""
        return Crops(self.centre_px[rows], self.half_side_px[rows], self.angle_rad[rows], self.mirrored[rows])

    def points_in_crop(self, points_px: Float[np.ndarray, "B N 2"]) -> Float[np.ndarray, "B N 2"]:
        """Pixels to crop coordinates, point by point (joints keep their names)."""
        offset = (points_px.astype(np.float64) - self.centre_px[:, None]) / self.half_side_px[:, None, None]
        return self._across(_turned(offset, -self.angle_rad))

    def points_in_image(self, points_crop: Float[np.ndarray, "B N 2"]) -> Float[np.ndarray, "B N 2"]:
        """Inverse of `points_in_crop`."""
        offset = _turned(self._across(points_crop.astype(np.float64)), self.angle_rad)
        return self.centre_px[:, None] + self.half_side_px[:, None, None] * offset

    def keypoints_in_crop(
        self, keypoints_px: Float[np.ndarray, "B J 2"], skeleton: Skeleton
    ) -> Float[np.ndarray, "B J 2"]:
        """Keypoints as the crop shows them: in mirrored crops left joints become right ones."""
        return self._renamed(self.points_in_crop(keypoints_px), skeleton)

    def keypoints_in_image(
        self, keypoints_crop: Float[np.ndarray, "B J 2"], skeleton: Skeleton
    ) -> Float[np.ndarray, "B J 2"]:
        """Inverse of `keypoints_in_crop`."""
        return self.points_in_image(self._renamed(keypoints_crop, skeleton))

    def joints_in_crop(
        self, joints_m: Float[np.ndarray, "B J 3"], skeleton: Skeleton
    ) -> Float[np.ndarray, "B J 3"]:
        """Joints in camera axes as the crop shows them: turned about the optical axis, mirrored, renamed.

        Exact for cameras with square pixels (fx = fy); root-relative joints stay root-relative.
        """
        flat = self._across(_turned(joints_m[..., :2].astype(np.float64), -self.angle_rad))
        return self._renamed(np.concatenate([flat, joints_m[..., 2:]], axis=-1), skeleton)

    def joints_in_image(
        self, joints_m: Float[np.ndarray, "B J 3"], skeleton: Skeleton
    ) -> Float[np.ndarray, "B J 3"]:
        """Inverse of `joints_in_crop`."""
        named = self._renamed(joints_m, skeleton)
        flat = _turned(self._across(named[..., :2].astype(np.float64)), self.angle_rad)
        return np.concatenate([flat, named[..., 2:]], axis=-1)

    def _across(self, points: np.ndarray) -> np.ndarray:
        """Points with x negated in mirrored crops."""
        sign = np.where(self.mirrored, -1.0, 1.0)[:, None]
        return np.stack([points[..., 0] * sign, points[..., 1]], axis=-1)

    def _renamed(self, joints: np.ndarray, skeleton: Skeleton) -> np.ndarray:
        return np.where(self.mirrored[:, None, None], joints[:, skeleton.mirror_index], joints)


def crops_around(
    keypoints_px: Float[np.ndarray, "B J 2"], margin: float, box_px: Float[np.ndarray, "B 4"] | None = None
) -> Crops:
    """The square around every person, upright.

    Args:
        keypoints_px: NaN where a keypoint is not known.
        margin: On each side, as a share of the longer side of the person's box.
        box_px: (B, 4) left, top, width, height of boxes to take instead of the keypoints'; NaN where there is none.

    Returns:
        Crops; those of people without two known keypoints have a side that is 0 or NaN, which is no crop
        (`usable_crops`).
    """
    known = np.isfinite(keypoints_px).all(-1, keepdims=True)
    points = keypoints_px.astype(np.float64)
    low = np.where(known, points, np.inf).min(axis=1)
    high = np.where(known, points, -np.inf).max(axis=1)
    if box_px is not None:
        given = np.isfinite(box_px).all(-1, keepdims=True)
        box = box_px.astype(np.float64)
        low, high = np.where(given, box[:, :2], low), np.where(given, box[:, :2] + box[:, 2:], high)
    with np.errstate(invalid="ignore"):
        side = (high - low).max(axis=1)
        centre = (low + high) / 2.0
    half = np.where(np.isfinite(side), side * (0.5 + margin), 0.0)
    return Crops(centre, half, np.zeros(len(half)), np.zeros(len(half), bool))


def crop_cameras(crops: Crops, camera_px: Float[np.ndarray, "B 11"], size: int) -> Float[np.ndarray, "B 11"]:
    """The cameras whose images the crops are: `size` pixels a side, `CAMERA_FIELDS`.

    Raises:
        CameraError: if a crop is turned and its camera's pixels are not square: no camera of ours has such an image.
    """
    field = {name: camera_px[:, column].astype(np.float64) for column, name in enumerate(CAMERA_FIELDS)}
    uneven = (np.abs(field["fx"] / field["fy"] - 1.0) > _SQUARE_PIXELS) & (np.sin(crops.angle_rad) != 0.0)
    if uneven.any():
        row = int(np.flatnonzero(uneven)[0])
        raise CameraError(
            f"turned crop {row}: its camera has fx = {field['fx'][row]:.6g} and fy = {field['fy'][row]:.6g}, wanted "
            "square pixels; turn such crops by 0, or resize the images first"
        )
    scale = size / (2.0 * crops.half_side_px)
    centre = crops.points_in_crop(np.stack([field["cx"], field["cy"]], axis=-1)[:, None])[:, 0]
    towards = np.stack([field["p2"], field["p1"]], axis=-1)[
        :, None
    ]  # the tangential terms are a vector of the image
    tangential = crops._across(_turned(towards, -crops.angle_rad))[:, 0]
    field |= {
        "fx": field["fx"] * scale,
        "fy": field["fy"] * scale,
        "p2": tangential[:, 0],
        "p1": tangential[:, 1],
    }
    field |= {"cx": (centre[:, 0] + 1.0) * size / 2.0, "cy": (centre[:, 1] + 1.0) * size / 2.0}
    field |= {"width": np.full(len(crops), float(size)), "height": np.full(len(crops), float(size))}
    return np.stack([field[name] for name in CAMERA_FIELDS], axis=-1)


def _turned(points: np.ndarray, angle_rad: np.ndarray) -> np.ndarray:
    """(B, N, 2) points, each row turned by its angle from x towards y."""
    cosine, sine = np.cos(angle_rad)[:, None], np.sin(angle_rad)[:, None]
    x, y = points[..., 0], points[..., 1]
    return np.stack([x * cosine - y * sine, x * sine + y * cosine], axis=-1)
