"""The job `status`: how far a run is, from its files alone, so that it works on a job that is dead."""

import time
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from pipelines.errors import PlanError
from pipelines.heartbeat import Heartbeat, read_heartbeat
from pipelines.plan import Plan, stored_plans
from storage.commit import list_commits
from storage.object_store import ObjectStore, open_store

_SILENT_AFTER_S = 30.0

Condition = Literal["waiting", "running", "silent", "stopped", "failed", "done"]


@dataclass(frozen=True)
class RunStatus:
    """One run of a dataset.

    Attributes:
        run_id: Of its plan.
        job: Its verb.
        condition: "waiting" before the first sign of life; "running"; "silent" if the last sign is half a
            minute old (a unit takes long, or the job is dead: running it again goes on); "stopped" on
            request (a signal, a spot notice); "failed"; "done".
        units_total, units_done: Of the plan; done means committed.
        rows: Pairs committed.
        quarantined: Rows in quarantine.
        rejected: Rows left out on purpose, by reason.
        units_per_s: Rate of the last attempt; None before its first unit.
        remaining_s: At that rate; None where there is no rate or no need.
        failures: Units given up in the last attempt, by class.
        retries: Repeated attempts in the last attempt, by class.
        error: What ended the last attempt, if anything did.
        silent_s: Since the last sign of life; None without one.
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


def run_status(url: str, now_unix_s: float | None = None) -> list[RunStatus]:
    """The status of every run of a dataset.

    Args:
        url: The dataset.
        now_unix_s: Now; by default the clock's.

    Raises:
        PlanError: if there is no run at `url`.
    """
    store = open_store(url)
    plans = stored_plans(store)
    if not plans:
        raise PlanError(
            f"{url}: no run here: wanted runs/<run id>/plan.json; check the path, or run a job into it first"
        )
    now_s = time.time() if now_unix_s is None else now_unix_s
    return [_status_of(store, plan, now_s) for plan in plans]


def _status_of(store: ObjectStore, plan: Plan, now_s: float) -> RunStatus:
    commits = list_commits(store, plan.run_id)
    beat = read_heartbeat(store, plan.run_id)
    rejected: Counter[str] = Counter()
    for commit in commits:
        rejected.update(commit.rejected)
    done, total = len(commits), len(plan.units)
    rate = _rate(beat, done, now_s)
    return RunStatus(
        run_id=plan.run_id,
        job=plan.job,
        condition=_condition(beat, done, total, now_s),
        units_total=total,
        units_done=done,
        rows=sum(commit.rows for commit in commits),
        quarantined=sum(commit.quarantined for commit in commits),
        rejected=dict(sorted(rejected.items())),
        units_per_s=rate,
        remaining_s=(total - done) / rate if rate and done < total else None,
        failures=dict(beat.failures) if beat else {},
        retries=dict(beat.retries) if beat else {},
        error=beat.error if beat else "",
        silent_s=max(0.0, now_s - beat.updated_unix_s) if beat else None,
    )


def _condition(beat: Heartbeat | None, done: int, total: int, now_s: float) -> Condition:
    if beat is None:
        return "waiting"
    if beat.state in ("failed", "stopped"):
        return beat.state
    if beat.state == "done" and done >= total:
        return "done"
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
