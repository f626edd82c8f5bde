"""The learner: order of updates, isolation of the estimator, filters, bit-identical resume, presets."""

import dataclasses
import json

import pytest
import torch

from augment.errors import AugmentError
from augment.poseaug.fake_filter import REJECTION_REASONS, judge_fakes
from augment.poseaug.learner import PoseAugLearner
from augment.poseaug.settings import PoseAugSettings, poseaug_preset
from estimators.checkpoints import checkpoint_from_bytes, checkpoint_to_bytes
from estimators.lifters.settings import build_lifter
from estimators.lifters.simple_baseline import SimpleBaselineSettings
from poses.skeleton import load_skeleton
from tests.unit.augment.poseaug.samples import SKELETON, gan_batch, poses, small_learner, small_settings

PRESETS = ("released", "paper", "default")


def lifter_of(skeleton=SKELETON):
    return build_lifter(SimpleBaselineSettings(width=12), skeleton, seed=2)


@pytest.mark.parametrize("preset", PRESETS)
def test_resume_is_bit_identical(preset: str) -> None:
    whole, lifter = small_learner(preset), lifter_of()
    for step in range(3):
        whole.gan_step(gan_batch(seed=step), lifter, epoch=3)
    saved = checkpoint_from_bytes(checkpoint_to_bytes(*whole.state()))
    statistics = {name: value.clone() for name, value in lifter.state_dict().items()}
    later = [whole.gan_step(gan_batch(seed=step), lifter, epoch=4) for step in range(3, 6)]
    resumed = small_learner(preset, seed=55)
    resumed.load_state(saved.tensors, json.loads(json.dumps(saved.metadata)))
    lifter.load_state_dict(statistics)
    for step, wanted in zip(range(3, 6), later, strict=True):
        got = resumed.gan_step(gan_batch(seed=step), lifter, epoch=4)
        assert got.metrics == wanted.metrics
        assert torch.equal(got.fakes.joints_camera_m, wanted.fakes.joints_camera_m)
        assert torch.equal(got.fakes.reason, wanted.fakes.reason)
    for name, value in whole.state()[0].items():
        assert torch.equal(value, resumed.state()[0][name]), name
    assert whole.state()[1] == resumed.state()[1]


def test_same_seed_same_numbers_and_the_global_state_is_untouched() -> None:
    before = torch.get_rng_state()
    results = [small_learner(seed=4).gan_step(gan_batch(), lifter_of(), epoch=3).metrics for _ in range(2)]
    assert torch.equal(before, torch.get_rng_state())
    assert results[0] == results[1]
    assert small_learner(seed=5).gan_step(gan_batch(), lifter_of(), epoch=3).metrics != results[0]


def changed(learner: PoseAugLearner, before: dict[str, torch.Tensor], part: str) -> bool:
    after = learner.state()[0]
    return any(
        not torch.equal(value, after[name])
        for name, value in before.items()
        if name.startswith(f"{part}/") and "running" not in name and "batches" not in name
    )


def test_discriminators_learn_at_every_second_step_from_the_first() -> None:
    learner, lifter = small_learner(), lifter_of()
    for step in range(4):
        before = learner.state()[0]
        metrics = learner.gan_step(gan_batch(seed=step), lifter, epoch=1).metrics
        assert changed(learner, before, "generator")
        for part, short in (("body_part_discriminator", "d3d"), ("projection_discriminator", "d2d")):
            assert changed(learner, before, part) == (step % 2 == 0)
            assert (f"loss_{short}" in metrics) == (step % 2 == 0)


def test_feedback_starts_after_the_warmup() -> None:
    learner, lifter = small_learner(), lifter_of()
    assert "hardness_bone_angle" not in learner.gan_step(gan_batch(), lifter, epoch=2).metrics
    assert "hardness_bone_angle" in learner.gan_step(gan_batch(), lifter, epoch=3).metrics
    with pytest.raises(AugmentError, match="from 1, got 0"):
        learner.gan_step(gan_batch(), lifter, epoch=0)


@pytest.mark.parametrize("preset", PRESETS)
def test_only_the_released_preset_lets_the_estimators_statistics_drift(preset: str) -> None:
    learner, lifter = small_learner(preset), lifter_of()
    before = {name: value.clone() for name, value in lifter.state_dict().items()}
    learner.gan_step(gan_batch(), lifter, epoch=3)
    moved = {name for name, value in lifter.state_dict().items() if not torch.equal(value, before[name])}
    assert bool(moved) == (preset == "released")
    assert all("running" in name or "batches" in name for name in moved)
    assert all(parameter.grad is None for parameter in lifter.parameters())


def test_the_learning_rate_follows_the_published_schedule() -> None:
    learner, lifter = small_learner(), lifter_of()
    for epoch, factor in ((1, 1.0), (26, 1 - 25 / 51), (50, 1 - 49 / 51)):
        learner.gan_step(gan_batch(), lifter, epoch=epoch)
        rate = learner._optimizers["generator"].param_groups[0]["lr"]
        assert rate == pytest.approx(1e-4 * factor)


def test_fakes_are_counted_and_consistent() -> None:
    result = small_learner().gan_step(gan_batch(64), lifter_of(), epoch=1)
    fakes = result.fakes
    assert int(fakes.keep.sum()) + sum(fakes.rejected().values()) == 64
    assert result.metrics["kept_fraction"] == pytest.approx(float(fakes.keep.float().mean()))
    assert not fakes.joints_camera_m.requires_grad
    assert set(fakes.rejected()) <= set(REJECTION_REASONS)


def judge(keypoints: torch.Tensor, joints: torch.Tensor, settings: PoseAugSettings, aspect=None) -> list[str]:
    return [REJECTION_REASONS[code] for code in judge_fakes(joints, keypoints, aspect, settings).tolist()]


def test_the_image_filter_is_two_sided_except_as_released() -> None:
    joints, keypoints = poses(5), torch.zeros(5, 16, 2)
    keypoints[1, 3, 0], keypoints[2, 3, 0], keypoints[3, 4, 1] = 1.01, -1.01, -0.8
    joints[4, 2, 2] = -0.5
    aspect = torch.full((5,), 0.75)
    mended = judge(keypoints, joints, poseaug_preset("default"), aspect)
    assert mended == ["", "outside_image", "outside_image", "outside_image", "behind_camera"]
    assert judge(keypoints, joints, poseaug_preset("default"))[3] == ""
    released = judge(keypoints, joints, poseaug_preset("released"), aspect)
    assert released == ["", "outside_image", "", "", ""]


def test_poses_that_are_not_finite_are_never_kept() -> None:
    joints, keypoints = poses(3), torch.zeros(3, 16, 2)
    joints[0, 1, 0], keypoints[1, 1, 1] = float("nan"), float("inf")
    for preset in PRESETS:
        reasons = judge(keypoints, joints, poseaug_preset(preset))
        assert reasons[0] == "not_finite"
        assert reasons[1] == "not_finite"
        assert reasons[2] == ""


def test_a_zero_length_bone_in_the_batch_does_not_spoil_training() -> None:
    batch = gan_batch()
    joints = batch.joints_camera_m.clone()
    joints[3, 9] = joints[3, 8]
    batch = dataclasses.replace(batch, joints_camera_m=joints)
    learner = small_learner()
    learner.gan_step(batch, lifter_of(), epoch=3)
    assert all(bool(torch.isfinite(parameter).all()) for parameter in learner.generator.parameters())


def test_other_skeletons_work_and_wrong_ones_are_named() -> None:
    skeleton = load_skeleton("h36m_17")
    learner = PoseAugLearner(small_settings(), skeleton, seed=0)
    result = learner.gan_step(gan_batch(8, skeleton=skeleton), lifter_of(skeleton), epoch=3)
    assert result.fakes.joints_camera_m.shape == (8, 17, 3)
    with pytest.raises(AugmentError, match="17 joints of skeleton 'h36m_17', got 16"):
        learner.gan_step(gan_batch(8), lifter_of(), epoch=3)


def test_the_generator_learns_to_stay_in_the_bands() -> None:
    settings = small_settings()
    losses = settings.losses.model_copy(update={"adversarial_2d": 0.0, "adversarial_3d": 0.0})
    settings = settings.model_copy(update={"losses": losses, "learning_rate_generator": 3e-3})
    learner, lifter = PoseAugLearner(settings, SKELETON, seed=0), lifter_of()
    inside = [
        learner.gan_step(gan_batch(64, seed=step), lifter, epoch=1).metrics["inside_bone_angle_band"]
        for step in range(60)
    ]
    assert sum(inside[-5:]) / 5 > max(0.9, inside[0])


def test_presets_differ_where_they_should() -> None:
    released, paper, default = (poseaug_preset(name) for name in PRESETS)
    assert all(released.compat.model_dump().values())
    assert not any(default.compat.model_dump().values())
    assert released.losses == default.losses
    assert released.feedback == default.feedback
    assert paper.feedback.kind == "exp"
    assert paper.losses.regulariser_kind == "threshold"
    assert not paper.generator.freeze_torso_directions
    with pytest.raises(ValueError, match="Extra inputs"):
        PoseAugSettings.model_validate({"gloss_factor": 1})
