"""What a job is going to do, written down before it does it.

A plan is the list of units of work and a `run_id`, a digest of everything that decides the result: recipe
(less run-time knobs), seed, input digests, weight digests and code version. It is frozen in
`runs/<run_id>/plan.json`; running the same plan again resumes it, another plan on the same output is refused
with the difference in words.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from pipelines.errors import PlanError, PlanMismatchError
from pipelines.knobs import canonical_json, code_version, recipe_of
from storage.object_store import ObjectStore

PLAN_FORMAT = 1
_MAX_DIFFERENCES = 12
_ABSENT = object()


@dataclass(frozen=True)
class Unit:
    """The smallest piece of work that is retried and committed.

    Attributes:
        unit_id: Unique in its plan; names the commit.
        kind: Which stage does it, such as "augment".
        payload: JSON values that tell the stage what to do.
        rows: Number of rows that a bad unit can be searched by, numbered 0 to rows - 1; 0 if it cannot be
            split.
    """

    unit_id: str
    kind: str
    payload: Mapping[str, Any] = field(default_factory=dict)
    rows: int = 0


@dataclass(frozen=True)
class Plan:
    """A frozen list of units and what it depends on.

    Attributes:
        run_id: `<job>-<digest>`; equal for equal recipe, seed, inputs, weights and code.
        job: The verb: import, augment, ...
        units: In the order in which they are started.
        recipe: The job's settings without run-time knobs, and the seed under "seed".
        inputs: Digest of every input, by name.
        weights: Digest of every checkpoint, by name.
        code_version: See `pipelines.knobs.code_version`.
    """

    run_id: str
    job: str
    units: tuple[Unit, ...]
    recipe: Mapping[str, Any]
    inputs: Mapping[str, str]
    weights: Mapping[str, str]
    code_version: str

    def identity(self) -> dict[str, Any]:
        """What the `run_id` is a digest of."""
        return {
            "job": self.job,
            "recipe": dict(self.recipe),
            "inputs": dict(self.inputs),
            "weights": dict(self.weights),
            "code_version": self.code_version,
        }


def make_plan(
    job: str,
    settings: BaseModel,
    seed: int,
    units: Sequence[Unit],
    inputs: Mapping[str, str],
    weights: Mapping[str, str] | None = None,
    version: str | None = None,
) -> Plan:
    """A plan with its `run_id`.

    Args:
        version: Code version; by default that of the running code.

    Raises:
        PlanError: if there are no units, two units share an id, or the recipe is not JSON.
    """
    seen: set[str] = set()
    for unit in units:
        if unit.unit_id in seen:
            raise PlanError(f"job {job!r}: two units are called {unit.unit_id!r}; unit ids must be unique")
        seen.add(unit.unit_id)
    if not units:
        raise PlanError(
            f"job {job!r}: there is nothing to do: the inputs give no unit; check the paths and filters"
        )
    recipe = {**recipe_of(settings), "seed": seed}
    unnamed = Plan(
        "", job, tuple(units), recipe, dict(inputs), dict(weights or {}), version or code_version()
    )
    try:
        digest = hashlib.sha256(canonical_json(unnamed.identity())).hexdigest()
    except (TypeError, ValueError) as error:
        raise PlanError(f"job {job!r}: the recipe cannot be written as JSON: {error}") from error
    return Plan(f"{job}-{digest[:16]}", *_fields_after_id(unnamed))


def _fields_after_id(plan: Plan) -> tuple[Any, ...]:
    return plan.job, plan.units, plan.recipe, plan.inputs, plan.weights, plan.code_version


def plan_path(run_id: str) -> str:
    """Where a plan stands inside its dataset."""
    return f"runs/{run_id}/plan.json"


def plan_to_json(plan: Plan) -> bytes:
    """The plan as readable JSON, equal bytes for equal plans."""
    units = [
        {"unit_id": unit.unit_id, "kind": unit.kind, "rows": unit.rows, "payload": dict(unit.payload)}
        for unit in plan.units
    ]
    document = {"format": PLAN_FORMAT, "run_id": plan.run_id, **plan.identity(), "units": units}
    return json.dumps(document, indent=1, sort_keys=True, allow_nan=False).encode()


def plan_from_json(data: bytes, where: str) -> Plan:
    """A plan as `plan_to_json` wrote it.

    Raises:
        PlanError: if it is damaged or from a newer version.
    """
    try:
        document = json.loads(data)
        if document["format"] != PLAN_FORMAT:
            raise PlanError(
                f"{where}: plan format {document['format']}, this posemill reads {PLAN_FORMAT}; update posemill"
            )
        units = tuple(
            Unit(unit["unit_id"], unit["kind"], unit["payload"], unit["rows"]) for unit in document["units"]
        )
        keys = ("recipe", "inputs", "weights", "code_version")
        return Plan(document["run_id"], document["job"], units, *(document[key] for key in keys))
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise PlanError(
            f"{where}: not a plan ({error!r}); the file is damaged, write to a new output"
        ) from error


def stored_plans(store: ObjectStore) -> list[Plan]:
    """All plans of a dataset, by run id."""
    paths = [path for path in store.list("runs") if path.count("/") == 2 and path.endswith("/plan.json")]
    return [plan_from_json(store.read_bytes(path), path) for path in sorted(paths)]


def freeze_plan(store: ObjectStore, plan: Plan, accept_other_plan: bool = False) -> bool:
    """Write the plan into its dataset before any work.

    Returns:
        True if the same plan was there already, that is, the job is resumed.

    Raises:
        PlanMismatchError: if the output holds another plan of the same job and `accept_other_plan` is off.
    """
    others: list[Plan] = []
    for known in stored_plans(store):
        if known.run_id == plan.run_id:
            return True
        others.append(known)
    if others and not accept_other_plan:
        nearest = next((other for other in others if other.job == plan.job), others[0])
        raise PlanMismatchError(
            f"{store.url}: holds another plan, {nearest.run_id}; wanted {plan.run_id}.\n"
            f"{describe_difference(nearest, plan)}\n"
            "Give another output, go back to the first recipe to resume it, or accept the other plan to add to it."
        )
    return not store.put_if_absent(plan_path(plan.run_id), plan_to_json(plan))


def describe_difference(old: Plan, new: Plan) -> str:
    """What differs between two plans, one line each, such as `  recipe.copies: 4 there, 8 now`."""
    lines = list(_differences("", old.identity(), new.identity()))
    if not lines:
        return "  the plans are alike"
    shown = [f"  {line}" for line in lines[:_MAX_DIFFERENCES]]
    if len(lines) > len(shown):
        shown.append(f"  and {len(lines) - len(shown)} more differences")
    return "\n".join(shown)


def _differences(name: str, old: Any, new: Any) -> list[str]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        found: list[str] = []
        for key in sorted({*old, *new}):
            found += _differences(
                f"{name}.{key}" if name else str(key), old.get(key, _ABSENT), new.get(key, _ABSENT)
            )
        return found
    if old is not _ABSENT and new is not _ABSENT and canonical_json(old) == canonical_json(new):
        return []
    return [f"{name}: {_shown(old)} there, {_shown(new)} now"]


def _shown(value: Any) -> str:
    if value is _ABSENT:
        return "absent"
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
