"""Where a root-relative pose stands before a camera, from its 2D keypoints alone.

The inverse of projection: pixels to rays without lens distortion, and the translation that best puts a pose onto its
rays. What a lifter leaves open (the root's place) follows from the intrinsics and the person's size.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float

from poses.cameras import camera_field, project_px
from poses.weak_perspective import fit_translation

LEAST_KEYPOINTS = 3
"""Two would determine a translation, but leave nothing to average a detector's error over."""
_ROUNDS = 20


def rays_of_px(
    keypoints_px: Float[np.ndarray, "B J 2"], camera_px: Float[np.ndarray, "B 11"]
) -> Float[np.ndarray, "B J 2"]:
    """(x / z, y / z) of every pixel, float64.

    Distortion is taken back by fixed-point iteration, which converges for the lenses that people are filmed with; under
    a strong fisheye, far from the centre, no answer is right, because several points share a pixel.
    """
    camera, seen = camera_px.astype(np.float64), keypoints_px.astype(np.float64)
    focal = np.stack([camera_field(camera, "fx"), camera_field(camera, "fy")], axis=-1)[:, None]
    center = np.stack([camera_field(camera, "cx"), camera_field(camera, "cy")], axis=-1)[:, None]
    rays = (seen - center) / focal
    for _ in range(_ROUNDS):
        points = np.concatenate([rays, np.ones_like(rays[..., :1])], axis=-1)
        rays = rays + (seen - project_px(points, camera)) / focal
    return rays


def place_in_camera(
    joints_root_m: Float[np.ndarray, "B J 3"],
    rays: Float[np.ndarray, "B J 2"],
    weight: Float[np.ndarray, "B J"],
) -> tuple[Float[np.ndarray, "B 3"], Bool[np.ndarray, " B"]]:
    """The root's place in camera axes, metres, that best puts poses onto their rays.

    Weighted linear least squares (`poses.weak_perspective.fit_translation` at focal length 1); errors count in metres
    at the pose's depth.

    Args:
        joints_root_m: Poses relative to the root, camera axes.
        rays: Of the same joints, from `rays_of_px`.
        weight: Of each joint, such as a detector's confidence; 0 leaves it out.

    Returns:
        (B, 3) places, NaN where there is none, and (B,) whether there is one: at least three joints have weight.
    """
    there = (weight > 0).sum(1) >= LEAST_KEYPOINTS
    places = np.full((len(rays), 3), np.nan)
    if there.any():
        joints, seen, weights = (torch.from_numpy(values[there]) for values in (joints_root_m, rays, weight))
        places[there] = fit_translation(
            joints.double(), seen, weights, 1.0, torch.zeros(len(seen), 2, dtype=torch.float64)
        ).numpy()
    return places, there
