"""Pinhole cameras with Brown-Conrady distortion, and the published screen normalisation.

All functions take numpy arrays or torch tensors alike.

Camera frame: metres, x right, y down, z forward. `camera_px` holds CAMERA_FIELDS in its last axis, in pixels;
it may have any leading axes that broadcast against those of the joints
(one camera for a clip, one per pose).

Screen frame (VideoPose3D, PoseAug): x' = 2x/w - 1, y' = 2y/w - h/w, so that the image's width spans [-1, 1].

Two forms of the tangential term are in use. `distortion="brown_conrady"` is Brown's and OpenCV's:
dx = 2 p1 u v + p2 (r^2 + 2 u^2), dy = p1 (r^2 + 2 v^2) + 2 p2 u v. `distortion="published"` is what
VideoPose3D and PoseAug compute: u (p . u) + p r^2, which has the two numbers in the other order and lacks a
factor. They agree where p1 = p2 = 0. Nothing here treats points behind the camera: ask `in_front` first.
"""

from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
from jaxtyping import Bool, Float

from poses.errors import CameraError, PoseShapeError

if TYPE_CHECKING:
    from torch import Tensor

    ArrayT = TypeVar("ArrayT", np.ndarray, Tensor)
else:
    ArrayT = TypeVar("ArrayT")  # torch takes seconds to import, and who gives numpy arrays does not need it
Number = int | float
Distortion = Literal["brown_conrady", "published"]

CAMERA_FIELDS = ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2", "k3", "width", "height")
SCREEN_FIELDS = ("fx", "fy", "cx", "cy", "k1", "k2", "k3", "p1", "p2")
_AT = {name: column for column, name in enumerate(CAMERA_FIELDS)}


def make_camera_px(
    focal_px: tuple[Number, Number],
    center_px: tuple[Number, Number],
    size_px: tuple[Number, Number],
    **distortion: Number,
) -> np.ndarray:
    """(11,) float32 camera from focal length, principal point, image size and k1, k2, k3, p1, p2 (0 if not given)."""
    unknown = sorted(set(distortion) - {"k1", "k2", "k3", "p1", "p2"})
    if unknown:
        raise CameraError(f"unknown distortion terms {', '.join(unknown)}; wanted some of k1, k2, k3, p1, p2")
    values = {
        "fx": focal_px[0],
        "fy": focal_px[1],
        "cx": center_px[0],
        "cy": center_px[1],
        "width": size_px[0],
        "height": size_px[1],
        **distortion,
    }
    if min(*focal_px, *size_px) <= 0:
        raise CameraError(
            f"a camera wants positive focal lengths and image size, got {focal_px} and {size_px}"
        )
    return np.asarray([values.get(name, 0.0) for name in CAMERA_FIELDS], dtype=np.float32)


def camera_field(camera_px: Float[ArrayT, "*B 11"], name: str) -> Float[ArrayT, "*B"]:
    """One field of a camera array by name."""
    return camera_px[..., _AT[name]]


def project_px(
    joints_camera_m: Float[ArrayT, "*B J 3"],
    camera_px: Float[ArrayT, "*C 11"],
    distortion: Distortion = "brown_conrady",
) -> Float[ArrayT, "*B J 2"]:
    """Pixel positions of joints; infinite or NaN where z = 0, mirrored where z < 0 (see `in_front`)."""
    _check_last("camera_px", camera_px, len(CAMERA_FIELDS))
    fx, fy, cx, cy, k1, k2, p1, p2, k3 = (camera_px[..., None, column] for column in range(9))
    u, v = _over_depth(joints_camera_m)
    u, v = _distort(u, v, (k1, k2, k3), (p1, p2), distortion)
    return _stack(fx * u + cx, fy * v + cy)


def project_screen(
    joints_camera_m: Float[ArrayT, "*B J 3"],
    intrinsics_screen: Float[ArrayT, "*C 9"],
    clamp: bool = False,
    distortion: Distortion = "published",
) -> Float[ArrayT, "*B J 2"]:
    """Screen positions of joints.

    Args:
        joints_camera_m: Joints in the camera frame.
        intrinsics_screen: As made by `screen_intrinsics` (the published order, SCREEN_FIELDS).
        clamp: Limit x/z and y/z to [-1, 1] as the published code does; this hides points behind the camera
            and stops the gradient of joints more than 45 degrees off the axis.
        distortion: Which tangential term; see the module's text.
    """
    _check_last("intrinsics_screen", intrinsics_screen, len(SCREEN_FIELDS))
    fx, fy, cx, cy, k1, k2, k3, p1, p2 = (intrinsics_screen[..., None, column] for column in range(9))
    u, v = _over_depth(joints_camera_m)
    if clamp:
        u, v = u.clip(-1.0, 1.0), v.clip(-1.0, 1.0)
    u, v = _distort(u, v, (k1, k2, k3), (p1, p2), distortion)
    return _stack(fx * u + cx, fy * v + cy)


def to_screen(
    keypoints_px: Float[ArrayT, "*B J 2"], camera_px: Float[ArrayT, "*C 11"]
) -> Float[ArrayT, "*B J 2"]:
    """Pixels to screen: x' = 2x/w - 1, y' = 2y/w - h/w."""
    _check_last("camera_px", camera_px, len(CAMERA_FIELDS))
    width, height = camera_px[..., None, _AT["width"]], camera_px[..., None, _AT["height"]]
    scale = 2.0 / width
    return _stack(keypoints_px[..., 0] * scale - 1.0, keypoints_px[..., 1] * scale - height / width)


def to_px(
    keypoints_screen: Float[ArrayT, "*B J 2"], camera_px: Float[ArrayT, "*C 11"]
) -> Float[ArrayT, "*B J 2"]:
    """Screen to pixels; the inverse of `to_screen`."""
    _check_last("camera_px", camera_px, len(CAMERA_FIELDS))
    width, height = camera_px[..., None, _AT["width"]], camera_px[..., None, _AT["height"]]
    half = width / 2.0
    return _stack((keypoints_screen[..., 0] + 1.0) * half, keypoints_screen[..., 1] * half + height / 2.0)


def screen_intrinsics(camera_px: Float[ArrayT, "*B 11"]) -> Float[ArrayT, "*B 9"]:
    """Normalised intrinsics in the published order SCREEN_FIELDS: focal lengths 2f/w, centre mapped like a point."""
    _check_last("camera_px", camera_px, len(CAMERA_FIELDS))
    field = {name: camera_px[..., column] for name, column in _AT.items()}
    scale = 2.0 / field["width"]
    return _stack(
        field["fx"] * scale,
        field["fy"] * scale,
        field["cx"] * scale - 1.0,
        field["cy"] * scale - field["height"] / field["width"],
        field["k1"],
        field["k2"],
        field["k3"],
        field["p1"],
        field["p2"],
    )


def world_to_camera(
    joints_world_m: Float[ArrayT, "*B J 3"],
    camera_from_world_rotation: Float[ArrayT, "*C 3 3"],
    camera_from_world_translation_m: Float[ArrayT, "*C 3"],
) -> Float[ArrayT, "*B J 3"]:
    """x_camera = R x_world + t."""
    turned = joints_world_m @ _transpose(camera_from_world_rotation)
    return turned + camera_from_world_translation_m[..., None, :]


def camera_to_world(
    joints_camera_m: Float[ArrayT, "*B J 3"],
    camera_from_world_rotation: Float[ArrayT, "*C 3 3"],
    camera_from_world_translation_m: Float[ArrayT, "*C 3"],
) -> Float[ArrayT, "*B J 3"]:
    """x_world = R^T (x_camera - t); the inverse of `world_to_camera`."""
    return (joints_camera_m - camera_from_world_translation_m[..., None, :]) @ camera_from_world_rotation


def mirror_camera_px(camera_px: Float[ArrayT, "*B 11"]) -> Float[ArrayT, "*B 11"]:
    """The camera that sees the mirrored scene (x negated) as the mirrored image: cx' = width - cx, p2' = -p2."""
    columns: list[Any] = [camera_px[..., column] for column in range(len(CAMERA_FIELDS))]
    columns[_AT["cx"]] = columns[_AT["width"]] - columns[_AT["cx"]]
    columns[_AT["p2"]] = -columns[_AT["p2"]]
    return _stack(*columns)


def in_front(joints_camera_m: Float[ArrayT, "*B J 3"], z_min_m: Number = 0.1) -> Bool[ArrayT, "*B"]:
    """Whether every joint of a pose lies at least `z_min_m` before the camera; False for NaN."""
    depth_m: Any = joints_camera_m[..., 2]
    return (depth_m >= z_min_m).all(-1)


def inside_image(
    keypoints_px: Float[ArrayT, "*B J 2"], camera_px: Float[ArrayT, "*C 11"], margin_px: Number = 0.0
) -> Bool[ArrayT, "*B"]:
    """Whether every keypoint lies in the image, or at most `margin_px` outside it; two-sided; False for NaN."""
    x: Any = keypoints_px[..., 0]
    y: Any = keypoints_px[..., 1]
    width, height = camera_px[..., None, _AT["width"]], camera_px[..., None, _AT["height"]]
    inside = (x >= -margin_px) & (x <= width + margin_px) & (y >= -margin_px) & (y <= height + margin_px)
    return inside.all(-1)


def _over_depth(joints: Any) -> tuple[Any, Any]:
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        inverse_depth = 1.0 / joints[..., 2]
        return joints[..., 0] * inverse_depth, joints[..., 1] * inverse_depth


def _distort(
    u: Any,
    v: Any,
    radial_terms: tuple[Any, ...],
    tangential_terms: tuple[Any, Any],
    form: Distortion,
) -> tuple[Any, Any]:
    k1, k2, k3 = radial_terms
    p1, p2 = tangential_terms
    with np.errstate(invalid="ignore", over="ignore"):
        r2 = u * u + v * v
        radial = 1.0 + r2 * (k1 + r2 * (k2 + r2 * k3))
        if form == "published":
            factor = radial + (p1 * u + p2 * v)
            return u * factor + p1 * r2, v * factor + p2 * r2
        if form == "brown_conrady":
            factor = radial + 2.0 * (p2 * u + p1 * v)
            return u * factor + p2 * r2, v * factor + p1 * r2
    raise CameraError(f"unknown distortion {form!r}; wanted 'brown_conrady' or 'published'")


def _stack(*columns: Any) -> Any:
    if isinstance(columns[0], np.ndarray | np.generic):
        return np.stack(columns, axis=-1)
    import torch

    return torch.stack(columns, dim=-1)


def _transpose(matrix: Any) -> Any:
    return matrix.swapaxes(-1, -2)


def _check_last(name: str, array: Any, wanted: int) -> None:
    if array.shape[-1] != wanted:
        raise PoseShapeError(
            f"{name} wants {wanted} numbers in its last axis, got shape {tuple(array.shape)}"
        )
