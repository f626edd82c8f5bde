"""Jobs that count steps or rounds: their heartbeat, what `status` makes of it, and how they end on a real signal."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from estimators.lifters.training.trainer import LifterTrainer
from jobs.status import folder_status
from pipelines.closed_loop.job import run_closed_loop
from pipelines.closed_loop.loop import MetricsLog
from pipelines.context import RunContext
from pipelines.errors import JobStoppedError
from pipelines.heartbeat import Heartbeat, read_heartbeat
from pipelines.run_log import RunLog, read_log
from pipelines.status import run_status
from pipelines.step_watch import StepWatch
from pipelines.stopping import StopRequest, stopping_on_signals
from pipelines.train import TrainSettings, run_train
from storage.object_store import open_store
from tests.unit.pipelines.cases import context
from tests.unit.pipelines.closed_loop.loop_parts import feedback_loop
from tests.unit.pipelines.closed_loop.small_dataset import make_small_dataset


def settings(source: Path) -> TrainSettings:
    return TrainSettings.model_validate(
        {
            "data": [{"url": str(source), "parts": ["source_train"]}],
            "validation": [{"url": str(source), "parts": ["source_valid"]}],
            "lifter": {"kind": "simple_baseline", "width": 16, "dropout": 0.2},
            "batch_rows": 32,
            "steps": 12,
            "validate_every": 4,
            "checkpoint_every": 6,
        }
    )


def signal_in(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, call: int) -> None:
    """SIGTERM to this process in the n-th call of a method."""
    inner, calls = getattr(owner, name), []

    def asked(self: Any, *arguments: Any, **named: Any) -> Any:
        calls.append(None)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGTERM)
        return inner(self, *arguments, **named)

    monkeypatch.setattr(owner, name, asked)


def stopped(run: Any, where: RunContext) -> str:
    """Run it until the signal; the words of its end."""
    with pytest.raises(JobStoppedError) as caught, stopping_on_signals(where.stop, say=lambda _: None):
        run(where)
    return str(caught.value)


def test_sigterm_in_a_training_keeps_the_step_and_resumes_to_the_same_bytes(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = settings(source)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    run_train(wanted, context(whole))
    with monkeypatch.context() as patched:
        signal_in(patched, LifterTrainer, "step", 3)
        words = stopped(lambda where: run_train(wanted, where), context(cut))
    assert "stopped on SIGTERM: step 3 of 12 is kept" in words
    assert [path.name for path in cut.glob("runs/*/checkpoints/*")] == ["step-000000003.safetensors"]
    [status] = run_status(str(cut))
    assert (status.condition, status.units_done, status.units_total, status.counts) == (
        "stopped",
        3,
        12,
        "steps",
    )
    run_train(wanted, context(cut))
    [status] = run_status(str(cut))
    assert (status.condition, status.units_done) == ("done", 12)
    assert (cut / "lifter.safetensors").read_bytes() == (whole / "lifter.safetensors").read_bytes()


def test_sigterm_in_a_loop_keeps_the_round_and_resumes_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_small_dataset(tmp_path / "source")
    loop = feedback_loop(rounds=5, batch_rows=32, batches_per_round=4, checkpoint_every_rounds=4)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    run_closed_loop(loop, source, context(whole))
    with monkeypatch.context() as patched:
        signal_in(patched, MetricsLog, "add", 2)
        words = stopped(lambda where: run_closed_loop(loop, source, where), context(cut))
    total = loop.pretrain_rounds + loop.rounds
    assert f"round 2 of {total} is kept" in words
    assert json.loads((cut / "checkpoints/round-000002.json").read_text())["between"] is True
    [status] = run_status(str(cut))
    assert (status.condition, status.units_done, status.counts) == ("stopped", 2, "rounds")
    run_closed_loop(loop, source, context(cut))
    assert not (cut / "checkpoints/round-000002.json").exists()
    for name in ("lifter.safetensors", "augmentor.safetensors", "metrics.jsonl"):
        assert (cut / name).read_bytes() == (whole / name).read_bytes(), name


def test_status_tells_steps_and_rate_and_no_pairs(source: Path, tmp_path: Path) -> None:
    run_train(settings(source), context(tmp_path))
    store = open_store(tmp_path)
    run_id = run_status(str(tmp_path))[0].run_id
    assert "done, 12 of 12 steps" in folder_status(str(tmp_path)).lines()[1]
    assert "pairs" not in folder_status(str(tmp_path)).lines()[1]
    before = read_heartbeat(store, run_id)
    run_train(settings(source), context(tmp_path))
    assert read_heartbeat(store, run_id) == before
    events = [line["event"] for line in read_log(store, run_id) if line["run_id"] == run_id]
    assert events[0] == "attempt_started"
    assert events[-1] == "attempt_ended"
    assert "message" in events


def test_an_error_is_told(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> float:
        raise FloatingPointError("no number")

    monkeypatch.setattr(LifterTrainer, "step", broken)
    with pytest.raises(FloatingPointError):
        run_train(settings(source), context(tmp_path))
    [status] = run_status(str(tmp_path))
    assert (status.condition, status.units_done) == ("failed", 0)
    assert "no number" in status.error


def test_what_earlier_attempts_did_counts_but_not_as_fast(tmp_path: Path) -> None:
    now_s, store = [1000.0], open_store(tmp_path)
    told = context(tmp_path).progress
    beat = Heartbeat.begun("loop", 20, "rounds")
    watch = StepWatch(told, store, RunLog(store, "loop-1", "loop"), beat, "loop-1", lambda: now_s[0])
    watch.start("other", 3)
    watch.start("loop", 20, "rounds", 8)
    now_s[0] += 10.0
    watch.advance("other")
    now_s[0] += 2.0
    watch.advance("loop", 2)
    seen = read_heartbeat(store, "loop-1")
    assert seen is not None
    assert (seen.units_before, seen.units_done, seen.started_unix_s) == (8, 2, 1000.0)
    watch.start("loop", 20, "rounds", 4)  # a crew was lost, and the last checkpoint had four rounds
    seen = read_heartbeat(store, "loop-1")
    assert seen is not None
    assert (seen.units_before, seen.units_done) == (4, 0)
    watch.end(JobStoppedError("enough"))
    assert (read_heartbeat(store, "loop-1") or seen).state == "stopped"


def test_a_request_that_nobody_made_stops_nothing(source: Path, tmp_path: Path) -> None:
    where = context(tmp_path)
    assert isinstance(where.stop, StopRequest)
    run_train(settings(source), where)
    assert not where.stop.heeded
