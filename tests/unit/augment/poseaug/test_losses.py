"""Losses and feedback: the published numbers on values worked out by hand."""

import pytest
import torch

from augment.poseaug.feedback import (
    bounded_exp,
    estimator_feedback,
    frozen_estimator,
    group_errors_m,
    joint_errors_m,
    ramp,
)
from augment.poseaug.losses import (
    bone_angle_loss,
    bone_length_loss,
    discriminator_loss,
    generator_adversarial_loss,
    outside_band,
)
from augment.poseaug.settings import FeedbackSettings, LossSettings
from estimators.lifters.settings import build_lifter
from estimators.lifters.simple_baseline import SimpleBaselineSettings
from tests.unit.augment.poseaug.samples import SKELETON, gan_batch

BAND = LossSettings()
THRESHOLD = LossSettings(regulariser_kind="threshold")


def test_adversarial_losses() -> None:
    real, fake = torch.tensor([[1.0], [0.5]]), torch.tensor([[0.0], [1.0]])
    assert float(discriminator_loss(real, fake)) == pytest.approx(0.5 * (0.125 + 0.5))
    assert float(generator_adversarial_loss(fake)) == pytest.approx(0.25)


def test_band_is_free_inside_and_jumps_at_its_edge() -> None:
    values = torch.tensor([0.04, 0.205, 0.37, 0.039, 0.371])
    loss = outside_band(values, 0.205, 0.1651)
    assert loss[:3].tolist() == [0.0, 0.0, 0.0]
    assert loss[3:].tolist() == pytest.approx([0.166**2, 0.166**2], rel=1e-4)


def test_bone_angle_loss_asks_for_a_least_change() -> None:
    copied, fine, wild = (torch.full((4, 15), value) for value in (0.0, 0.2, 0.9))
    assert float(bone_angle_loss(copied, BAND)) == pytest.approx(0.205**2)
    assert float(bone_angle_loss(fine, BAND)) == 0.0
    assert float(bone_angle_loss(wild, BAND)) == pytest.approx(0.695**2)
    assert float(bone_angle_loss(copied, THRESHOLD)) == 0.0
    assert float(bone_angle_loss(wild, THRESHOLD)) == pytest.approx(15 * 0.81)


def test_a_limit_per_bone_sees_what_the_mean_hides() -> None:
    change = torch.zeros(1, 15)
    change[0, 0] = 1.5
    assert float(bone_angle_loss(change, BAND)) == 0.0
    limited = LossSettings(bone_angle_per_bone_limit=0.5)
    assert float(bone_angle_loss(change, limited)) == pytest.approx(1.0 / 15)


def test_bone_length_loss() -> None:
    ratio = torch.tensor([[0.1, -0.2, 0.0]])
    assert float(bone_length_loss(ratio, BAND)) == pytest.approx(0.04 / 3)
    assert float(bone_length_loss(ratio, THRESHOLD)) == pytest.approx(0.05)
    assert float(bone_length_loss(ratio / 2, THRESHOLD)) == 0.0


def test_group_errors_have_the_published_weights() -> None:
    errors = torch.zeros(1, 16)
    errors[0, SKELETON.index("head")] = 1.0
    errors[0, SKELETON.index("left_hip")] = 1.0
    errors[0, SKELETON.index("left_wrist")] = 1.0
    assert group_errors_m(errors, SKELETON)[0].tolist() == pytest.approx([5 / 4, 1 / 5, 1 / 4])


def test_ratio_band_and_exponential_feedback() -> None:
    source = torch.full((2, 16), 0.1)
    settings = FeedbackSettings()
    loss, ratio = estimator_feedback(4.0 * source, source, SKELETON, settings, centre=3.0, half_width=2.0)
    assert float(loss) == 0.0
    assert ratio.flatten().tolist() == pytest.approx([4.0] * 6)
    loss, _ = estimator_feedback(6.0 * source, source, SKELETON, settings, centre=3.0, half_width=2.0)
    assert float(loss) == pytest.approx(9.0, rel=1e-5)
    loss, _ = estimator_feedback(
        6.0 * source, source, SKELETON, FeedbackSettings(kind="exp"), centre=2.0, half_width=0.0
    )
    assert float(loss) == pytest.approx(abs(1 - torch.tensor(0.36 - 0.02).exp().item()), rel=1e-5)


def test_exponential_feedback_does_not_overflow() -> None:
    values = torch.tensor([-1.0, 2.9, 3.0, 500.0], requires_grad=True)
    got = bounded_exp(values)
    assert got[:3].tolist() == pytest.approx(values[:3].exp().tolist())
    got.sum().backward()
    assert values.grad is not None
    assert values.grad[2:].tolist() == pytest.approx([torch.tensor(3.0).exp().item()] * 2)


def test_ramp() -> None:
    assert [ramp(3.0, 5.0, epoch, 50) for epoch in (0, 25, 50, 80)] == [3.0, 4.0, 5.0, 5.0]


@pytest.mark.parametrize("train_mode", [False, True])
def test_the_estimator_is_put_back_and_its_weights_get_no_gradient(train_mode: bool) -> None:
    lifter = build_lifter(SimpleBaselineSettings(width=8), SKELETON, seed=0).train()
    next(iter(lifter.parameters())).requires_grad_(False)
    required = [parameter.requires_grad for parameter in lifter.parameters()]
    statistics = lifter.batch_norm1.running_mean.clone()
    batch = gan_batch(8)
    keypoints = batch.keypoints_screen.clone().requires_grad_(True)
    with frozen_estimator(lifter, train_mode, torch.Generator().manual_seed(0)):
        joint_errors_m(lifter, keypoints, batch.joints_camera_m).sum().backward()
    assert keypoints.grad is not None
    assert float(keypoints.grad.abs().sum()) > 0
    assert all(parameter.grad is None for parameter in lifter.parameters())
    assert [parameter.requires_grad for parameter in lifter.parameters()] == required
    assert lifter.training
    assert lifter.dropout.generator is None
    assert torch.equal(statistics, lifter.batch_norm1.running_mean) != train_mode
