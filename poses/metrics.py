"""Errors of estimated poses, one number per pose; how they are averaged is a protocol's business.

`mpjpe_mm` is the papers' protocol 1 (P1), `pa_mpjpe_mm` their protocol 2 (P2). `pa_mpjpe_reflection_mm` is what
RepNet's released code prints in P2's place: a mirrored pose counts as right there, so it is never more than P2, often
less, and stands only under its own name.

Poses are root-relative metres; results are millimetres or fractions. Sources: MPJPE and its variants as in
Human3.6M and VideoPose3D; PCK and AUC as in MPI-INF-3DHP; object keypoint similarity as in COCO.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from poses.errors import PoseShapeError

PCK_THRESHOLD_MM = 150.0
AUC_THRESHOLDS_MM = tuple(5.0 * step for step in range(31))
MM_PER_M = 1000.0


def joint_errors_mm(
    predicted_m: Float[Tensor, "B J 3"], target_m: Float[Tensor, "B J 3"]
) -> Float[Tensor, "B J"]:
    """Distance between estimate and target of every joint, in float64.

    Raises:
        PoseShapeError: if the shapes differ.
    """
    _check_same_shape(predicted_m, target_m)
    return torch.linalg.vector_norm(predicted_m.double() - target_m.double(), dim=-1) * MM_PER_M


def mpjpe_mm(predicted_m: Float[Tensor, "B J 3"], target_m: Float[Tensor, "B J 3"]) -> Float[Tensor, " B"]:
    """Mean per-joint position error of each pose."""
    return joint_errors_mm(predicted_m, target_m).mean(-1)


def pa_mpjpe_mm(predicted_m: Float[Tensor, "B J 3"], target_m: Float[Tensor, "B J 3"]) -> Float[Tensor, " B"]:
    """MPJPE after the best rotation, scale and translation of each pose; no reflection."""
    return mpjpe_mm(procrustes_align(predicted_m, target_m), target_m)


def pa_mpjpe_reflection_mm(
    predicted_m: Float[Tensor, "B J 3"], target_m: Float[Tensor, "B J 3"]
) -> Float[Tensor, " B"]:
    """MPJPE after the best rotation or reflection, scale and translation of each pose (RepNet's `err_3dpe`)."""
    return mpjpe_mm(procrustes_align(predicted_m, target_m, reflections=True), target_m)


def n_mpjpe_mm(predicted_m: Float[Tensor, "B J 3"], target_m: Float[Tensor, "B J 3"]) -> Float[Tensor, " B"]:
    """MPJPE after the least-squares scale of each pose about the origin (the root)."""
    _check_same_shape(predicted_m, target_m)
    predicted, target = predicted_m.double(), target_m.double()
    size = predicted.square().sum((-1, -2))
    scale = (predicted * target).sum((-1, -2)) / size.clamp_min(1e-12)
    return mpjpe_mm(predicted * scale[:, None, None], target)


def procrustes_align(
    predicted_m: Float[Tensor, "B J 3"], target_m: Float[Tensor, "B J 3"], reflections: bool = False
) -> Float[Tensor, "B J 3"]:
    """Estimates moved onto their targets by the least-squares similarity (Kabsch, Umeyama), in float64.

    A reflection is not used unless asked for: where it would fit better, the weakest axis is turned instead. A pose
    whose joints all coincide becomes the target's centre.
    """
    _check_same_shape(predicted_m, target_m)
    predicted, target = predicted_m.double(), target_m.double()
    predicted_centre, target_centre = predicted.mean(1, keepdim=True), target.mean(1, keepdim=True)
    centred, wanted = predicted - predicted_centre, target - target_centre
    left, singular, right = torch.linalg.svd(centred.transpose(1, 2) @ wanted)
    sign = torch.where(torch.linalg.det(left @ right) < 0, -1.0, 1.0).to(singular)
    flip = torch.ones_like(singular)
    if not reflections:
        flip[:, 2] = sign
    rotation = (left * flip[:, None, :]) @ right  # acts on row vectors
    spread = centred.square().sum((1, 2)).clamp_min(1e-12)
    scale = (singular * flip).sum(1) / spread
    return scale[:, None, None] * (centred @ rotation) + target_centre


def velocity_errors_mm(
    predicted_m: Float[Tensor, "T J 3"], target_m: Float[Tensor, "T J 3"]
) -> Float[Tensor, " T_less_1"]:
    """Mean per-joint error of the frame-to-frame motion of one sequence, in mm per frame; T - 1 numbers."""
    _check_same_shape(predicted_m, target_m)
    return mpjpe_mm(predicted_m.double().diff(dim=0), target_m.double().diff(dim=0))


def pck(errors_mm: Float[Tensor, "B J"], threshold_mm: int | float = PCK_THRESHOLD_MM) -> Float[Tensor, " B"]:
    """Share of each pose's joints with an error strictly below the threshold (MPI-INF-3DHP: 150 mm)."""
    return (errors_mm < threshold_mm).double().mean(-1)


def auc(errors_mm: Float[Tensor, "B J"]) -> Float[Tensor, " B"]:
    """Mean PCK over the 31 thresholds 0, 5, ..., 150 mm; at most 30/31, since nothing is below 0."""
    return torch.stack([pck(errors_mm, threshold) for threshold in AUC_THRESHOLDS_MM]).mean(0)


def object_keypoint_similarity(
    predicted_px: Float[Tensor, "B J 2"],
    target_px: Float[Tensor, "B J 2"],
    area_px2: Float[Tensor, " B"],
    sigmas: Float[Tensor, " J"],
    is_labelled: Bool[Tensor, "B J"] | None = None,
) -> Float[Tensor, " B"]:
    """COCO's OKS: mean over labelled joints of exp(-d^2 / (2 area (2 sigma)^2)); NaN where none is labelled.

    Args:
        predicted_px: Estimated keypoints.
        target_px: Annotated keypoints.
        area_px2: Area of each person in square pixels.
        sigmas: Per-joint constants, for instance `Skeleton.oks_sigmas`.
        is_labelled: Which joints are annotated; all if not given.
    """
    _check_same_shape(predicted_px, target_px)
    squared = (predicted_px.double() - target_px.double()).square().sum(-1)
    variance = (2 * sigmas.double()).square()
    similarity = torch.exp(-squared / (2 * area_px2.double().clamp_min(1e-12)[:, None] * variance))
    weight = torch.ones_like(squared) if is_labelled is None else is_labelled.double()
    return (similarity * weight).sum(-1) / weight.sum(-1)


def _check_same_shape(predicted: Tensor, target: Tensor) -> None:
    if predicted.shape != target.shape:
        raise PoseShapeError(
            f"estimates have shape {tuple(predicted.shape)}, targets {tuple(target.shape)}; they must pair up"
        )
