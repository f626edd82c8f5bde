"""The jobs `train` and `evaluate` with the graph lifters, the losses of the paper and of the released code."""

from pathlib import Path
from typing import Any

import pytest

from estimators.errors import CheckpointError
from pipelines.evaluate import EvaluateSettings, run_evaluate
from pipelines.train import TrainSettings, run_train
from pipelines.trained_lifter import load_trained_lifter
from poses.skeleton import load_skeleton
from tests.unit.pipelines.cases import context

LIFTERS: dict[str, dict[str, Any]] = {
    "semgcn": {"kind": "semgcn", "channels": 16, "blocks": 1},
    "semgcn_non_local": {"kind": "semgcn", "channels": 16, "blocks": 1, "non_local": True},
    "stgcn": {"kind": "stgcn", "channels": [8, 8, 16], "part_channels": 16},
}
LOSSES = {"semgcn": "joints", "semgcn_non_local": "joints_bones", "stgcn": "mse"}


@pytest.mark.parametrize("name", list(LIFTERS))
def test_a_graph_lifter_is_trained_and_evaluated(source: Path, tmp_path: Path, name: str) -> None:
    settings = TrainSettings.model_validate(
        {
            "data": [{"url": str(source), "parts": ["source_train"]}],
            "validation": [{"url": str(source), "parts": ["source_valid"], "rigs": ["h36m_like"]}],
            "lifter": LIFTERS[name],
            "trainer": {
                "learning_rate": 3e-3,
                "loss": LOSSES[name],
                "schedule": {"kind": "exponential_released"},
            },
            "batch_rows": 32,
            "steps": 24,
            "validate_every": 12,
        }
    )
    result = run_train(settings, context(tmp_path / "trained"))
    first, last = result.history
    assert last["train_loss"] < first["train_loss"]
    path = str(tmp_path / "trained" / result.lifter_path)
    trained = load_trained_lifter(path)
    assert trained.settings == settings.lifter
    with pytest.raises(CheckpointError, match="trained on skeleton 'h36m_16'"):
        trained.check_skeleton(load_skeleton("coco_17"))
    evaluation = EvaluateSettings.model_validate(
        {"checkpoint": path, "data": [{"url": str(source), "parts": ["source_valid"], "rigs": ["h36m_like"]}]}
    )
    rows = run_evaluate(evaluation, context(tmp_path / "evaluated"))
    measured = {row.result.protocol: row.result.metrics["mpjpe_mm"] for row in rows}
    assert measured["frame_mean_with_root"] == pytest.approx(result.best_score, rel=1e-4)
