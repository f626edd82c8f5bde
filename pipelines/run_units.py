"""From a plan to a published dataset: freeze, skip what is committed, run the rest, publish."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.bad_row_count import BadRowCount
from pipelines.context import RunContext
from pipelines.errors import PoolError
from pipelines.executor import (
    ONE_CPU,
    QUARANTINE_BAD_ROWS,
    BadRowPolicy,
    ExecutionReport,
    StageFactory,
    WorkerResources,
)
from pipelines.heartbeat import HeartbeatWriter
from pipelines.metrics import RunMetrics
from pipelines.on_top import refuse_repeated_rows
from pipelines.plan import Plan, freeze_plan, read_plan
from pipelines.run_log import RunLog, told_to_the_end
from pipelines.run_watch import RunWatch
from poses.skeleton import Skeleton
from storage.commit import UnitCommit, iter_commits
from storage.manifest import Manifest, publish_manifest
from storage.object_store import ObjectStore, open_store
from storage.packed_commits import PackedCommits

_SHOWN_FAILURES = 5

Publisher = Callable[[ObjectStore, Sequence[UnitCommit]], Manifest]
"""Makes the new version of a dataset from all commits of a run."""


@dataclass(frozen=True)
class UnitsResult:
    """What became of a plan.

    Attributes:
        run_id: Of the plan.
        manifest: The dataset's version that has all units.
        commits: Of all units, in the plan's order, done now or before.
        report: Of what was done now.
    """

    run_id: str
    manifest: Manifest
    commits: Sequence[UnitCommit]
    report: ExecutionReport

    @property
    def n_pairs(self) -> int:
        """Pairs that the run wrote."""
        return sum(commit.rows for commit in self.commits)

    @property
    def rejected(self) -> dict[str, int]:
        """Rows left out on purpose, by reason."""
        total: dict[str, int] = {}
        for commit in self.commits:
            for reason, count in commit.rejected.items():
                total[reason] = total.get(reason, 0) + count
        return dict(sorted(total.items()))

    @property
    def quarantined(self) -> int:
        """Rows kept in quarantine."""
        return sum(commit.quarantined for commit in self.commits)


def run_units(
    plan: Plan,
    stage_factory: StageFactory,
    skeleton: Skeleton,
    context: RunContext,
    *,
    resources: WorkerResources = ONE_CPU,
    bad_rows: BadRowPolicy = QUARANTINE_BAD_ROWS,
    before_publish: Callable[[ObjectStore], None] | None = None,
    publish: Publisher | None = None,
) -> UnitsResult:
    """Do a plan, or what is left of it.

    Args:
        plan: Frozen here, before any work; on a resume the units of the frozen one are done.
        stage_factory: Makes the stage on a worker.
        skeleton: Of the dataset.
        context: Output, executor, progress.
        resources: What one worker needs.
        bad_rows: What becomes of rows that break the stage.
        before_publish: Last check; what it raises keeps the manifest unpublished.
        publish: Makes the new version of all commits; by default they are added to what is there.

    Raises:
        PlanMismatchError: if the output holds another plan.
        PlanError: if rows of a run on top are in the dataset already.
        TooManyBadRowsError: if more rows are bad than the policy allows, in all attempts at the run together.
        PoolError: if units were given up; the others are committed, and running again tries only those.
    """
    store = open_store(context.out_url)
    resumed = freeze_plan(store, plan, context.accept_other_plan)
    if resumed:
        plan = read_plan(store, plan.run_id)
    done = PackedCommits(iter_commits(store, plan.run_id) if resumed else ())
    done_ids = set(done.unit_ids())
    left = [unit for unit in plan.units if unit.unit_id not in done_ids]
    n_before = len(plan.units) - len(left)
    beat = HeartbeatWriter(store, plan.run_id, done, len(left), plan.job)
    log = RunLog(store, plan.run_id, plan.job, context.progress.log)
    watch = RunWatch(context.progress, beat, log, RunMetrics(plan.run_id, plan.job))
    watch.start(plan.job, len(plan.units), "units", n_before)
    log.event("attempt_started", units=len(plan.units), units_before=n_before, code_version=plan.code_version)
    if resumed:
        watch.log(f"{plan.run_id}: {n_before} of {len(plan.units)} units were done before")
    with told_to_the_end(log, beat.end):
        limit = BadRowCount(store, bad_rows)
        for commit in done:
            limit.add(commit)

        def on_result(commit: UnitCommit) -> None:
            beat.unit_done(commit)
            watch.advance(plan.job)
            limit.add(commit)

        report = context.executor.run(
            stage_factory,
            left,
            on_result,
            name=plan.job,
            resources=resources,
            bad_rows=bad_rows,
            progress=watch,
        )
        beat.take(report)
        _refuse_failures(plan, report)
        if before_publish is not None:
            before_publish(store)
        commits = done.of_units(plan.run_id, (unit.unit_id for unit in plan.units), report.commits)
        refuse_repeated_rows(store, plan.run_id, commits, skeleton)
        if publish is not None:
            manifest = publish(store, commits)
        else:
            manifest = publish_manifest(store, plan.run_id, commits, skeleton, lineage=lineage_of(plan))
        log.event("published", version=manifest.version, rows=manifest.rows)
    watch.finish(plan.job)
    return UnitsResult(plan.run_id, manifest, commits, report)


def lineage_of(plan: Plan) -> dict[str, Any]:
    """What a manifest tells of the run that made it."""
    return {
        "job": plan.job,
        "recipe": dict(plan.recipe),
        "inputs": dict(plan.inputs),
        "weights": dict(plan.weights),
        "code_version": plan.code_version,
    }


def _refuse_failures(plan: Plan, report: ExecutionReport) -> None:
    if not report.failed:
        return
    shown = "\n".join(f"  {failed.unit_id}: {failed.failure}" for failed in report.failed[:_SHOWN_FAILURES])
    more = len(report.failed) - _SHOWN_FAILURES
    rest = f"\n  and {more} more" if more > 0 else ""
    first = report.failed[0].failure.traceback
    raise PoolError(
        f"{plan.run_id}: {len(report.failed)} of {len(plan.units)} units were given up:\n{shown}{rest}\n"
        f"The others are committed; mend the cause and run again, only these will be tried.\n{first}"
    )
