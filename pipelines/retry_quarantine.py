"""The job `retry`: quarantined rows of a dataset, run again with today's code and published on top, once.

Every quarantined row names its run and unit; the run's frozen plan has the job's settings and the unit's payload. A
retry is a run of its own: small units of those rows, committed like any other, then one new version that has what
passes now and, in place of the old quarantine files, what still fails, with today's reason. The version is published
only if those files still are in the latest one, so a row is settled once, whoever retries and however often.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from pipelines.context import RunContext
from pipelines.errors import PlanError, PlanMismatchError
from pipelines.executor import BadRowPolicy
from pipelines.knobs import canonical_json, knob, recipe_of
from pipelines.open_quarantine import OpenFile, open_files, rows_of
from pipelines.plan import Plan, Unit, make_plan, read_plan
from pipelines.redaction import HIDDEN
from pipelines.retried_jobs import RETRIED_JOBS, RetriedJob
from pipelines.run_units import UnitsResult, lineage_of, run_units
from pipelines.stages.quarantined import QUARANTINE
from poses.identity import stable_id
from storage.commit import UnitCommit
from storage.manifest import Manifest, publish_manifest, read_manifest, renew_card
from storage.object_store import ObjectStore
from storage.quarantine import QuarantinedRow, count_whole_rows
from storage.reader import Dataset

RETRY = "retry"
_ROWS_PER_UNIT = 4
"""Few, so that a unit whose rows all fail again is not taken for a fault of the code."""


class RetryRecipe(BaseModel):
    """What a retry is made of; its plan's recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    job: str
    """Whose rows."""
    recipe: dict[str, Any]
    """Of the run that quarantined them, its seed included."""
    attempt: int = 0
    """Earlier retries of the same rows, by the same code, that settled nothing."""
    settings: dict[str, Any] = knob({})
    """Of that run, knobs included."""


@dataclass(frozen=True)
class RetryResult:
    """What became of the quarantined rows of one run.

    Attributes:
        run_id: Of the retry.
        of_run: The run that had quarantined them.
        retried: Rows that were run again.
        passed: Those of them that left the quarantine.
        pairs: That they gave.
        version: Of the dataset that has them; None if nothing changed, and nothing was published.
        reasons: Why the others are still bad: reason -> rows.
    """

    run_id: str
    of_run: str
    retried: int
    passed: int
    pairs: int
    version: int | None
    reasons: dict[str, int]


@dataclass(frozen=True)
class _Origin:
    """The run that quarantined rows: its plan, and the job that they were rows of."""

    plan: Plan
    name: str
    job: RetriedJob
    settings: BaseModel
    recipe: Mapping[str, Any]

    @property
    def seed(self) -> int:
        return int(self.recipe["seed"])


def retry_quarantine(context: RunContext, changes: Mapping[str, Any] | None = None) -> list[RetryResult]:
    """Run the quarantined rows of the dataset at `context.out_url` again, run by run.

    Args:
        context: Its seed does not count: each row is run with that of its run.
        changes: Run-time knobs to use instead of those of the run, such as where the source is now.

    Returns:
        One result for every run that has rows to retry; none if there are no such rows.

    Raises:
        DatasetError: if there is no published dataset.
        PlanError: if a run's plan or job is not known, or its settings lost a secret.
        PlanMismatchError: if a change, or a checkpoint that is another one now, would alter what the rows become.
        CommitConflictError: if another retry settled the rows meanwhile; nothing is published then.
    """
    dataset = Dataset.open(context.out_url)
    renew_card(
        dataset.store, dataset.manifest
    )  # a retry that died right after publishing leaves nothing else to do
    first = open_files(dataset, context.progress.log)
    results: list[RetryResult] = []
    for run_id in sorted({file.run_id for file in first}):
        dataset = Dataset.open(context.out_url)
        files = [file for file in open_files(dataset) if file.run_id == run_id]
        if files:
            results.append(_retry_run(dataset, files, context, changes or {}))
    return results


def _retry_run(
    dataset: Dataset, files: Sequence[OpenFile], context: RunContext, changes: Mapping[str, Any]
) -> RetryResult:
    store = dataset.store
    origin = _origin(read_plan(store, files[0].run_id), changes)
    _refuse_other_weights(store, origin)
    plan = _plan(store, origin, files)
    _tell_changed_inputs(origin.plan, plan, context)
    inner = replace(context, seed=origin.seed, accept_other_plan=True)
    done = run_units(
        plan,
        origin.job.factory(origin.settings, inner, plan.run_id),
        dataset.skeleton,
        inner,
        resources=origin.job.resources(origin.settings),
        bad_rows=BadRowPolicy(on_bad_row="quarantine", max_bad_rows=sum(unit.rows for unit in plan.units)),
        before_publish=lambda store: origin.job.before_publish(store, plan.run_id),
        publish=lambda store, commits: _publish(store, plan, commits, files, dataset),
    )
    store.write_bytes(_mark(plan.run_id), b"{}\n")
    return _result(store, files, done)


def _origin(plan: Plan, changes: Mapping[str, Any]) -> _Origin:
    """The job of a plan and its settings; a retry's rows are still those of the run before it."""
    name, kept, recipe = plan.job, plan.settings, plan.recipe
    if plan.job == RETRY:
        name, kept, recipe = plan.recipe["job"], plan.settings["settings"], plan.recipe["recipe"]
    if name not in RETRIED_JOBS:
        raise PlanError(
            f"{plan.run_id}: rows of the job {name!r} cannot be retried; wanted one of {', '.join(RETRIED_JOBS)}"
        )
    job = RETRIED_JOBS[name]
    if not kept:
        raise PlanError(
            f"{plan.run_id}: its plan has no settings, an older posemill froze it; make a new run on top instead"
        )
    values = _changed(kept, changes)
    if HIDDEN in canonical_json(values).decode():
        raise PlanError(
            f"{plan.run_id}: its settings held a secret, which is not kept; give that value again with --set"
        )
    try:
        settings, before = job.model.model_validate(values), job.model.model_validate(dict(kept))
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = ".".join(map(str, fault["loc"]))
        raise PlanError(f"{plan.run_id}: settings of the run, {where}: {fault['msg']}") from error
    if recipe_of(settings) != recipe_of(before):
        raise PlanMismatchError(
            f"{plan.run_id}: a retry may change where things are and how fast, not what rows become; wanted run-time "
            f"knobs (such as source), got {', '.join(changes)}; for another recipe make a new run on top"
        )
    return _Origin(plan, name, job, settings, recipe)


def _changed(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings with some of them replaced."""
    merged = dict(values)
    for key, value in changes.items():
        inner = merged.get(key)
        merged[key] = (
            _changed(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
        )
    return merged


def _refuse_other_weights(store: ObjectStore, origin: _Origin) -> None:
    now, there = origin.job.weights(origin.settings), dict(origin.plan.weights)
    if now != there:
        raise PlanMismatchError(
            f"{store.url}: other weights would make the rows of {origin.plan.run_id} now: {there} there, {now} now; "
            "put the file back, or make a new run on top (posemill run ... --on-top)"
        )


def _plan(store: ObjectStore, origin: _Origin, files: Sequence[OpenFile]) -> Plan:
    """The retry's plan. A retry that was killed goes on; after one that ended the next is another attempt."""
    units = [unit for file in files for unit in _units(origin, file)]
    inputs = {file.path: file.sha256 for file in files} | origin.job.inputs(origin.settings, units)
    attempt = 0
    while True:
        recipe = RetryRecipe(
            job=origin.name,
            recipe=dict(origin.recipe),
            attempt=attempt,
            settings=origin.settings.model_dump(mode="json"),
        )
        plan = make_plan(RETRY, recipe, origin.seed, units, inputs, origin.plan.weights)
        if not store.exists(_mark(plan.run_id)):
            return plan
        attempt += 1


def _mark(run_id: str) -> str:
    """A file that says that a retry came to its end."""
    return f"runs/{run_id}/ended.json"


def _units(origin: _Origin, file: OpenFile) -> list[Unit]:
    """Units of a few rows each; the first carries on what cannot be retried."""
    payload = next((unit.payload for unit in origin.plan.units if unit.unit_id == file.unit_id), None)
    if payload is None:
        raise PlanError(
            f"{origin.plan.run_id}: its plan has no unit {file.unit_id!r}, which {file.path} names"
        )
    units: list[Unit] = []
    for start in range(0, len(file.whole), _ROWS_PER_UNIT):
        numbers = file.whole[start : start + _ROWS_PER_UNIT]
        named = {"again": file.places(numbers), "carried": file.places(file.parts) if start == 0 else []}
        again = origin.job.payload(payload, [file.rows[number] for number in numbers])
        kind = "retry"
        name = f"{stable_id(file.run_id, file.unit_id):016x}-{start:06d}"
        units.append(Unit(name, kind, {**again, QUARANTINE: named}, rows=len(numbers)))
    return units


def _tell_changed_inputs(old: Plan, new: Plan, context: RunContext) -> None:
    """A file that was mended since is what a retry is for; say so."""
    for name in sorted({*old.inputs} & {*new.inputs}):
        if old.inputs[name] != new.inputs[name]:
            context.progress.log(f"{name}: another file than when it was quarantined")


def _publish(
    store: ObjectStore, plan: Plan, commits: Sequence[UnitCommit], files: Sequence[OpenFile], dataset: Dataset
) -> Manifest:
    """The next version, or the latest if every row fails for the reason that is known."""
    before = sorted(_verdict(row) for file in files for row in file.rows)
    after = sorted(_verdict(row) for row in _still_bad(store, commits))
    if before == after and not any(commit.rows for commit in commits):
        return read_manifest(store)
    replaced = [file.path for file in files]
    return publish_manifest(store, plan.run_id, commits, dataset.skeleton, lineage_of(plan), replaced)


def _verdict(row: QuarantinedRow) -> tuple[str, ...]:
    return row.source, str(row.row), row.stage, row.reason


def _still_bad(store: ObjectStore, commits: Sequence[UnitCommit]) -> list[QuarantinedRow]:
    return rows_of(
        store, [file.path for commit in commits for file in commit.files if file.kind == "quarantine"]
    )


def _result(store: ObjectStore, files: Sequence[OpenFile], done: UnitsResult) -> RetryResult:
    bad = _still_bad(store, done.commits)
    retried = sum(len(file.whole) for file in files)
    published = done.run_id in done.manifest.run_ids
    return RetryResult(
        run_id=done.run_id,
        of_run=files[0].run_id,
        retried=retried,
        passed=retried - count_whole_rows(bad),
        pairs=done.n_pairs,
        version=done.manifest.version if published else None,
        reasons=dict(Counter(row.reason for row in bad if row.unit_row is not None).most_common()),
    )
