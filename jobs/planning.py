"""A dry run: the units of a job, and from a probe of one of them rows, bytes, hours, money. Leaves nothing behind."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic import BaseModel

from jobs.cost import Cost, cost_of, workers_on_nodes
from jobs.executors import InProcessSettings, RaySettings, executor_settings
from jobs.locate import joined
from jobs.probing import Probe, probe_recipe
from jobs.recipe import Recipe, load_recipe
from jobs.report.formatting import bytes_text, duration_text
from jobs.verbs import plan_function, settings_of, verb_of, weights_of
from pipelines.plan import Plan, Unit, plan_path, refusal_of
from storage.commit import list_commits
from storage.object_store import open_store

_FIRST_STEP = {"build": "datasets/source"}
"""Jobs of several steps: where the first one, whose units are counted, writes."""


@dataclass(frozen=True)
class Estimate:
    """What is left to do: pairs and bytes that it will give, and hours by the probe."""

    pairs: int
    bytes: int
    hours: float
    cost: Cost | None = None


@dataclass(frozen=True)
class PlanSummary:
    """What a recipe would do.

    Attributes:
        units: Of the plan, by kind; `units_done` of them are committed already.
        workers: Who would work on what is left at once.
        probe: What one unit cost here; None where a job has no units.
        estimate: For the units that are left.
        refused: Why the output would refuse this plan; "" if it would not.
        remarks: What the numbers do not say.
    """

    job: str
    out: str
    run_id: str = ""
    units: dict[str, int] = field(default_factory=dict)
    units_done: int = 0
    workers: int = 1
    probe: Probe | None = None
    estimate: Estimate | None = None
    refused: str = ""
    remarks: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    def lines(self) -> list[str]:
        """For a reader."""
        found = [f"{self.job} into {self.out}" + (f" ({self.run_id})" if self.run_id else "")]
        if self.units:
            done = f", {self.units_done:,} of them done" if self.units_done else ""
            found.append(f"  units     {', '.join(f'{n:,} {kind}' for kind, n in self.units.items())}{done}")
        if self.probe and self.estimate:
            found += self._estimate_lines(self.probe, self.estimate)
        found += [f"  {remark}" for remark in self.remarks]
        return [*found, *(f"  {line}" for line in f"refused   {self.refused}".splitlines() if self.refused)]

    def _estimate_lines(self, one: Probe, estimate: Estimate) -> list[str]:
        who = "1 worker" if self.workers == 1 else f"{self.workers:,} workers"
        found = [
            f"  probe     {one.unit_id}: {one.pairs:,} pairs, {bytes_text(one.bytes)} in {duration_text(one.seconds)}",
            f"  estimate  {estimate.pairs:,} pairs, {bytes_text(estimate.bytes)}",
            f"  time      {duration_text(3600 * estimate.hours)} with {who} like this machine's",
        ]
        return [*found, f"  cost      {estimate.cost.text()}"] if estimate.cost else found


_NOT_PROBED = (
    "no probe, so neither time nor cost: units cannot be tried alone; `posemill status` tells its rate"
)


def plan_recipe(name_or_path: str, changes: Sequence[str] = (), probe: bool = True) -> PlanSummary:
    """The plan of a recipe's job, and a probe of it.

    Raises:
        RecipeError: if the recipe cannot be used.
        PosemillError: what the job finds wrong with its inputs.
    """
    recipe = load_recipe(name_or_path, changes)
    settings = settings_of(recipe)
    executor = executor_settings(recipe.head.executor, recipe.where)
    workers = _workers(executor)
    planner = plan_function(recipe)
    if planner is None:
        remark = "this job trains or measures; it has no units to count, its length stands in its settings"
        return PlanSummary(recipe.head.job, recipe.head.out, workers=workers, remarks=[remark])
    found = planner(settings, recipe.head.seed)
    plan: Plan = found[0] if isinstance(found, tuple) else found
    done, refused = _standing(recipe, plan)
    left = [unit for unit in plan.units if unit.unit_id not in done]
    room = workers_on_nodes(recipe.head.cost, workers)
    measured, weights = None, None
    if probe and verb_of(recipe).has_units:
        weights = weights_of(recipe, settings, found)
        measured = probe_recipe(recipe, settings, isinstance(executor, RaySettings), weights)
    at_once = max(1, min(room, len(left)))
    return PlanSummary(
        job=recipe.head.job,
        out=recipe.head.out,
        run_id=plan.run_id,
        units=dict(Counter(unit.kind for unit in plan.units)),
        units_done=len(done),
        workers=at_once,
        probe=measured,
        estimate=_estimate(recipe, measured, left, at_once, weights) if measured else None,
        refused=refused,
        remarks=[
            *([] if verb_of(recipe).has_units else [_NOT_PROBED]),
            *_remarks(recipe, settings, measured, workers, room),
        ],
    )


def _estimate(
    recipe: Recipe, probe: Probe, left: Sequence[Unit], workers: int, weights: Mapping[str, int] | None
) -> Estimate:
    """Units count by their rows; workers take them in turns, and a last turn that is not full takes its time too."""
    if weights is None:
        sizes = [unit.rows / probe.unit_rows if probe.unit_rows and unit.rows else 1.0 for unit in left]
    else:
        sizes = [weights[unit.unit_id] / probe.unit_rows for unit in left]
    total = sum(sizes)
    turns = math.ceil(len(left) / workers) * total / len(left) if left else 0.0
    hours = probe.seconds * turns / 3600
    cost = cost_of(recipe.head.cost, workers, hours) if recipe.head.cost else None
    return Estimate(round(probe.pairs * total), round(probe.bytes * total), hours, cost)


def _standing(recipe: Recipe, plan: Plan) -> tuple[set[str], str]:
    """Units that the output has already, and why it would refuse the plan."""
    step = _FIRST_STEP.get(recipe.head.job)
    store = open_store(joined(recipe.head.out, step) if step else recipe.head.out)
    if store.exists(plan_path(plan.run_id)):
        return {commit.unit_id for commit in list_commits(store, plan.run_id)}, ""
    return set(), refusal_of(store, plan)


def _remarks(recipe: Recipe, settings: BaseModel, probe: Probe | None, workers: int, room: int) -> list[str]:
    """What the numbers do not say; of a build, what it does after its import, whose units stand above."""
    found: list[str] = []
    if room < workers:
        found.append(f"the nodes have room for {room} of the {workers} workers that the executor asks for")
    if probe is not None and not probe.warm:
        found.append("the only unit was measured cold: loading counts, so the time is an upper bound")
    return [*found, *_later_steps(settings)]


def _later_steps(settings: BaseModel) -> list[str]:
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
