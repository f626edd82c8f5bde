"""Which augmented pairs may be used: finite, before the camera, inside the image on all four sides."""

import torch
from jaxtyping import Float, Int8
from torch import Tensor

from augment.poseaug.settings import Compat, PoseAugSettings
from augment.validity import BEHIND_CAMERA, NOT_FINITE, OUTSIDE_IMAGE, REASONS
from augment.windows import WindowShape
from poses.cameras import project_screen

REJECTION_REASONS = ("", *REASONS)
"""By code; the first that applies is given. Code 0 means kept."""


def project(
    joints_camera_m: Float[Tensor, "B J 3"],
    intrinsics_screen: Float[Tensor, "B 9"],
    compat: Compat,
    clamp: bool,
) -> Float[Tensor, "B J 2"]:
    """Screen keypoints of camera-frame joints; `clamp` limits x/z and y/z to +-1, which keeps them finite."""
    form = "published" if compat.published_distortion else "brown_conrady"
    return project_screen(joints_camera_m, intrinsics_screen, clamp=clamp, distortion=form)


def judge_fakes(
    joints_camera_m: Float[Tensor, "B J 3"],
    keypoints_screen: Float[Tensor, "B J 2"],
    image_aspect: Float[Tensor, " B"] | None,
    settings: PoseAugSettings,
) -> Int8[Tensor, " B"]:
    """Code of the reason to reject each pair, 0 to keep it.

    Args:
        joints_camera_m: Augmented poses.
        keypoints_screen: Their projections.
        image_aspect: Image height over width; None means square.
        settings: Least depth, and which of the published defects to keep.
    """
    compat = settings.compat
    reason = torch.zeros(len(joints_camera_m), dtype=torch.int8, device=joints_camera_m.device)
    limit = keypoints_screen.new_ones(len(keypoints_screen), 1, 2)
    if image_aspect is not None and not compat.one_sided_image_filter:
        limit[:, 0, 1] = image_aspect
    outside = keypoints_screen > limit if compat.one_sided_image_filter else keypoints_screen.abs() > limit
    reason[outside.flatten(1).any(1)] = REJECTION_REASONS.index(OUTSIDE_IMAGE)
    if not compat.clamp_instead_of_reject:
        behind = joints_camera_m[..., 2] < settings.z_min_m
        reason[behind.any(1)] = REJECTION_REASONS.index(BEHIND_CAMERA)
    finite = torch.isfinite(joints_camera_m).flatten(1).all(1)
    projected = torch.isfinite(keypoints_screen).flatten(1).all(1)
    # a joint at depth 0 projects to infinity: that is behind the camera, not a broken number
    reason[~finite | (~projected & (reason != REJECTION_REASONS.index(BEHIND_CAMERA)))] = (
        REJECTION_REASONS.index(NOT_FINITE)
    )
    return reason


def worst_frame(reason: Int8[Tensor, " B"], shape: WindowShape) -> Int8[Tensor, " W"]:
    """Codes of poses, or of windows: one bad frame is against the whole, the first reason of any frame counts."""
    if not shape.temporal:
        return reason
    per_window = shape.windows(reason)
    none = len(REJECTION_REASONS)
    first = torch.where(per_window == 0, none, per_window).amin(1)
    return torch.where(first == none, 0, first).to(torch.int8)
