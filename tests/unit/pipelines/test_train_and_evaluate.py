"""Training resumes to the same numbers; evaluation reads what training wrote; windows see the right frames."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from estimators.errors import CheckpointError
from estimators.lifters.simple_baseline import SimpleBaselineSettings
from pipelines import lessons, training_run
from pipelines.errors import PlanMismatchError, SettingsError
from pipelines.evaluate import EvaluateSettings, run_evaluate
from pipelines.pose_table import PairsSource, PoseTable, Windows, load_table
from pipelines.train import TrainSettings, run_train
from pipelines.trained_lifter import load_trained_lifter
from poses.skeleton import load_skeleton
from tests.unit.pipelines.cases import Killed, context


def settings(source: Path, **changes: Any) -> TrainSettings:
    values: dict[str, Any] = {
        "data": [{"url": str(source), "parts": ["source_train"]}],
        "validation": [{"url": str(source), "parts": ["source_valid"], "rigs": ["h36m_like"]}],
        "lifter": {"kind": "simple_baseline", "width": 32},
        "trainer": {"learning_rate": 1e-3},
        "batch_rows": 32,
        "steps": 12,
        "validate_every": 4,
        "checkpoint_every": 4,
        "mirror_share": 0.5,
    }
    return TrainSettings.model_validate({**values, **changes})


def test_a_killed_run_goes_on_to_the_same_numbers(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run_train(settings(source), context(tmp_path / "whole"))
    step = lessons.LifterTrainer.step

    def dies_at_ten(self: Any, *arguments: Any) -> float:
        if self.steps == 10:
            raise Killed
        return step(self, *arguments)

    monkeypatch.setattr(lessons.LifterTrainer, "step", dies_at_ten)
    with pytest.raises(Killed):
        run_train(settings(source), context(tmp_path / "cut"))
    monkeypatch.undo()
    resumed = run_train(settings(source), context(tmp_path / "cut"))
    assert resumed.history == whole.history
    assert len(whole.history) == 3
    ours, theirs = (tmp_path / name / whole.lifter_path for name in ("whole", "cut"))
    assert ours.read_bytes() == theirs.read_bytes()


def test_the_best_on_validation_is_kept_not_the_last(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([30.0, 10.0, 20.0])
    evaluate = training_run.evaluate_poses

    def scored(*arguments: Any, **named: Any) -> Any:
        result = evaluate(*arguments, **named)
        return result.__class__(result.protocol, {"mpjpe_mm": next(scores)}, result.n_poses)

    monkeypatch.setattr(training_run, "evaluate_poses", scored)
    result = run_train(settings(source), context(tmp_path))
    assert (result.best_step, result.best_score) == (8, 10.0)
    assert load_trained_lifter(str(tmp_path / result.lifter_path)).metadata["step"] == 8


def test_another_recipe_on_the_same_output_is_refused(source: Path, tmp_path: Path) -> None:
    run_train(settings(source, steps=1), context(tmp_path))
    with pytest.raises(PlanMismatchError, match=r"recipe\.steps: 1 there, 2 now"):
        run_train(settings(source, steps=2), context(tmp_path))


def test_evaluation_has_a_row_per_part_rig_and_protocol(source: Path, tmp_path: Path) -> None:
    trained = run_train(settings(source, steps=2), context(tmp_path / "train"))
    wanted = EvaluateSettings.model_validate(
        {
            "checkpoint": str(tmp_path / "train" / trained.lifter_path),
            "data": [{"url": str(source), "parts": ["source_valid", "target_*"]}],
            "protocols": ["frame_mean_with_root", "frame_mean_without_root"],
            "flip": True,
        }
    )
    rows = run_evaluate(wanted, context(tmp_path / "out"))
    names = {(row.part, row.rig, row.result.protocol) for row in rows}
    assert len(names) == len(rows) == 2 * 2 * 2
    with_root, without = rows[0].result.metrics["mpjpe_mm"], rows[1].result.metrics["mpjpe_mm"]
    assert without == pytest.approx(with_root * 16 / 15)
    document = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert document["rows"][0]["metrics"]["mpjpe_mm"] == with_root
    assert document["checkpoint_step"] == 2


def test_a_file_that_is_no_lifter_is_refused(source: Path, tmp_path: Path) -> None:
    result = run_train(settings(source, steps=1), context(tmp_path))
    resume_state = next((tmp_path / "runs" / result.run_id / "checkpoints").iterdir())
    with pytest.raises(CheckpointError, match="wanted a lifter"):
        load_trained_lifter(str(resume_state))
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_trained_lifter(str(tmp_path / "absent.safetensors"))


def test_an_empty_selection_says_what_there_is(source: Path) -> None:
    with pytest.raises(SettingsError, match=r"no pairs in parts target_hard.*source_train under h36m_like"):
        load_table([PairsSource(url=str(source), parts=("target_hard",))])


def table_of(frames: list[int], sequence: list[int]) -> PoseTable:
    """Keypoints that hold (sequence, frame), so that windows can be read off."""
    skeleton, count = load_skeleton("h36m_16"), len(frames)
    values = np.stack([np.asarray(sequence, np.float32), np.asarray(frames, np.float32)], axis=1)
    names = np.full(count, "x", object)
    return PoseTable(
        skeleton,
        np.repeat(values[:, None], skeleton.n_joints, 1),
        np.zeros((count, skeleton.n_joints, 3), np.float32),
        names,
        names,
        names,
        np.asarray(sequence, np.int64),
        np.asarray(frames, np.int32),
    )


def test_windows_stay_in_their_clip_and_repeat_its_ends() -> None:
    table = table_of([2, 0, 1, 0, 1, 5, 6], [0, 0, 0, 1, 1, 1, 1])
    inputs = Windows(table, receptive_field=3).inputs(np.arange(7))
    assert inputs.shape == (7, 3, 16, 2)
    seen = [[(int(s), int(f)) for s, f in window] for window in inputs[:, :, 0].tolist()]
    assert seen[0] == [(0, 1), (0, 2), (0, 2)]
    assert seen[1] == [(0, 0), (0, 0), (0, 1)]
    assert seen[4] == [(1, 0), (1, 1), (1, 1)], "a gap in the frames is an end"
    assert seen[5] == [(1, 5), (1, 5), (1, 6)]
    causal = Windows(table, receptive_field=3, causal=True).inputs(np.asarray([0]))
    assert [int(frame) for frame in causal[0, :, 0, 1]] == [0, 1, 2]


def test_single_frames_have_no_time_axis() -> None:
    windows = Windows(table_of([0, 1], [0, 0]))
    assert windows.inputs(np.asarray([1, 0])).shape == (2, 16, 2)
    assert windows.targets(np.asarray([1, 0])).shape == (2, 16, 3)


def test_temporal_lifters_train_and_predict_every_row(source: Path, tmp_path: Path) -> None:
    lifter = {"kind": "videopose", "channels": 16, "kernel_widths": [3, 3]}
    result = run_train(settings(source, steps=2, lifter=lifter), context(tmp_path))
    assert np.isfinite(result.best_score)


def test_default_lifter_is_the_simple_baseline(source: Path) -> None:
    made = TrainSettings.model_validate(
        {"data": [{"url": str(source)}], "validation": [{"url": str(source)}]}
    )
    assert isinstance(made.lifter, SimpleBaselineSettings)
