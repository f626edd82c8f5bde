"""The job `status`: how far a run is, from its files alone, so that it works on a job that is dead."""

import time
from dataclasses import dataclass
from typing import Any, Literal

from pipelines.errors import PlanError
from pipelines.heartbeat import Heartbeat, Totals, read_heartbeat
from pipelines.plan import read_plan, stored_run_ids
from storage.commit import list_commits
from storage.object_store import ObjectStore, open_store
from storage.paths import name_part

_SILENT_AFTER_S = 30.0

_FEW_COMMITS = 500

Condition = Literal["waiting", "running", "silent", "dead", "stopped", "failed", "done"]


@dataclass(frozen=True)
class RunStatus:
    """One run of a dataset.

    Attributes:
        run_id: Of its plan.
        job: Its verb.
        condition: "waiting" before the first sign of life; "running"; "silent" if the last sign is half a
            minute old (a unit takes long, or the job is dead: running it again goes on); "dead" if its process,
            on this machine, is gone; "stopped" on request (a signal, a spot notice); "failed"; "done".
        units_total, units_done: Of the plan; done means committed. Of a job that commits no units: `counts`.
        rows: Pairs committed.
        quarantined: Rows in quarantine.
        rejected: Rows left out on purpose, by reason.
        units_per_s: Rate of the last attempt; None before its first unit.
        remaining_s: At that rate; None where there is no rate or no need.
        failures: Units given up in the last attempt, by class.
        retries: Repeated attempts in the last attempt, by class.
        error: What ended the last attempt, if anything did.
        silent_s: Since the last sign of life; None without one.
        bytes: In all data files committed.
        rows_per_s: Rate of the last attempt.
        workers_lost: Workers that died in the last attempt.
        host, pid: Of the process that leads, or led, the last attempt.
        pool: Its workers: name, wanted, size, units_open, and for every worker (the longest at work first) its
            worker_id, node, pid, resources, unit_id, action, since_unix_s, units_done. None once it has ended.
    """

    run_id: str
    job: str
    condition: Condition
    units_total: int
    units_done: int
    rows: int
    quarantined: int
    rejected: dict[str, int]
    units_per_s: float | None
    remaining_s: float | None
    failures: dict[str, int]
    retries: dict[str, int]
    error: str
    silent_s: float | None
    bytes: int = 0
    rows_per_s: float | None = None
    workers_lost: int = 0
    host: str = ""
    pid: int = 0
    pool: dict[str, Any] | None = None
    counts: str = "units"
    """What is counted: "units", or "steps" (train) or "rounds" (loop), of which the last checkpoint keeps most."""
    url: str = ""
    """Of the dataset or folder that has the run."""


def run_status(url: str, now_unix_s: float | None = None) -> list[RunStatus]:
    """The status of every run of a dataset.

    Args:
        url: The dataset.
        now_unix_s: Now; by default the clock's.

    Raises:
        PlanError: if there is no run at `url`.
    """
    store = open_store(url)
    run_ids = stored_run_ids(store)
    if not run_ids:
        raise PlanError(
            f"{url}: no run here: wanted runs/<run id>/plan.json; check the path, or run a job into it first"
        )
    now_s = time.time() if now_unix_s is None else now_unix_s
    return [_status_of(store, run_id, now_s) for run_id in run_ids]


def _status_of(store: ObjectStore, run_id: str, now_s: float) -> RunStatus:
    beat = read_heartbeat(store, run_id)
    job, total = _job_and_size(store, run_id, beat)
    counts_steps = beat is not None and beat.counts != "units"
    done = beat.units_before + beat.units_done if beat and counts_steps else _n_commits(store, run_id)
    condition = _condition(beat, done, total, now_s)
    totals = _totals(store, run_id, beat, done, condition)
    rate = _rate(beat, done, now_s)
    return RunStatus(
        run_id=run_id,
        job=job,
        condition=condition,
        units_total=total,
        units_done=done,
        rows=totals.rows,
        quarantined=totals.quarantined,
        rejected=dict(sorted(totals.rejected.items())),
        units_per_s=rate,
        remaining_s=(total - done) / rate if rate and done < total else None,
        failures=dict(beat.failures) if beat else {},
        retries=dict(beat.retries) if beat else {},
        error=beat.error if beat else "",
        silent_s=max(0.0, now_s - beat.updated_unix_s) if beat else None,
        bytes=totals.bytes,
        rows_per_s=rate * beat.rows_done / beat.units_done if rate and beat and beat.units_done else None,
        workers_lost=beat.workers_lost if beat else 0,
        host=beat.host if beat else "",
        pid=beat.pid if beat else 0,
        pool=beat.pool.model_dump(mode="json") if beat and beat.pool else None,
        counts=beat.counts if beat else "units",
        url=store.url,
    )


def _job_and_size(store: ObjectStore, run_id: str, beat: Heartbeat | None) -> tuple[str, int]:
    """The plan's job and number of units; a plan of a million units is long, so the heartbeat is asked first."""
    if beat is not None and beat.job and beat.units_total:
        return beat.job, beat.units_total
    plan = read_plan(store, run_id)
    return plan.job, len(plan.units)


def _n_commits(store: ObjectStore, run_id: str) -> int:
    """By their names alone."""
    return sum(path.endswith(".json") for path in store.list(f"commits/{name_part(run_id)}"))


def _totals(
    store: ObjectStore, run_id: str, beat: Heartbeat | None, done: int, condition: Condition
) -> Totals:
    """What the commits hold. A heartbeat that has as many units, or a live one of a long run, saves reading them."""
    known = beat.totals if beat else None
    if known is not None and (known.units == done or (condition == "running" and done > _FEW_COMMITS)):
        return known
    return Totals.of(list_commits(store, run_id))


def _condition(beat: Heartbeat | None, done: int, total: int, now_s: float) -> Condition:
    if beat is None:
        return "waiting"
    if beat.state in ("failed", "stopped"):
        return beat.state
    if beat.state == "done" and (done >= total or beat.counts != "units"):
        return "done"
    if beat.state == "running" and beat.process_is_gone:
        return "dead"
    return "silent" if now_s - beat.updated_unix_s > _SILENT_AFTER_S else "running"


def _rate(beat: Heartbeat | None, done: int, now_s: float) -> float | None:
    """Units a second since the last attempt began; the commits tell more than the heartbeat, which lags."""
    if beat is None:
        return None
    ended_s = (
        beat.updated_unix_s if beat.state != "running" else min(now_s, beat.updated_unix_s + _SILENT_AFTER_S)
    )
    passed_s, made = ended_s - beat.started_unix_s, done - beat.units_before
    return made / passed_s if passed_s > 0 and made > 0 else None
