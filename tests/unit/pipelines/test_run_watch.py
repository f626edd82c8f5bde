"""What a run tells while it works: heartbeat with workers, log lines with ids, metrics; and what status makes of it."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.context import RunContext
from pipelines.errors import PlanError, TooManyBadRowsError
from pipelines.executor import BadRowPolicy, ExecutionReport, FailedUnit, Failure
from pipelines.heartbeat import Heartbeat, HeartbeatWriter, heartbeat_path, read_heartbeat
from pipelines.in_process import InProcessExecutor
from pipelines.knobs import recipe_of
from pipelines.mass_augment import AugmentSettings
from pipelines.metrics import METRICS, RunMetrics
from pipelines.observer import PoolObserver, SilentObserver, WorkerFacts, observer_of
from pipelines.plan import Plan, Unit, freeze_plan, plan_path, read_plan
from pipelines.progress import RecordingProgress, SilentProgress
from pipelines.run_log import RunLog, read_log
from pipelines.run_units import run_units
from pipelines.run_watch import RunWatch
from pipelines.status import run_status
from poses.skeleton import load_skeleton
from storage.commit import UnitCommit
from storage.errors import StoreError
from storage.manifest import read_manifest
from storage.object_store import open_store
from tests.contracts.executor_cases import ROWS, RUN, Behaviour, stage_factory, units

SKELETON = load_skeleton("h36m_16")
DIED = Failure("died", "WorkerDied", "the worker process died", "")


def plan(count: int = 4, run_id: str = RUN, **recipe: object) -> Plan:
    return Plan(run_id, "made_up", tuple(units(count)), recipe, {}, {}, "v1")


def run(url: Path, behaviour: Behaviour = Behaviour(), policy: BadRowPolicy = BadRowPolicy(), **changes):  # noqa: B008
    progress = RecordingProgress()
    context = RunContext(str(url), InProcessExecutor(sleep=lambda _: None), 0, progress)
    context = replace(context, **changes)
    return run_units(plan(), stage_factory(url, behaviour), SKELETON, context, bad_rows=policy)


def done(unit_id: str, rows: int = 5, quarantined: int = 0) -> UnitCommit:
    return UnitCommit(
        run_id=RUN, unit_id=unit_id, writer_id="w", files=(), rows=rows, quarantined=quarantined
    )


class State:
    """A pool's state."""

    def __init__(self) -> None:
        self.report = ExecutionReport()
        self.n_open = 7


def watched(url: Path, now_s: list[float]) -> tuple[RunWatch, HeartbeatWriter]:
    store = open_store(url)
    freeze_plan(store, plan())
    beat = HeartbeatWriter(store, RUN, [done("u0", quarantined=2)], 3, clock=lambda: now_s[0])
    log = RunLog(store, RUN, "made_up", clock=lambda: now_s[0])
    return RunWatch(SilentProgress(), beat, log, RunMetrics(RUN, "made_up"), lambda: now_s[0]), beat


def test_the_heartbeat_tells_who_works_on_what(tmp_path: Path) -> None:
    now_s = [1000.0]
    watch, beat = watched(tmp_path, now_s)
    state = State()
    watch.pool_opened("augment", 4, state)
    watch.worker_joined(WorkerFacts("a1", resources={"CPU": 1.0, "GPU": 0.25}))
    watch.worker_joined(WorkerFacts("a2"))
    watch.worker_joined(WorkerFacts("a1", node="node-9", resources={"CPU": 1.0, "GPU": 0.25}, pid=77))
    watch.task_started("a1", "u1", "run")
    state.report.retries["WorkerDied"] = 2
    state.report.failed.append(FailedUnit("u9", DIED))
    state.report.workers_lost = 2
    now_s[0] += 5.0
    watch.tick()
    status = run_status(str(tmp_path), now_s[0])[0]
    assert status.condition == "running"
    assert (status.retries, status.failures, status.workers_lost) == ({"WorkerDied": 2}, {"WorkerDied": 1}, 2)
    assert status.pool is not None
    assert (status.pool["size"], status.pool["wanted"], status.pool["units_open"]) == (2, 4, 7)
    first = status.pool["workers"][0]
    assert (first["worker_id"], first["node"], first["pid"], first["unit_id"]) == ("a1", "node-9", 77, "u1")
    assert first["resources"] == {"CPU": 1.0, "GPU": 0.25}
    assert now_s[0] - first["since_unix_s"] == 5.0
    watch.worker_left("a2", "lost")
    beat.end()
    assert read_heartbeat(open_store(tmp_path), RUN).pool is None  # pyright: ignore[reportOptionalMemberAccess]


def test_totals_count_earlier_attempts_and_the_rate_does_not(tmp_path: Path) -> None:
    now_s = [1000.0]
    _, beat = watched(tmp_path, now_s)
    for unit in ("u1", "u2"):
        now_s[0] += 10.0
        beat.unit_done(done(unit))
    seen = read_heartbeat(open_store(tmp_path), RUN)
    assert seen is not None
    assert seen.totals is not None
    assert (seen.totals.units, seen.totals.rows, seen.totals.quarantined) == (3, 15, 2)
    assert (seen.units_before, seen.units_done, seen.rows_done) == (1, 2, 10)


def test_a_process_that_is_gone_is_dead_at_once(tmp_path: Path) -> None:
    now_s = [1000.0]
    watched(tmp_path, now_s)
    assert run_status(str(tmp_path), now_s[0])[0].condition == "running"
    store = open_store(tmp_path)
    ended = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    beat = read_heartbeat(store, RUN)
    assert beat is not None
    gone = beat.model_copy(update={"pid": int(ended.stdout)})
    store.write_bytes(heartbeat_path(RUN), gone.model_dump_json().encode())
    assert run_status(str(tmp_path), now_s[0])[0].condition == "dead"
    elsewhere = gone.model_copy(update={"host": "another machine"})
    assert not elsewhere.process_is_gone
    assert not beat.model_copy(update={"pid": os.getpid()}).process_is_gone


def test_a_store_that_fails_ends_no_heartbeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [1000.0]
    _, beat = watched(tmp_path, now_s)

    def full(*_: object) -> None:
        raise StoreError("no room")

    monkeypatch.setattr("storage.local_store.LocalStore.write_bytes", full)
    beat.end()
    monkeypatch.undo()
    assert read_heartbeat(open_store(tmp_path), RUN).state == "running"  # pyright: ignore[reportOptionalMemberAccess]


def test_log_lines_have_run_unit_and_actor_and_no_secrets(tmp_path: Path) -> None:
    now_s = [1000.0]
    watch, _ = watched(tmp_path, now_s)
    watch.pool_opened("augment", 1, State())
    watch.worker_joined(WorkerFacts("a1", node="n1", pid=5))
    watch.task_started("a1", "u1", "run")
    now_s[0] += 1.5
    watch.task_ended(
        "a1", "u1", "run", Failure("raised", "OSError", "s3://me:word@bucket is gone", "Tr"), None
    )
    watch.task_started("a1", "u1", "run")
    watch.task_ended("a1", "u1", "run", None, done("u1", rows=9, quarantined=1))
    watch.log("unit u1: token=abc AKIAABCDEFGHIJKLMNOP")
    lines = read_log(open_store(tmp_path), RUN)
    assert [line["event"] for line in lines] == [
        "pool_opened", "worker_joined", "unit_failed", "unit_done", "message",
    ]  # fmt: skip
    failed, finished = lines[2], lines[3]
    assert {"run_id": RUN, "unit": "u1", "actor": "a1", "node": "n1"}.items() <= failed.items()
    assert (failed["level"], failed["error_class"], failed["seconds"]) == ("warning", "OSError", 1.5)
    assert (finished["rows"], finished["quarantined"]) == (9, 1)
    text = json.dumps(lines)
    assert "word" not in text
    assert "AKIA" not in text
    assert lines[0]["time"] == "1970-01-01T00:16:40.000+00:00"


def test_a_remote_log_goes_out_in_parts_and_a_broken_one_is_told_once(tmp_path: Path) -> None:
    now_s, told = [1000.0], []
    store = open_store(tmp_path)
    log = RunLog(store, RUN, "made_up", told.append, clock=lambda: now_s[0])
    log._local = None
    log.event("first")
    assert read_log(store, RUN) == []
    now_s[0] += 20.0
    log.event("second", text="x" * 20_000)
    log.event("third")
    log.flush()
    assert [line["event"] for line in read_log(store, RUN)] == ["first", "second", "third"]
    assert len(read_log(store, RUN)[1]["text"]) < 9_000
    assert len(store.list(f"runs/{RUN}/log")) == 2
    log._local = tmp_path / "runs"
    log.event("fourth")
    log.event("fifth")
    assert len(told) == 1
    assert "the run's log cannot be written" in told[0]


def test_without_ray_metrics_are_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    metrics = RunMetrics("run", "job")
    metrics.count("posemill_units_done")
    metrics.set("posemill_pool_size", 3)
    metrics.observe("posemill_unit_seconds", 1.0)
    assert "ray" not in sys.modules
    assert all(name.startswith("posemill_") for name in METRICS)


def test_counts_go_to_the_metrics_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[tuple[str, float, str | None]] = []
    monkeypatch.setattr(
        RunMetrics,
        "count",
        lambda self, name, amount=1.0, kind=None: counted.append((name, amount, kind)),
    )
    watch, _ = watched(tmp_path, [1000.0])
    state = State()
    watch.pool_opened("p", 1, state)
    state.report.retries["WorkerDied"] = 2
    watch.tick()
    state.report.retries["WorkerDied"] = 3
    watch.tick()
    watch.task_ended("a1", "u1", "run", None, done("u1", rows=9))
    retried = [(amount, name) for metric, amount, name in counted if metric == "posemill_units_retried"]
    assert retried == [(2, "WorkerDied"), (1, "WorkerDied")]
    assert ("posemill_rows", 9, None) in counted


def test_a_progress_that_watches_nothing_gets_a_silent_observer() -> None:
    assert isinstance(observer_of(SilentProgress()), SilentObserver)
    assert isinstance(SilentObserver(), PoolObserver)


def test_a_run_logs_heartbeats_and_ends(tmp_path: Path) -> None:
    result = run(tmp_path, Behaviour(raising=frozenset({("u1", 2)})))
    assert result.n_pairs == 4 * ROWS - 1
    events = [line["event"] for line in read_log(open_store(tmp_path), RUN)]
    assert events[0] == "attempt_started"
    assert events[-2:] == ["published", "attempt_ended"]
    assert events.count("unit_done") == 4
    assert "probe_passed" in events
    status = run_status(str(tmp_path))[0]
    assert (status.condition, status.rows, status.quarantined) == ("done", 4 * ROWS - 1, 1)
    (tmp_path / plan_path(RUN)).write_bytes(b"a plan of a million units is not read for a status")
    assert run_status(str(tmp_path), 0.0)[0] == replace(status, silent_s=0.0)


def test_bad_rows_of_all_attempts_count_and_the_limit_may_be_raised(tmp_path: Path) -> None:
    poison = Behaviour(raising=frozenset({("u0", 1), ("u2", 1)}))
    with pytest.raises(TooManyBadRowsError):
        run(tmp_path, poison, BadRowPolicy(max_bad_rows=1))
    before = read_log(open_store(tmp_path), RUN)[-1]
    assert (before["event"], before["error_class"]) == ("attempt_ended", "TooManyBadRowsError")
    with pytest.raises(TooManyBadRowsError, match="max_bad_rows = 0"):
        run(tmp_path, poison, BadRowPolicy(max_bad_rows=0))
    assert run(tmp_path, poison, BadRowPolicy(max_bad_rows=2)).quarantined == 2
    assert "max_bad_rows" not in json.dumps(recipe_of(AugmentSettings.model_validate(
        {"source": "x", "augmentor": {"kind": "wide"}, "bad_rows": {"max_bad_rows": 3}})))  # fmt: skip


def test_a_resume_does_the_frozen_units(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    freeze_plan(store, plan(2))
    assert run(tmp_path).n_pairs == 2 * ROWS
    assert len(read_plan(store, RUN).units) == 2
    with pytest.raises(PlanError, match="wanted the plan of run other"):
        read_plan(store, "other")


def test_rows_on_top_must_be_new(tmp_path: Path) -> None:
    run(tmp_path)
    context = RunContext(str(tmp_path), InProcessExecutor(), accept_other_plan=True)
    bad = Behaviour(raising=frozenset({("u0", 0)}))
    same = replace(plan(run_id="other", copies=2))
    with pytest.raises(PlanError, match=r"other makes rows that are in the dataset already.*first_copy"):
        run_units(same, OtherRun(tmp_path, bad), SKELETON, context)
    assert read_manifest(open_store(tmp_path)).version == 1
    status = {one.run_id: one for one in run_status(str(tmp_path))}
    assert status["other"].condition == "failed"
    assert "PlanError" in status["other"].error


class OtherRun:
    """The made-up stage under another run's name."""

    def __init__(self, url: Path, behaviour: Behaviour) -> None:
        self._make = stage_factory(url, behaviour)

    def __call__(self):
        stage = self._make()
        run_stage = stage.run

        def renamed(unit: Unit, bad_rows=()):
            from tests.contracts import executor_cases

            executor_cases.RUN = "other"
            try:
                return run_stage(unit, bad_rows)
            finally:
                executor_cases.RUN = RUN

        stage.run = renamed  # pyright: ignore[reportAttributeAccessIssue]
        return stage


def test_a_heartbeat_of_an_older_posemill_is_read() -> None:
    old = {"state": "running", "started_unix_s": 1, "updated_unix_s": 2, "units_before": 0, "units_done": 1,
           "rows_done": 3, "host": "h", "pid": 9}  # fmt: skip
    beat = Heartbeat.model_validate(old)
    assert (beat.totals, beat.pool) == (None, None)
