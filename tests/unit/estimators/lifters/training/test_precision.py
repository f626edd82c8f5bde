"""Half precision in training: float32 weights and estimates, and a loss scale that survives overflows and resumes."""

import pytest
import torch

from estimators.errors import CheckpointError
from estimators.lifters.settings import build_lifter
from estimators.lifters.simple_baseline import SimpleBaselineSettings
from estimators.lifters.training.trainer import LifterTrainer, LifterTrainerSettings
from poses.skeleton import load_skeleton

SKELETON = load_skeleton("h36m_16")


def trainer_of(**settings: object) -> LifterTrainer:
    lifter = build_lifter(SimpleBaselineSettings(width=24), SKELETON, seed=0)
    return LifterTrainer(LifterTrainerSettings.model_validate(settings), lifter)


def data(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    keypoints = torch.rand(16, 16, 2, generator=torch.Generator().manual_seed(step)) - 0.5
    joints = torch.cat([keypoints, keypoints.sum(-1, keepdim=True)], dim=-1)
    return keypoints, joints - joints[:, :1]


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_learns_with_float32_weights(precision: str) -> None:
    trainer = trainer_of(precision=precision, learning_rate=3e-3, ema_decay=0.5)
    losses = [trainer.step(*data(0)) for _ in range(80)]
    assert losses[-1] < 0.5 * losses[0]
    whole = trainer_of(learning_rate=3e-3, ema_decay=0.5)
    assert losses[0] == pytest.approx(whole.step(*data(0)), rel=0.02)
    assert losses[0] != trainer_of(learning_rate=3e-3).step(*data(0))
    tensors, _ = trainer.state_dict()
    floating = [value.dtype for value in tensors.values() if value.is_floating_point()]
    assert set(floating) == {torch.float32}
    assert trainer.predict(data(0)[0]).dtype == torch.float32


def test_estimates_do_not_depend_on_the_precision_of_training() -> None:
    half, whole = trainer_of(precision="bfloat16"), trainer_of()
    assert torch.equal(half.predict(data(1)[0]), whole.predict(data(1)[0]))


def test_an_overflow_skips_the_update_and_lowers_the_loss_scale() -> None:
    trainer = trainer_of(precision="float16")
    keypoints, joints = data(0)
    before = trainer.evaluation_state()["w1.weight"]
    trainer.step(keypoints, joints, torch.full((16,), 1e4))
    assert torch.equal(trainer.evaluation_state()["w1.weight"], before)
    _, scalars = trainer.state_dict()
    assert scalars["loss_scale"]["scale"] == 2.0**15
    with pytest.raises(CheckpointError, match="no loss scale"):
        trainer.load_state_dict(*trainer_of().state_dict())


def test_weight_decay_shrinks_weights_by_the_rate_alone() -> None:
    plain, decayed = trainer_of(learning_rate=0.01), trainer_of(learning_rate=0.01, weight_decay=0.5)
    start = plain.evaluation_state()["w1.weight"]
    plain.step(*data(0))
    decayed.step(*data(0))
    difference = plain.evaluation_state()["w1.weight"] - decayed.evaluation_state()["w1.weight"]
    torch.testing.assert_close(difference, 0.01 * 0.5 * start, atol=1e-6, rtol=1e-3)
