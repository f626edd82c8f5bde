"""LifterTrainer: learns, follows its schedule, resumes bit for bit, predicts with flips and averaged weights."""

import json

import pytest
import torch

from estimators.checkpoints import checkpoint_from_bytes, checkpoint_to_bytes
from estimators.errors import CheckpointError, LifterInputError
from estimators.lifters.settings import build_lifter
from estimators.lifters.simple_baseline import SimpleBaselineSettings
from estimators.lifters.temporal.dual_stream import DualStreamSettings
from estimators.lifters.temporal.videopose import VideoPoseSettings
from estimators.lifters.training.schedules import CosineSchedule, ExponentialSchedule, LinearPoseAugSchedule
from estimators.lifters.training.trainer import LifterTrainer, LifterTrainerSettings
from poses.skeleton import load_skeleton

SKELETON = load_skeleton("h36m_16")


def trainer_of(seed: int = 0, **settings: object) -> LifterTrainer:
    lifter = build_lifter(SimpleBaselineSettings(width=24), SKELETON, seed=seed)
    return LifterTrainer(LifterTrainerSettings(**settings), lifter, seed=seed)


def data(step: int, rows: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    keypoints = torch.rand(rows, 16, 2, generator=generator) - 0.5
    joints = torch.cat([keypoints, keypoints.sum(-1, keepdim=True)], dim=-1)
    return keypoints, joints - joints[:, :1]


@pytest.mark.parametrize("loss", ["mse", "l2"])
def test_it_learns(loss: str) -> None:
    trainer = trainer_of(loss=loss, learning_rate=3e-3)
    losses = [trainer.step(*data(0)) for _ in range(60)]
    assert losses[-1] < 0.5 * losses[0]


def test_losses_have_the_published_form() -> None:
    lifter = build_lifter(SimpleBaselineSettings(width=8, dropout=0.0), SKELETON, seed=0)
    keypoints, joints = data(1)
    lifter.train()
    error = (lifter(keypoints) - joints).detach()
    lifter.eval()
    for name, wanted in (("mse", error.square().mean()), ("l2", error.square().sum(-1).sqrt().mean())):
        fresh = build_lifter(SimpleBaselineSettings(width=8, dropout=0.0), SKELETON, seed=0)
        got = LifterTrainer(LifterTrainerSettings(loss=name), fresh).step(keypoints, joints)
        assert got == pytest.approx(float(wanted), rel=1e-5)


def test_weights_scale_samples() -> None:
    keypoints, joints = data(2)
    weight = torch.zeros(len(keypoints))
    assert trainer_of().step(keypoints, joints, weight) == 0.0
    assert trainer_of().step(keypoints, joints, weight + 2.0) == pytest.approx(
        2 * trainer_of().step(keypoints, joints)
    )


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"amsgrad": True, "ema_decay": 0.9, "schedule": CosineSchedule(steps=20)},
        {"schedule": LinearPoseAugSchedule(), "grad_clip_norm": None, "loss": "l2"},
        {"precision": "bfloat16", "weight_decay": 0.1, "ema_decay": 0.9},
        {"precision": "float16", "learning_rate": 1e-3},
    ],
)
def test_resume_is_bit_identical(settings: dict[str, object]) -> None:
    whole = trainer_of(**settings)
    for step in range(4):
        whole.begin_epoch(step // 2)
        whole.step(*data(step))
    tensors, scalars = whole.state_dict()
    saved = checkpoint_from_bytes(checkpoint_to_bytes(tensors, scalars))
    later = [whole.step(*data(step)) for step in range(4, 8)]
    resumed = trainer_of(seed=77, **settings)
    resumed.load_state_dict(saved.tensors, json.loads(json.dumps(saved.metadata)))
    assert [resumed.step(*data(step)) for step in range(4, 8)] == later
    for name, value in whole.state_dict()[0].items():
        assert torch.equal(value, resumed.state_dict()[0][name]), name


def test_state_of_other_settings_is_refused() -> None:
    with pytest.raises(CheckpointError, match="ema_decay"):
        trainer_of(ema_decay=0.9).load_state_dict(*trainer_of().state_dict())


def test_training_leaves_the_global_random_state_alone() -> None:
    trainer = trainer_of()
    before = torch.get_rng_state()
    trainer.step(*data(0))
    assert torch.equal(before, torch.get_rng_state())


def test_flipping_averages_both_views() -> None:
    trainer = trainer_of()
    trainer.step(*data(0))
    keypoints = data(3)[0]
    mirror = torch.as_tensor(SKELETON.mirror_index.copy())
    mirrored = keypoints[:, mirror] * torch.tensor([-1.0, 1.0])
    plain, flipped = trainer.predict(keypoints, flip=True), trainer.predict(mirrored, flip=True)
    torch.testing.assert_close(flipped[:, mirror] * torch.tensor([-1.0, 1.0, 1.0]), plain)
    assert not torch.allclose(plain, trainer.predict(keypoints))


def test_prediction_in_chunks_equals_the_whole_and_uses_averaged_weights() -> None:
    trainer = trainer_of(ema_decay=0.99, predict_batch=5)
    for step in range(5):
        trainer.step(*data(step))
    keypoints = data(9)[0]
    got = trainer.predict(keypoints)
    assert trainer.lifter.training
    trainer.lifter.eval()
    assert not torch.allclose(got, trainer.lifter(keypoints), atol=1e-4)
    assert got.shape == (16, 16, 3)


def test_bad_targets_are_refused() -> None:
    keypoints, joints = data(0)
    with pytest.raises(LifterInputError, match=r"targets of shape \[16, 15, 3\]"):
        trainer_of().step(keypoints, joints[:, :15])
    with pytest.raises(LifterInputError, match="loss nan at update 0"):
        trainer_of().step(keypoints, joints * float("nan"))


def test_temporal_lifters_train_on_windows() -> None:
    lifter = build_lifter(VideoPoseSettings(channels=16, kernel_widths=(3, 3)), SKELETON, seed=0)
    trainer = LifterTrainer(LifterTrainerSettings(learning_rate=3e-3), lifter)
    keypoints, joints = data(0)
    windows = keypoints[:, None].expand(-1, 9, -1, -1).contiguous()
    losses = [trainer.step(windows, joints[:, None]) for _ in range(30)]
    assert losses[-1] < losses[0]


def test_schedules() -> None:
    linear = LinearPoseAugSchedule(epochs=50)
    assert linear.factor(999, 0) == 1.0
    assert linear.factor(0, 25) == pytest.approx(1 - 25 / 51)
    assert linear.factor(0, 60) == 0.0
    cosine = CosineSchedule(steps=100, warmup_steps=10, final_factor=0.1)
    assert [cosine.factor(0, 0), cosine.factor(9, 0)] == [0.1, 1.0]
    assert cosine.factor(55, 0) == pytest.approx(0.55)
    assert cosine.factor(500, 0) == pytest.approx(0.1)
    assert ExponentialSchedule().factor(99_999, 0) == 1.0
    assert ExponentialSchedule().factor(100_000, 0) == 0.96
    assert ExponentialSchedule(decay=0.95, period=1, unit="epoch").factor(5, 2) == pytest.approx(0.95**2)


@pytest.mark.parametrize("rows", [0, 1])
def test_too_few_rows_for_batch_norm_are_refused_in_words(rows: int) -> None:
    trainer = trainer_of()
    with pytest.raises(
        LifterInputError, match=rf"got {rows} sample\(s\) of 1 output frame\(s\), wanted at least 2"
    ):
        trainer.step(torch.zeros(rows, 16, 2), torch.zeros(rows, 16, 3))
    assert trainer.steps == 0


def test_networks_without_batch_norm_learn_from_one_row_but_not_from_none() -> None:
    settings = DualStreamSettings(window=1, features=8, representation=8, layers=1, heads=2)
    trainer = LifterTrainer(LifterTrainerSettings(), build_lifter(settings, SKELETON, seed=0))
    trainer.step(torch.zeros(1, 16, 2), torch.zeros(1, 16, 3))
    with pytest.raises(LifterInputError, match="wanted at least 1 in all"):
        trainer.step(torch.zeros(0, 16, 2), torch.zeros(0, 16, 3))
