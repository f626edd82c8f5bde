"""A dry run: the units of a job, and from a probe of two of them its rows, bytes and hours. Nothing is left behind.

The probe runs the job itself into a temporary folder with an executor that does two units and stops it. The time
between the first result and the second one counts, so that loading models does not.
"""

import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic import BaseModel

from jobs.executors import InProcessSettings, RaySettings, executor_settings
from jobs.recipe import Recipe, load_recipe
from jobs.report.formatting import bytes_text, duration_text
from jobs.verbs import plan_function, run_function, settings_of, verb_of
from pipelines.context import RunContext
from pipelines.executor import BadRowPolicy, ExecutionReport, ResultCallback, StageFactory, WorkerResources
from pipelines.in_process import InProcessExecutor
from pipelines.plan import Plan, Unit
from pipelines.progress import Progress
from storage.commit import UnitCommit

_PROBED_UNITS = 2
_RESOURCES, _BAD_ROWS = WorkerResources(), BadRowPolicy.model_validate({})


class ProbeDone(Exception):  # noqa: N818 - it is no error
    """Ends a job after its probe; carries what was measured."""

    def __init__(self, probe: "Probe") -> None:
        super().__init__("probe done")
        self.probe = probe


@dataclass(frozen=True)
class Probe:
    """What one unit cost."""

    unit_id: str
    seconds: float
    pairs: int
    bytes: int
    rejected: int
    quarantined: int


@dataclass(frozen=True)
class PlanSummary:
    """What a recipe would do."""

    job: str
    out: str
    run_id: str = ""
    units: dict[str, int] = field(default_factory=dict)
    workers: int = 1
    probe: Probe | None = None
    remarks: list[str] = field(default_factory=list)

    @property
    def n_units(self) -> int:
        """Units of all kinds."""
        return sum(self.units.values())

    @property
    def hours(self) -> float | None:
        """Estimated, by the probe; None without one."""
        return self.probe.seconds * self.n_units / self.workers / 3600 if self.probe else None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        estimate = {
            "pairs": self.probe.pairs * self.n_units,
            "bytes": self.probe.bytes * self.n_units,
            "hours": self.hours,
        } if self.probe else None  # fmt: skip
        return {**asdict(self), "estimate": estimate}

    def lines(self) -> list[str]:
        """For a reader."""
        found = [f"{self.job} into {self.out}" + (f" ({self.run_id})" if self.run_id else "")]
        if self.units:
            found.append(f"  units     {', '.join(f'{n:,} {kind}' for kind, n in self.units.items())}")
        if self.probe and self.hours is not None:
            one, n = self.probe, self.n_units
            found.append(f"  probe     {one.unit_id}: {one.pairs:,} pairs in {duration_text(one.seconds)}")
            found.append(f"  estimate  {one.pairs * n:,} pairs, {bytes_text(one.bytes * n)}")
            found.append(
                f"  time      {duration_text(3600 * self.hours)} with {self.workers} workers like this machine's"
            )
        return found + [f"  {remark}" for remark in self.remarks]


def plan_recipe(name_or_path: str, changes: Sequence[str] = (), probe: bool = True) -> PlanSummary:
    """The plan of a recipe's job, and a probe of it.

    Raises:
        RecipeError: if the recipe cannot be used.
        PosemillError: what the job finds wrong with its inputs.
    """
    recipe = load_recipe(name_or_path, changes)
    settings = settings_of(recipe)
    workers = _workers(executor_settings(recipe.head.executor, recipe.where))
    planner = plan_function(recipe)
    if planner is None:
        remark = "this job trains or measures; it has no units to count, its length stands in its settings"
        return PlanSummary(recipe.head.job, recipe.head.out, workers=workers, remarks=[remark])
    found = planner(settings, recipe.head.seed)
    plan: Plan = found[0] if isinstance(found, tuple) else found
    kinds = dict(Counter(unit.kind for unit in plan.units))
    measured = _probe(recipe, settings) if probe and verb_of(recipe).has_units else None
    workers = min(workers, len(plan.units))
    return PlanSummary(
        recipe.head.job, recipe.head.out, plan.run_id, kinds, workers, measured, _remarks(settings)
    )


def _remarks(settings: BaseModel) -> list[str]:
    """What a build does after its import, whose units stand above."""
    from pipelines.build import BuildSettings

    if not isinstance(settings, BuildSettings):
        return []
    names = list(settings.variants())
    rounds = settings.loop.rounds + settings.loop.pretrain_rounds
    found = ["these are the units of the import; after it come"]
    found.append(
        f"  loops     {len(names)} ({', '.join(names)}) x {len(settings.seeds)} seeds, {rounds} rounds each"
    )
    if settings.augment is not None:
        parts = ", ".join(settings.augment.parts or ("every part",))
        found.append(f"  augment   {settings.augment.copies} copies of {parts}")
    return [*found, f"  evaluate  {', '.join(settings.evaluate.protocols)}"]


def _workers(settings: InProcessSettings | RaySettings) -> int:
    return settings.pool.workers if isinstance(settings, RaySettings) else 1


def _probe(recipe: Recipe, settings: BaseModel) -> Probe | None:
    with tempfile.TemporaryDirectory(prefix="posemill-probe-") as folder:
        try:
            run_function(recipe)(settings, RunContext(folder, ProbeExecutor(), recipe.head.seed))
        except ProbeDone as done:
            return done.probe
    return None


class ProbeExecutor:
    """Does two units from the middle of the plan in this process, then stops the job."""

    def run(
        self,
        stage_factory: StageFactory,
        units: Sequence[Unit],
        on_result: ResultCallback,
        *,
        name: str = "pool",
        resources: WorkerResources = _RESOURCES,
        bad_rows: BadRowPolicy = _BAD_ROWS,
        progress: Progress | None = None,
    ) -> ExecutionReport:
        """See `pipelines.executor.Executor.run`; always ends with ProbeDone."""
        del on_result, progress
        start = max(0, len(units) // 2 - 1)
        chosen = units[start : start + _PROBED_UNITS]
        times_s: list[float] = [time.monotonic()]
        commits: list[UnitCommit] = []

        def note(commit: UnitCommit) -> None:
            times_s.append(time.monotonic())
            commits.append(commit)

        report = InProcessExecutor().run(
            stage_factory, chosen, note, name=name, resources=resources, bad_rows=bad_rows
        )
        if not commits:
            return report
        last = commits[-1]
        raise ProbeDone(
            Probe(
                unit_id=last.unit_id,
                seconds=times_s[-1] - times_s[-2],
                pairs=last.rows,
                bytes=sum(file.bytes for file in last.files),
                rejected=sum(last.rejected.values()),
                quarantined=last.quarantined,
            )
        )

    def close(self) -> None:
        """Nothing to give back."""
