"""Temporal lifters from training to evaluation: both read the same windows, in memory or mapped, centred or causal."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.evaluate import EvaluateSettings, predict, run_evaluate
from pipelines.pose_table import PairsSource, load_table
from pipelines.train import TrainSettings, run_train
from pipelines.trained_lifter import load_trained_lifter
from tests.unit.pipelines.cases import context

VIDEOPOSE = {"kind": "videopose", "channels": 8, "kernel_widths": [3, 3, 3]}
LIFTERS: dict[str, dict[str, Any]] = {
    "27 frames": {"lifter": VIDEOPOSE},
    "causal": {"lifter": {**VIDEOPOSE, "causal": True}},
    "every frame": {
        "lifter": {"kind": "dual_stream", "window": 9, "features": 8, "representation": 8, "layers": 1},
        "targets": "every_frame",
    },
}


def settings(source: Path, **changes: Any) -> TrainSettings:
    values: dict[str, Any] = {
        "data": [{"url": str(source), "parts": ["source_train"]}],
        "validation": [{"url": str(source), "parts": ["source_valid"], "rigs": ["h36m_like"]}],
        "trainer": {"learning_rate": 3e-3, "loss": "l2", "precision": "bfloat16"},
        "batch_rows": 16,
        "steps": 6,
        "validate_every": 3,
        "mirror_share": 0.5,
    }
    return TrainSettings.model_validate({**values, **changes})


@pytest.mark.parametrize("name", list(LIFTERS))
def test_evaluation_gives_the_number_that_validation_gave(source: Path, tmp_path: Path, name: str) -> None:
    result = run_train(settings(source, **LIFTERS[name]), context(tmp_path))
    assert result.history[-1]["train_loss"] < result.history[0]["train_loss"]
    checkpoint = str(tmp_path / result.lifter_path)
    assert load_trained_lifter(checkpoint).module.receptive_field in (9, 27)
    wanted = {
        "checkpoint": checkpoint,
        "data": [{"url": str(source), "parts": ["source_valid"], "rigs": ["h36m_like"]}],
    }
    (row,) = run_evaluate(EvaluateSettings.model_validate(wanted), context(tmp_path / "out"))
    assert row.result.metrics["mpjpe_mm"] == pytest.approx(result.best_score, rel=1e-6)
    assert row.result.metrics["velocity_mm_per_frame"] > 0


def test_the_mapped_reader_trains_to_the_same_numbers(source: Path, tmp_path: Path) -> None:
    here = run_train(settings(source, **LIFTERS["27 frames"]), context(tmp_path / "memory"))
    mapped = settings(source, **LIFTERS["27 frames"], reader="mapped", cache_folder=str(tmp_path / "cache"))
    assert run_train(mapped, context(tmp_path / "mapped")).history == here.history


def test_some_rows_are_predicted_from_all_of_their_frames(source: Path, tmp_path: Path) -> None:
    result = run_train(settings(source, **LIFTERS["27 frames"]), context(tmp_path))
    lifter = load_trained_lifter(str(tmp_path / result.lifter_path))
    table = load_table([PairsSource(url=str(source), parts=("source_valid",))]).in_time_order()
    rows = np.arange(3, len(table), 7)
    np.testing.assert_allclose(predict(lifter, table, wanted=rows), predict(lifter, table)[rows], atol=1e-5)
