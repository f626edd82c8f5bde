"""Error feedback: how hard an augmented pose is for the current estimator, compared with its source.

`ratio_band` is the released loss: (error augmented / error source) per group of joints is held in a band
whose centre grows with the epoch. `exp` is Eq. 9 of the paper, |1 - exp(L(X') - beta L(X))|. The estimator's
weights get no gradient; its inputs do.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from augment.poseaug.losses import outside_band
from augment.poseaug.settings import FeedbackSettings
from estimators.dropout import SeededDropout
from estimators.lifters.contract import Lifter
from poses.skeleton import Skeleton

LEAST_ERROR_M = 1e-6
LARGEST_EXPONENT = 3.0


@contextmanager
def frozen_estimator(lifter: Lifter, train_mode: bool, generator: torch.Generator) -> Iterator[Lifter]:
    """The lifter without weight gradients, in evaluation mode, put back afterwards as it was.

    Args:
        lifter: The estimator.
        train_mode: Run it in train mode as the released code does: dropout is on, and the running statistics
            of its BatchNorm layers drift (that is not put back).
        generator: Draws dropout in train mode.
    """
    required = {name: parameter.requires_grad for name, parameter in lifter.named_parameters()}
    was_training = lifter.training
    dropouts = [part for part in lifter.modules() if isinstance(part, SeededDropout)]
    generators = [part.generator for part in dropouts]
    lifter.requires_grad_(False).train(train_mode)
    for part in dropouts:
        part.generator = generator
    try:
        yield lifter
    finally:
        for part, previous in zip(dropouts, generators, strict=True):
            part.generator = previous
        for name, parameter in lifter.named_parameters():
            parameter.requires_grad_(required[name])
        lifter.train(was_training)


def joint_errors_m(
    lifter: Lifter, keypoints_screen: Float[Tensor, "B ... J 2"], joints_m: Float[Tensor, "B J 3"]
) -> Float[Tensor, "B J"]:
    """Distance of each predicted joint from its root-relative target.

    Args:
        lifter: The estimator.
        keypoints_screen: Poses, or the windows (B, T, J, 2) around them that a temporal lifter sees.
        joints_m: What it should give.
    """
    root = lifter.skeleton.root_index
    predicted_m = lifter.lift(keypoints_screen).reshape(joints_m.shape)
    error = predicted_m - (joints_m - joints_m[:, root : root + 1])
    return (error.square().sum(-1) + 1e-12).sqrt()


def group_errors_m(errors_m: Float[Tensor, "B J"], skeleton: Skeleton) -> Float[Tensor, "B F"]:
    """Weighted mean error of each feedback group of joints."""
    return errors_m @ _group_matrix(skeleton, str(errors_m.device)).to(errors_m.dtype)


@lru_cache(maxsize=32)
def _group_matrix(skeleton: Skeleton, device: str) -> Tensor:
    moving = tuple(joint for joint in skeleton.joints if joint != skeleton.joints[skeleton.root_index])
    groups = list(skeleton.feedback_groups.values()) or [moving]
    matrix = torch.zeros(skeleton.n_joints, len(groups))
    for column, joints in enumerate(groups):
        for joint in joints:
            row = skeleton.index(joint)
            matrix[row, column] = skeleton.feedback_weights[row] / len(joints)
    return matrix.to(device)


def ramp(start: float, end: float, epoch: int, ramp_epochs: int) -> float:
    """Linear from start (epoch 0) to end (epoch `ramp_epochs` and after)."""
    return start + (end - start) * min(1.0, epoch / ramp_epochs)


def bounded_exp(values: Tensor) -> Tensor:
    """exp(v), continued by its tangent from LARGEST_EXPONENT on, so that an untrained estimator does not overflow."""
    inside = values.clamp(max=LARGEST_EXPONENT)
    return inside.exp() * (1.0 + values - inside)


def estimator_feedback(
    augmented_errors_m: Float[Tensor, "B J"],
    source_errors_m: Float[Tensor, "B J"],
    skeleton: Skeleton,
    settings: FeedbackSettings,
    centre: float,
    half_width: float,
) -> tuple[Float[Tensor, ""], Float[Tensor, "B F"]]:
    """Feedback loss of one augmentation stage, and the hardness ratios behind it.

    Args:
        augmented_errors_m: Errors on the augmented poses, with gradient.
        source_errors_m: Errors on their sources, without.
        skeleton: Its feedback groups and weights.
        settings: Which loss.
        centre: Ratio that is asked for (m in the released code, beta in Eq. 9).
        half_width: Of the band in which nothing is asked for (s); not used by `exp`.
    """
    augmented, source = (
        group_errors_m(augmented_errors_m, skeleton),
        group_errors_m(source_errors_m, skeleton),
    )
    ratio = augmented / source.clamp_min(LEAST_ERROR_M)
    if settings.kind == "exp":
        harder = augmented_errors_m.square().mean(1) - centre * source_errors_m.square().mean(1)
        return (1.0 - bounded_exp(harder)).abs().mean(), ratio
    return outside_band(ratio, centre, half_width).mean(), ratio
