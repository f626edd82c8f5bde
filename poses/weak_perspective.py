"""Weak-perspective cameras (s, tx, ty) and their full-perspective equivalents.

A weak-perspective camera sees x_2d = s (x + tx), y_2d = s (y + ty) in a crop whose sides are -1 and 1.
Sources: HMR and SPIN (camera of a crop), 4D-Humans (crop camera -> full image).
"""

import torch
from jaxtyping import Float
from torch import Tensor

Number = int | float
SCALE_FLOOR = 1e-9


def project_weak_perspective(
    joints_m: Float[Tensor, "*B J 3"], camera_weak: Float[Tensor, "*B 3"]
) -> Float[Tensor, "*B J 2"]:
    """s (xy + t): crop coordinates, -1 to 1 from side to side; depth does not count."""
    return camera_weak[..., None, :1] * (joints_m[..., :2] + camera_weak[..., None, 1:])


def translation_from_weak_perspective(
    camera_weak: Float[Tensor, "*B 3"], focal_px: Number, crop_px: Number
) -> Float[Tensor, "*B 3"]:
    """Translation (metres) at which a pinhole camera of this focal length sees the crop alike.

    Depth is 2 f / (crop s), x and y are tx and ty. The principal point is the crop's centre.
    """
    scale = camera_weak[..., 0] * crop_px
    depth = 2 * focal_px / (scale + SCALE_FLOOR)
    return torch.stack([camera_weak[..., 1], camera_weak[..., 2], depth], dim=-1)


def translation_in_full_image(
    camera_weak: Float[Tensor, "*B 3"],
    crop_center_px: Float[Tensor, "*B 2"],
    crop_px: Float[Tensor, "*B"],
    image_size_px: Float[Tensor, "*B 2"],
    focal_px: Number,
) -> Float[Tensor, "*B 3"]:
    """Translation (metres) in the camera of the whole image, from the camera of a crop.

    The principal point is the image's centre.

    Args:
        camera_weak: (s, tx, ty) of the crop.
        crop_center_px: Where the crop's centre lies in the image.
        crop_px: Side of the square crop in image pixels.
        image_size_px: (width, height).
        focal_px: Focal length of the whole image.
    """
    scale = camera_weak[..., 0] * crop_px + SCALE_FLOOR
    offset = 2 * (crop_center_px - image_size_px / 2) / scale[..., None]
    depth = 2 * focal_px / scale
    return torch.cat([camera_weak[..., 1:] + offset, depth[..., None]], dim=-1)


def fit_translation(
    joints_m: Float[Tensor, "B J 3"],
    keypoints_px: Float[Tensor, "B J 2"],
    weight: Float[Tensor, "B J"],
    focal_px: Number,
    center_px: Float[Tensor, "B 2"],
) -> Float[Tensor, "B 3"]:
    """Translation that best puts 3D joints onto their 2D keypoints under a pinhole camera.

    Weighted linear least squares on f (x + tx) = (u - cx) (z + tz), and the same for y: the error is in
    pixels times depth. Two equations a joint; at least two joints with weight are needed. In float64.

    Args:
        joints_m: Joints before translation.
        keypoints_px: Their pixels.
        weight: Weight of each joint's squared error (a detector's confidence, for instance), not negative.
        focal_px: Focal length.
        center_px: Principal point.
    """
    joints, rays = joints_m.double(), keypoints_px.double() - center_px.double()[:, None]
    focal = torch.full_like(rays[..., 0], float(focal_px))
    zero = torch.zeros_like(focal)
    rows_x = torch.stack([focal, zero, -rays[..., 0]], dim=-1)
    rows_y = torch.stack([zero, focal, -rays[..., 1]], dim=-1)
    known = rays * joints[..., 2:] - focal_px * joints[..., :2]
    matrix = torch.cat([rows_x, rows_y], dim=1)
    right = torch.cat([known[..., 0], known[..., 1]], dim=1)
    weights = weight.double().repeat(1, 2)[..., None]
    normal = matrix.transpose(1, 2) @ (matrix * weights)
    solution = torch.linalg.solve(normal, matrix.transpose(1, 2) @ (right[..., None] * weights))
    return solution.squeeze(-1).to(joints_m.dtype)
