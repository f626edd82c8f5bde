"""What a pile of poses looks like in numbers: angles, lengths, viewpoints, depth and size in the image. Numpy only."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from poses.skeleton import Skeleton

_TINY_M = 1e-9
AZIMUTH_EDGES_DEG = np.linspace(-180, 180, 37)
ELEVATION_EDGES_DEG = np.linspace(-90, 90, 19)
_BODY_FRAME_JOINTS = ("left_hip", "right_hip", "left_shoulder", "right_shoulder")


@dataclass(frozen=True)
class Summary:
    """Median and the range that holds nine poses in ten."""

    low: float
    median: float
    high: float

    @property
    def width(self) -> float:
        return self.high - self.low


def summarise(values: Float[np.ndarray, " N"]) -> Summary:
    """5 %, 50 % and 95 % quantiles of the finite values (NaN where there are none)."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return Summary(np.nan, np.nan, np.nan)
    low, median, high = np.quantile(finite, (0.05, 0.5, 0.95))
    return Summary(float(low), float(median), float(high))


def has_body_frame(skeleton: Skeleton) -> bool:
    """Whether the skeleton names both hips and both shoulders, which viewpoints and root angles need."""
    return all(name in skeleton.joints for name in _BODY_FRAME_JOINTS)


def bone_vectors_m(joints_m: Float[np.ndarray, "N J 3"], skeleton: Skeleton) -> Float[np.ndarray, "N K 3"]:
    """Child minus parent, in the order of `skeleton.bones`."""
    return joints_m[:, skeleton.bone_child_index] - joints_m[:, skeleton.bone_parent_index]


def bone_lengths_m(joints_m: Float[np.ndarray, "N J 3"], skeleton: Skeleton) -> Float[np.ndarray, "N K"]:
    """Length of every bone in metres, in the order of `skeleton.bones`."""
    return np.linalg.norm(bone_vectors_m(joints_m, skeleton), axis=-1)


def body_axes(joints_m: Float[np.ndarray, "N J 3"], skeleton: Skeleton) -> Float[np.ndarray, "N 3 3"]:
    """The person's own axes as rows: left, up, forward; orthonormal and right-handed.

    Up goes from the middle of the hips to the middle of the shoulders, left from the right hip to the left one.
    """
    left_hip, right_hip, left_shoulder, right_shoulder = (
        joints_m[:, skeleton.index(name)] for name in _BODY_FRAME_JOINTS
    )
    up = _unit((left_shoulder + right_shoulder - left_hip - right_hip) / 2)
    across = left_hip - right_hip
    left = _unit(across - np.sum(across * up, -1, keepdims=True) * up)
    return np.stack([left, up, np.cross(left, up)], axis=1)


def bone_angles_deg(joints_m: Float[np.ndarray, "N J 3"], skeleton: Skeleton) -> Float[np.ndarray, "N K"]:
    """Angle between each bone and the bone that it hangs on, in degrees; 0 is a straight continuation.

    Thighs and upper arms are measured against the trunk (0 hangs down along it), and so are the bones that leave the
    root (0 points up along it): their own parents are the short bones across hips and shoulders, or none. NaN where
    that needs a trunk and the skeleton names no hips and shoulders.
    """
    directions = _unit(bone_vectors_m(joints_m, skeleton))
    names = list(skeleton.bones)
    trunk = has_body_frame(skeleton)
    up = body_axes(joints_m, skeleton)[:, 1] if trunk else np.full_like(directions[:, 0], np.nan)
    reference = np.empty_like(directions)
    for k, parent_joint in enumerate(skeleton.bone_parent_index):
        parent = skeleton.joints[int(parent_joint)]
        if parent in _BODY_FRAME_JOINTS:
            reference[:, k] = -up
        else:
            reference[:, k] = (
                up if int(parent_joint) == skeleton.root_index else directions[:, names.index(parent)]
            )
    cosine = np.clip(np.sum(directions * reference, axis=-1), -1, 1)
    return np.degrees(np.arccos(cosine))


def viewpoint_deg(
    joints_camera_m: Float[np.ndarray, "N J 3"], skeleton: Skeleton
) -> tuple[Float[np.ndarray, " N"], Float[np.ndarray, " N"]]:
    """Where the camera stands as the person sees it: azimuth (0 in front, + to the left) and elevation (+ above)."""
    axes = body_axes(joints_camera_m, skeleton)
    towards_camera = _unit(-joints_camera_m[:, skeleton.root_index])
    left, up, forward = np.einsum("nij,nj->in", axes, towards_camera)
    return np.degrees(np.arctan2(left, forward)), np.degrees(np.arcsin(np.clip(up, -1, 1)))


def root_depth_m(joints_camera_m: Float[np.ndarray, "N J 3"], skeleton: Skeleton) -> Float[np.ndarray, " N"]:
    """Distance of the root joint along the camera's axis, in metres."""
    return joints_camera_m[:, skeleton.root_index, 2]


def extent_fraction(
    keypoints_px: Float[np.ndarray, "N J 2"], image_size_px: Float[np.ndarray, "N 2"]
) -> Float[np.ndarray, " N"]:
    """Longer side of the box around the keypoints, as a part of the image's height."""
    box_px = keypoints_px.max(axis=1) - keypoints_px.min(axis=1)
    return box_px.max(axis=-1) / np.maximum(image_size_px[:, 1], 1)


def viewpoint_histogram(
    azimuth_deg: Float[np.ndarray, " N"], elevation_deg: Float[np.ndarray, " N"]
) -> Float[np.ndarray, "E A"]:
    """Share of poses in each cell of 10 x 10 degrees: elevation from -90 up, azimuth from -180 right."""
    finite = np.isfinite(azimuth_deg) & np.isfinite(elevation_deg)
    counts, _, _ = np.histogram2d(
        elevation_deg[finite], azimuth_deg[finite], bins=(ELEVATION_EDGES_DEG, AZIMUTH_EDGES_DEG)
    )
    return counts / max(1.0, counts.sum())


def viewpoint_coverage(share: Float[np.ndarray, "E A"], rows: int) -> float:
    """Part of the sphere (by area) that is seen: cells that hold at least 2 poses, or 1 in 2,000 of many."""
    middle_rad = np.radians((ELEVATION_EDGES_DEG[:-1] + ELEVATION_EDGES_DEG[1:]) / 2)
    area = np.repeat(np.cos(middle_rad)[:, None], share.shape[1], axis=1)
    seen = share * rows >= max(2.0, rows / 2000) - 1e-9
    return float((area * seen).sum() / area.sum())


def mean_bone_turn_deg(
    before_m: Float[np.ndarray, "J 3"], after_m: Float[np.ndarray, "J 3"], skeleton: Skeleton
) -> float:
    """How far the bones turned inside the body, on average: both poses are compared in the person's own axes."""
    both = np.stack([before_m, after_m])
    directions = _unit(bone_vectors_m(both, skeleton))
    if has_body_frame(skeleton):
        directions = np.einsum("nij,nkj->nki", body_axes(both, skeleton), directions)
    cosine = np.clip(np.sum(directions[0] * directions[1], axis=-1), -1, 1)
    return float(np.degrees(np.arccos(cosine)).mean())


def _unit(vectors: Float[np.ndarray, "... 3"]) -> Float[np.ndarray, "... 3"]:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), _TINY_M)
