"""Signs of life of a run, in a small file beside its plan, so that `status` works on a job that is dead.

What is done stands in the commits; the heartbeat adds what they cannot tell: since when, how fast, who works on
what, what was tried again and what was given up. It is no part of the dataset, and two runs of one plan write
different ones. One that cannot be written ends no job.
"""

import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from pipelines.errors import JobStoppedError
from pipelines.executor import ExecutionReport
from pipelines.redaction import redacted_text
from storage.commit import UnitCommit
from storage.errors import StoreError
from storage.object_store import ObjectStore

RunState = Literal["running", "done", "failed", "stopped"]
_BEAT_S = 2.0


class WorkerBeat(BaseModel):
    """One worker: where it is, what it holds, and what it has been doing since when."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    worker_id: str
    node: str = ""
    pid: int = 0
    resources: dict[str, float] = {}
    unit_id: str = ""
    """Empty while it starts or waits."""
    action: str = ""
    since_unix_s: float = 0.0
    units_done: int = 0


class PoolBeat(BaseModel):
    """The pool that works now."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    wanted: int
    size: int
    """Workers that it has."""
    units_open: int
    workers: tuple[WorkerBeat, ...] = ()
    """Of a large pool those that have been longest at their unit."""


class Totals(BaseModel):
    """What the commits of all attempts hold; saves `status` reading every one of them."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    units: int = 0
    rows: int = 0
    bytes: int = 0
    quarantined: int = 0
    rejected: dict[str, int] = {}

    def plus(self, commit: UnitCommit) -> "Totals":
        """With one more commit."""
        rejected = dict(self.rejected)
        for reason, count in commit.rejected.items():
            rejected[reason] = rejected.get(reason, 0) + count
        return Totals(
            units=self.units + 1,
            rows=self.rows + commit.rows,
            bytes=self.bytes + sum(file.bytes for file in commit.files),
            quarantined=self.quarantined + commit.quarantined,
            rejected=rejected,
        )

    @staticmethod
    def of(commits: Iterable[UnitCommit]) -> "Totals":
        """Of some commits, each looked at once."""
        units = rows = size_bytes = quarantined = 0
        rejected: Counter[str] = Counter()
        for commit in commits:
            units += 1
            rows += commit.rows
            size_bytes += sum(file.bytes for file in commit.files)
            quarantined += commit.quarantined
            rejected.update(commit.rejected)
        return Totals(
            units=units, rows=rows, bytes=size_bytes, quarantined=quarantined, rejected=dict(rejected)
        )


class Heartbeat(BaseModel):
    """What the file holds. Times are seconds since 1970."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    state: RunState
    job: str = ""
    counts: str = "units"
    """What is counted: the plan's "units", or "steps" or "rounds" of a job that commits none."""
    units_total: int = 0
    """Of the plan; 0 in heartbeats of an older posemill."""
    started_unix_s: float
    updated_unix_s: float
    units_before: int
    """Units that were done before this attempt began."""
    units_done: int
    """Units that this attempt did."""
    rows_done: int
    """Pairs that this attempt wrote."""
    failures: dict[str, int] = {}
    """Units given up, by class."""
    retries: dict[str, int] = {}
    bad_rows: int = 0
    workers_lost: int = 0
    totals: Totals | None = None
    pool: PoolBeat | None = None
    error: str = ""
    """First line of what ended the run."""
    host: str = ""
    pid: int = 0
    pid_space: str = ""
    """Which processes the pid counts among: containers on one host have their own."""

    @staticmethod
    def begun(job: str, total: int, counts: str) -> "Heartbeat":
        """Of a job that begins now to count steps or rounds."""
        now_s = time.time()
        times = {"started_unix_s": now_s, "updated_unix_s": now_s}
        nothing = {"units_before": 0, "units_done": 0, "rows_done": 0}
        return Heartbeat.model_validate(
            {"state": "running", "job": job, "counts": counts, "units_total": total, **times, **nothing}
        )

    @property
    def process_is_gone(self) -> bool:
        """Whether the process surely has ended; False where this machine cannot tell."""
        if not self.pid or (self.host, self.pid_space) != (socket.gethostname(), _pid_space()):
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False


def _pid_space() -> str:
    """Name of this process's PID namespace; "" where there are none."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def here() -> dict[str, Any]:
    """Which process this is, as heartbeats tell it."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "pid_space": _pid_space()}


def end_state(error: BaseException | None) -> RunState:
    """How an attempt ended: by an error, because it was asked to stop, or well."""
    stopped = isinstance(error, JobStoppedError | KeyboardInterrupt)
    return "done" if error is None else "stopped" if stopped else "failed"


def error_line(error: BaseException | None) -> str:
    """Its first line, without secrets; "" for no error."""
    if isinstance(error, KeyboardInterrupt):
        return f"stopped: {error}" if str(error) else "stopped: interrupted"
    return redacted_text(f"{type(error).__name__}: {error}".splitlines()[0]) if error else ""


def write_heartbeat(store: ObjectStore, run_id: str, beat: Heartbeat) -> None:
    """Replace the heartbeat of a run. A store that fails is left to the work itself: this only says who lives."""
    with suppress(StoreError):
        store.write_bytes(heartbeat_path(run_id), beat.model_dump_json(indent=1).encode())


def heartbeat_path(run_id: str) -> str:
    """Where the heartbeat of a run stands."""
    return f"runs/{run_id}/heartbeat.json"


def read_heartbeat(store: ObjectStore, run_id: str) -> Heartbeat | None:
    """The last sign of life; None if there is none, or it cannot be read."""
    path = heartbeat_path(run_id)
    if not store.exists(path):
        return None
    try:
        return Heartbeat.model_validate_json(store.read_bytes(path))
    except (ValidationError, StoreError):
        return None


class HeartbeatWriter:
    """Writes the heartbeat every two seconds at most, and at the end.

    Args:
        before: Commits of earlier attempts.
        units_left: Units to do; with none left the counts of the last attempt stay.
        job: Verb of the plan.
        clock: Seconds since 1970; tests pass their own.
    """

    def __init__(
        self,
        store: ObjectStore,
        run_id: str,
        before: Iterable[UnitCommit],
        units_left: int,
        job: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store, self._run_id, self._clock = store, run_id, clock
        self._totals = Totals.of(before)
        self._units_before = self._totals.units
        self._job, self._units_total = job, self._totals.units + units_left
        self._started_s = self._written_s = clock()
        self._ended_s: float | None = None
        self._units_done = self._rows_done = 0
        self._report: ExecutionReport | None = None
        self._pool: Callable[[], PoolBeat | None] = lambda: None
        last = read_heartbeat(store, run_id) if units_left == 0 else None
        if last is not None:
            self._units_before, self._started_s = last.units_before, last.started_unix_s
            self._units_done, self._rows_done = last.units_done, last.rows_done
            self._ended_s = last.updated_unix_s
            return
        self._write("running")

    def watch(self, report: ExecutionReport, pool: Callable[[], PoolBeat | None]) -> None:
        """From now on tell of this report, which grows, and of what this function gives for the pool."""
        self._report, self._pool = report, pool

    def unit_done(self, commit: UnitCommit) -> None:
        """One more unit is committed."""
        self._units_done += 1
        self._rows_done += commit.rows
        self._totals = self._totals.plus(commit)
        self.tick()

    def tick(self) -> None:
        """The run is alive."""
        if self._clock() - self._written_s >= _BEAT_S:
            self._write("running")

    def take(self, report: ExecutionReport) -> None:
        """What was tried again and given up in the end."""
        self._report = report

    def end(self, error: BaseException | None = None) -> None:
        """The attempt is over: by an error, because it was asked to stop, or well."""
        self._write(end_state(error), error)

    def _write(self, state: RunState, error: BaseException | None = None) -> None:
        self._written_s = self._clock()
        report = self._report
        failed: Sequence[str] = [unit.failure.error_class for unit in report.failed] if report else []
        beat = Heartbeat(
            state=state,
            job=self._job,
            units_total=self._units_total,
            started_unix_s=self._started_s,
            updated_unix_s=self._written_s if self._ended_s is None else self._ended_s,
            units_before=self._units_before,
            units_done=self._units_done,
            rows_done=self._rows_done,
            failures=dict(Counter(failed)),
            retries=dict(report.retries) if report else {},
            bad_rows=sum(map(len, report.bad_rows.values())) if report else 0,
            workers_lost=report.workers_lost if report else 0,
            totals=self._totals,
            pool=self._pool() if state == "running" else None,
            error=error_line(error),
            **here(),
        )
        write_heartbeat(self._store, self._run_id, beat)
