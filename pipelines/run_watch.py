"""Watches one run for everybody who wants to know: terminal, heartbeat, log and metrics.

`run_units` gives it to the executor as the progress; executors find the `PoolObserver` in it and tell it who does what.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from pipelines.executor import Failure
from pipelines.heartbeat import HeartbeatWriter, PoolBeat, WorkerBeat
from pipelines.metrics import RunMetrics
from pipelines.observer import PoolState, WorkerFacts
from pipelines.progress import Progress
from pipelines.run_log import RunLog
from storage.commit import UnitCommit

_SHOWN_WORKERS = 200


@dataclass
class _Worker:
    """What is known of one worker."""

    facts: WorkerFacts
    unit_id: str = ""
    action: str = ""
    since_s: float = 0.0
    units_done: int = 0


class RunWatch:
    """A `Progress` that passes everything on, and a `PoolObserver`."""

    def __init__(
        self,
        progress: Progress,
        beat: HeartbeatWriter,
        log: RunLog,
        metrics: RunMetrics,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._progress, self._beat, self._log, self._metrics, self._clock = (
            progress,
            beat,
            log,
            metrics,
            clock,
        )
        self._workers: dict[str, _Worker] = {}
        self._pool = ""
        self._wanted = 0
        self._state: PoolState | None = None
        self._told: dict[tuple[str, str], int] = {}
        """How much of the report's counts the metrics have, by (metric, class)."""

    def start(self, task: str, total: int | None, unit: str = "units", done: int = 0) -> None:
        """Open a task."""
        self._progress.start(task, total, unit, done)

    def advance(self, task: str, amount: int = 1) -> None:
        """Count."""
        self._progress.advance(task, amount)

    def finish(self, task: str) -> None:
        """Close a task."""
        self._progress.finish(task)

    def log(self, message: str) -> None:
        """One line for the reader, and for the log."""
        self._progress.log(message)
        self._log.event("message", message=message)

    def pool_opened(self, pool: str, wanted: int, state: PoolState) -> None:
        """A pool begins."""
        self._pool, self._wanted, self._state = pool, wanted, state
        self._workers.clear()
        self._told.clear()
        self._metrics.stage(pool)
        self._beat.watch(state.report, self.pool_beat)
        self._log.event("pool_opened", pool=pool, wanted=wanted, units_open=state.n_open)
        self._gauges()

    def pool_closed(self) -> None:
        """It has ended."""
        self._counts()
        self._log.event("pool_closed", pool=self._pool)
        self._workers.clear()
        self._gauges()

    def worker_joined(self, worker: WorkerFacts) -> None:
        """A worker was asked for, or more is known of it."""
        known = self._workers.get(worker.worker_id)
        if known is not None:
            known.facts = worker
        else:
            self._workers[worker.worker_id] = _Worker(worker, since_s=self._clock())
        resources = dict(worker.resources or {})
        self._log.event(
            "worker_joined",
            actor=worker.worker_id,
            node=worker.node,
            pid=worker.pid or None,
            resources=resources or None,
        )
        self._gauges()

    def worker_left(self, worker_id: str, why: str) -> None:
        """A worker is gone."""
        self._workers.pop(worker_id, None)
        self._log.event("worker_left", actor=worker_id, why=why)
        self._gauges()

    def task_started(self, worker_id: str, unit_id: str, action: str) -> None:
        """A worker begins a unit."""
        worker = self._workers.setdefault(worker_id, _Worker(WorkerFacts(worker_id)))
        worker.unit_id, worker.action, worker.since_s = unit_id, action, self._clock()

    def task_ended(
        self, worker_id: str, unit_id: str, action: str, failure: Failure | None, commit: UnitCommit | None
    ) -> None:
        """It ended with a commit, a failure, or neither (a probe that passed)."""
        worker = self._workers.setdefault(worker_id, _Worker(WorkerFacts(worker_id)))
        seconds = max(0.0, self._clock() - worker.since_s)
        worker.unit_id, worker.action, worker.since_s = "", "", self._clock()
        told = {"unit": unit_id, "actor": worker_id, "node": worker.facts.node, "seconds": round(seconds, 3)}
        if failure is not None:
            self._log.event(
                "unit_failed",
                "warning",
                **told,
                action=action,
                kind=failure.kind,
                error_class=failure.error_class,
                error=failure.message,
                traceback=failure.traceback,
            )
        elif commit is not None:
            worker.units_done += 1
            self._count_commit(commit, seconds)
            left_out = {"quarantined": commit.quarantined or None, "rejected": dict(commit.rejected) or None}
            self._log.event("unit_done", **told, rows=commit.rows, **left_out)
        else:
            self._log.event("probe_passed", "debug", **told)

    def tick(self) -> None:
        """The pool is alive."""
        self._counts()
        self._beat.tick()

    def pool_beat(self) -> PoolBeat | None:
        """The pool as the heartbeat tells it."""
        if self._state is None:
            return None
        busiest = sorted(self._workers.values(), key=lambda worker: (not worker.unit_id, worker.since_s))
        return PoolBeat(
            name=self._pool,
            wanted=self._wanted,
            size=len(self._workers),
            units_open=self._state.n_open,
            workers=tuple(_worker_beat(worker) for worker in busiest[:_SHOWN_WORKERS]),
        )

    def _count_commit(self, commit: UnitCommit, seconds: float) -> None:
        self._metrics.count("posemill_units_done")
        self._metrics.count("posemill_rows", commit.rows)
        self._metrics.count("posemill_bytes", sum(file.bytes for file in commit.files))
        self._metrics.count("posemill_bad_rows", commit.quarantined)
        self._metrics.observe("posemill_unit_seconds", seconds)

    def _counts(self) -> None:
        """Bring the metrics up to the report's counts."""
        if self._state is None:
            return
        report = self._state.report
        for name, count in report.retries.items():
            self._raise_to("posemill_units_retried", name, count)
        classes = [unit.failure.error_class for unit in report.failed]
        for name in sorted(set(classes)):
            self._raise_to("posemill_units_failed", name, classes.count(name))
        self._metrics.set("posemill_queue_length", self._state.n_open)

    def _raise_to(self, metric: str, error_class: str, count: int) -> None:
        known = self._told.get((metric, error_class), 0)
        self._told[metric, error_class] = count
        self._metrics.count(metric, count - known, error_class)

    def _gauges(self) -> None:
        self._metrics.set("posemill_pool_size", len(self._workers))
        self._metrics.set("posemill_queue_length", self._state.n_open if self._state else 0)


def _worker_beat(worker: _Worker) -> WorkerBeat:
    facts = worker.facts
    return WorkerBeat(
        worker_id=facts.worker_id,
        node=facts.node,
        pid=facts.pid,
        resources=dict(facts.resources or {}),
        unit_id=worker.unit_id,
        action=worker.action,
        since_unix_s=worker.since_s,
        units_done=worker.units_done,
    )
