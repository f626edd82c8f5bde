"""Losses of PoseAug's networks: least-squares adversarial terms, and range losses on the changes."""

import torch
from jaxtyping import Float
from torch import Tensor

from augment.poseaug.settings import LossSettings


def discriminator_loss(
    real_scores: Float[Tensor, "B P"], fake_scores: Float[Tensor, "B P"]
) -> Float[Tensor, ""]:
    """0.5 * [mean (D(real) - 1)^2 + mean D(fake)^2], Eq. 12 per discriminator."""
    return 0.5 * ((real_scores - 1.0).square().mean() + fake_scores.square().mean())


def generator_adversarial_loss(fake_scores: Float[Tensor, "B P"]) -> Float[Tensor, ""]:
    """0.5 * mean (D(fake) - 1)^2; the published term on real scores has no gradient and is left out."""
    return 0.5 * (fake_scores - 1.0).square().mean()


def outside_band(values: Tensor, centre: float, half_width: float) -> Tensor:
    """(v - centre)^2 where |v - centre| > half_width, else 0; jumps at the edge, as published."""
    distance = values - centre
    return torch.where(distance.abs() > half_width, distance.square(), 0.0)


def bone_angle_loss(change: Float[Tensor, "B K"], settings: LossSettings) -> Float[Tensor, ""]:
    """Keeps each pose's mean 1 - cos in its band (both sides), or below Eq. 10's threshold.

    Eq. 10 has the residual itself for gamma; we take 1 - cos, which does not depend on the residual's scale.
    """
    if settings.regulariser_kind == "threshold":
        limit = settings.bone_angle_centre + settings.bone_angle_half_width
        loss = _above_threshold(change, limit)
    else:
        mean = change.mean(1)
        loss = outside_band(mean, settings.bone_angle_centre, settings.bone_angle_half_width).mean()
    if settings.bone_angle_per_bone_limit is not None:
        loss = loss + (change - settings.bone_angle_per_bone_limit).clamp_min(0.0).square().mean()
    return loss


def bone_length_loss(ratio: Float[Tensor, "B G"], settings: LossSettings) -> Float[Tensor, ""]:
    """Holds length ratios near zero: element-wise band as released, or Eq. 10's threshold on their mean."""
    if settings.regulariser_kind == "threshold":
        return _above_threshold(ratio.abs(), settings.bone_length_free)
    return outside_band(ratio, 0.0, settings.bone_length_free).mean()


def _above_threshold(gamma: Tensor, limit: float) -> Tensor:
    too_much = gamma.detach().mean(1) >= limit
    return torch.where(too_much, gamma.square().sum(1), 0.0).mean()
