"""Temporal lifters in the loop: windows of one clip under one camera, augmented, chosen and validated whole."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from estimators.lifters.settings import build_lifter
from estimators.lifters.simple_baseline import SimpleBaselineSettings
from estimators.lifters.temporal.dual_stream import DualStreamSettings
from estimators.lifters.temporal.videopose import VideoPoseSettings
from estimators.weights import flatten_state
from pipelines.closed_loop.build_crew import CrewPlan, build_augmentor, crew_factory
from pipelines.closed_loop.crew import Crew, InProcessCrew
from pipelines.closed_loop.job import plan_closed_loop, run_closed_loop
from pipelines.closed_loop.settings import (
    ClosedLoopSettings,
    NoAugmentation,
    PoseAugAugmentation,
    RandomAugmentation,
)
from pipelines.closed_loop.source_data import load_loop_data
from pipelines.closed_loop.source_windows import SourceWindows, window_shape
from pipelines.context import RunContext
from pipelines.errors import SettingsError
from pipelines.evaluate import EvaluateSettings, run_evaluate
from pipelines.in_process import InProcessExecutor
from pipelines.pose_table import PairsSource, Windows, load_table
from tests.unit.pipelines.closed_loop.loop_parts import SKELETON, feedback_loop, poseaug_loop, source_poses
from tests.unit.pipelines.closed_loop.small_dataset import make_small_dataset

LIFTER = VideoPoseSettings(channels=8, kernel_widths=(3, 3))
CAUSAL = LIFTER.model_copy(update={"causal": True})
ALL_FRAMES = DualStreamSettings(window=9, features=8, representation=8, layers=1, heads=2)
SMALL: dict[str, Any] = {"lifter": LIFTER, "rounds": 2, "batch_rows": 32, "flip_real": True}
LOOPS: dict[str, ClosedLoopSettings] = {
    "none": feedback_loop(**SMALL, augmentor=NoAugmentation()),
    "random": feedback_loop(**SMALL, augmentor=RandomAugmentation(preset="wide")),
    "poseaug": poseaug_loop(**SMALL),
    "feedback": feedback_loop(**SMALL),
    "feedback, causal, two augmentors": feedback_loop(**{**SMALL, "lifter": CAUSAL, "augmentors": 2}),
    "feedback, all frames": feedback_loop(**{**SMALL, "lifter": ALL_FRAMES}),
}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_small_dataset(tmp_path_factory.mktemp("source"))


def context(out: Path) -> RunContext:
    return RunContext(str(out), InProcessExecutor(), seed=3)


def metrics(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", list(LOOPS))
def test_the_loop_learns_and_evaluate_agrees_with_its_validation(
    name: str, source: str, tmp_path: Path
) -> None:
    result = run_closed_loop(LOOPS[name], source, context(tmp_path))
    assert sum(line["fakes"] for line in metrics(tmp_path)) > 0 or name == "none"
    data = (PairsSource(url=source, parts=("source_valid",)),)
    settings = EvaluateSettings(checkpoint=str(tmp_path / "lifter.safetensors"), data=data)
    (row,) = run_evaluate(settings, context(tmp_path / "evaluation"))
    assert row.result.metrics["mpjpe_mm"] == pytest.approx(result.best_validation_mm, rel=1e-4)


@pytest.mark.parametrize("lifter", [LIFTER, CAUSAL, ALL_FRAMES], ids=["centre", "causal", "all frames"])
def test_real_windows_are_those_of_training(lifter: Any, source: str) -> None:
    settings = LOOPS["none"].model_copy(update={"lifter": lifter})
    poses = load_loop_data(source, 1, settings).train
    shape = window_shape(build_lifter(lifter, SKELETON, 0))
    table = load_table([PairsSource(url=source, parts=("source_train",))])
    windows, expected = SourceWindows(poses, shape), Windows(table, 9, lifter.causal)
    rows = np.arange(len(table))
    assert torch.equal(windows.keypoints(rows), expected.inputs(rows))
    targets = windows.targets(rows)
    assert targets.shape[1] == (9 if lifter is ALL_FRAMES else 1)
    output = shape.output if lifter is ALL_FRAMES else 0
    torch.testing.assert_close(targets[:, output], torch.from_numpy(table.joints_root_m), atol=1e-6, rtol=0)


def test_windows_do_not_mix_cameras_or_clips(source: str) -> None:
    poses = load_loop_data(source, 1, LOOPS["none"]).train
    windows = SourceWindows(poses, window_shape(build_lifter(LIFTER, SKELETON, 0)))
    frames = windows.frames(np.arange(len(poses))).view(-1, 9)
    assert poses.sequence is not None
    assert poses.frame is not None
    sequence, frame = (
        torch.from_numpy(values.astype(np.int64))[frames] for values in (poses.sequence, poses.frame)
    )
    assert (sequence == sequence[:, :1]).all()
    step = frame.diff(dim=1)
    assert set(step.unique().tolist()) == {0, 4}  # every fourth frame is in the dataset; ends repeat
    assert len(np.unique(poses.sequence)) == 4 * len(np.unique(poses.subject))  # four cameras, a clip each


class _KilledError(Exception):
    """Stands for the end of the process."""


class _DoomedCrew(InProcessCrew):
    """Dies in the second round, after the augmentor's chunks."""

    def consume(self, round_index: int, chunks: list[Any], share: float) -> tuple[Any, Any]:
        if round_index == 1:
            raise _KilledError
        return super().consume(round_index, chunks, share)


@pytest.mark.parametrize("name", ["random", "poseaug", "feedback"])
def test_resume_gives_the_numbers_of_an_undisturbed_loop(
    name: str, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_closed_loop(LOOPS[name], source, context(tmp_path / "undisturbed"))

    def doomed(plan: CrewPlan, *_: Any) -> Any:
        def hire(attempt: int) -> Crew:
            crew = crew_factory(plan, on_ray=False)(attempt)
            assert isinstance(crew, InProcessCrew)
            return _DoomedCrew(crew.augmentors, crew.trainer)

        return hire

    with monkeypatch.context() as patch:
        patch.setattr("pipelines.closed_loop.job.crew_factory", doomed)
        with pytest.raises(_KilledError):
            run_closed_loop(LOOPS[name], source, context(tmp_path / "killed"))
    run_closed_loop(LOOPS[name], source, context(tmp_path / "killed"))
    for file in ("metrics.jsonl", "lifter.safetensors"):
        assert (tmp_path / "killed" / file).read_bytes() == (tmp_path / "undisturbed" / file).read_bytes()


def test_chunks_hold_whole_windows(source: str) -> None:
    for name, frames in (("random", 1), ("poseaug", 1), ("feedback", 1), ("feedback, all frames", 9)):
        settings = LOOPS[name]
        augmentor = build_augmentor(CrewPlan(settings, source, 1, 3), 0)
        weights = flatten_state(build_lifter(settings.lifter, SKELETON, 0))
        chunk = augmentor.produce(1, 0, 1, weights)
        assert len(chunk) > 0
        assert chunk.keypoints_screen.shape[1:] == (9, 16, 2)
        assert chunk.joints_root_m.shape[1:] == (frames, 16, 3)
        steps = np.abs(np.diff(chunk.keypoints_screen, axis=1)).max(axis=(1, 2, 3))
        assert np.median(steps) < 0.5  # one motion, not nine poses


def test_poses_without_their_order_in_time_are_refused() -> None:
    shape = window_shape(build_lifter(LIFTER, SKELETON, 0))
    with pytest.raises(SettingsError, match="sees 9 frames at once"):
        SourceWindows(source_poses(20), shape)


def test_single_frame_loops_read_no_neighbours(source: str) -> None:
    settings = feedback_loop(lifter=SimpleBaselineSettings(width=16), valid_max_rows=8)
    data = load_loop_data(source, 1, settings)
    assert data.validation is not None
    assert data.validation_rows is None
    assert len(data.validation) <= 8
    temporal = load_loop_data(source, 1, settings.model_copy(update={"lifter": LIFTER}))
    assert temporal.validation is not None
    assert temporal.validation_rows is not None
    assert len(temporal.validation) > len(temporal.validation_rows) == len(data.validation)


def test_plans_of_temporal_loops_are_made(source: str) -> None:
    released = poseaug_loop(**SMALL, augmentor=PoseAugAugmentation(preset="released"))
    assert plan_closed_loop(released, source, 0).job == "loop"
