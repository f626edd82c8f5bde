"""When training ends early, and that nobody chooses on a test split unnoticed."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from pipelines import training_run
from pipelines.chosen_on import chosen_on, selection_of
from pipelines.early_stopping import EarlyStopping
from pipelines.errors import SettingsError
from pipelines.evaluate import EvaluateSettings, run_evaluate
from pipelines.progress import RecordingProgress
from pipelines.train import TrainSettings, run_train
from pipelines.trained_lifter import load_trained_lifter
from tests.unit.pipelines.cases import context


def settings(source: Path, part: str = "source_valid", **changes: Any) -> TrainSettings:
    values: dict[str, Any] = {
        "data": [{"url": str(source), "parts": ["source_train"]}],
        "validation": [{"url": str(source), "parts": [part], "rigs": ["h36m_like"]}],
        "lifter": {"kind": "simple_baseline", "width": 8},
        "batch_rows": 8,
        "steps": 20,
        "validate_every": 2,
        "checkpoint_every": 8,
    }
    return TrainSettings.model_validate({**values, **changes})


def scores(monkeypatch: pytest.MonkeyPatch, values: list[float]) -> None:
    """Make validation give these scores."""
    following = iter(values)
    monkeypatch.setattr(training_run.TrainingRun, "_score", lambda self: next(following))


def test_it_waits_for_a_better_score() -> None:
    early = EarlyStopping(patience=2)
    assert not early.is_due([30.0, 20.0, 25.0], "mpjpe_mm")
    assert early.is_due([30.0, 20.0, 25.0, 21.0], "mpjpe_mm")
    assert not early.is_due([0.3, 0.4, 0.5], "auc")
    assert early.is_due([0.5, 0.4, 0.3], "auc")
    assert EarlyStopping(patience=2, min_change=1.0).is_due([30.0, 29.5, 29.2], "mpjpe_mm")
    assert EarlyStopping(patience=1).is_due([30.0, float("nan")], "mpjpe_mm")


def test_a_run_stops_and_stays_stopped(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = settings(source, early_stopping={"patience": 2})
    scores(monkeypatch, [30.0, 20.0, 25.0, 26.0])
    first = run_train(wanted, context(tmp_path))
    assert first.stopped_early
    assert (first.best_step, [entry["step"] for entry in first.history]) == (4, [2, 4, 6, 8])
    again = run_train(wanted, context(tmp_path))
    assert again == first
    lines = (tmp_path / "runs" / first.run_id / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["mpjpe_mm"] for line in lines] == [30.0, 20.0, 25.0, 26.0]


def test_more_is_better_for_auc(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores(monkeypatch, [0.1, 0.4, 0.3])
    result = run_train(settings(source, steps=6, metric="auc"), context(tmp_path))
    assert (result.best_step, result.best_score) == (4, 0.4)


def test_an_unknown_metric_is_refused_before_anything_is_read() -> None:
    with pytest.raises(ValidationError, match="did you mean 'mpjpe_mm'"):
        settings(Path("nowhere"), metric="mpjpe")


def test_choosing_on_a_test_split_is_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(
        SettingsError, match=r"train\.validation: target_subject is a test split.*choose_on_test"
    ):
        run_train(settings(source, part="target_subject"), context(tmp_path))
    with pytest.raises(SettingsError, match="target_subject is a test split"):
        run_train(settings(source, part="*"), context(tmp_path / "all"))
    assert not (tmp_path / "lifter.safetensors").exists()


def test_who_insists_gets_the_label_everywhere(source: Path, tmp_path: Path) -> None:
    wanted = settings(source, part="target_subject", choose_on_test=True, steps=2)
    result = run_train(wanted, context(tmp_path))
    assert result.selected_on == "test"
    checkpoint = str(tmp_path / result.lifter_path)
    assert load_trained_lifter(checkpoint).metadata["selected_on"] == "test"
    to_evaluate = {"checkpoint": checkpoint, "data": [{"url": str(source), "parts": ["target_*"]}]}
    told = context(tmp_path / "out")
    rows = run_evaluate(EvaluateSettings.model_validate(to_evaluate), told)
    assert {row.selected_on for row in rows} == {"test"}
    document = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert document["selected_on"] == "test"
    assert document["rows"][0]["selected_on"] == "test"
    assert isinstance(told.progress, RecordingProgress)
    assert any("chosen on a test split" in message for message in told.progress.messages)


def test_a_protocol_that_takes_the_true_scale_is_refused(source: Path, tmp_path: Path) -> None:
    trained = run_train(settings(source, steps=1), context(tmp_path))
    assert trained.selected_on == "validation"
    values = {
        "checkpoint": str(tmp_path / trained.lifter_path),
        "data": [{"url": str(source)}],
        "protocols": ["released_motionbert"],
    }
    with pytest.raises(SettingsError, match="ground truth's scale"):
        run_evaluate(EvaluateSettings.model_validate(values), context(tmp_path / "out"))


def test_names_of_test_splits() -> None:
    assert chosen_on(["source_valid", "s5"], False, "here") == "validation"
    for part in ("target_hard", "test", "h36m_test", "test_s9"):
        assert chosen_on(["source_valid", part], True, "here") == "test"
        with pytest.raises(SettingsError, match=f"here: {part} is a test split"):
            chosen_on(["source_valid", part], False, "here")
    assert selection_of({}) == "unknown"
