"""What a job is going to do, written down before it does it.

A plan is the list of units of work and a `run_id`, a digest of everything that decides the result: recipe
(less run-time knobs), seed, input digests, weight digests and code version. It is frozen in
`runs/<run_id>/plan.json`; running the same plan again resumes it, another plan on the same output is refused
with the difference in words.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import BaseModel

from pipelines.errors import PlanError, PlanMismatchError
from pipelines.knobs import canonical_json, code_version, recipe_of
from pipelines.plan_difference import describe_difference, what_to_do
from pipelines.redaction import redacted
from storage.object_store import ObjectStore, read_if_there

PLAN_FORMAT = 1


@dataclass(frozen=True, slots=True)
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
        settings: All settings with their run-time knobs and without secrets, as whoever froze the plan had them;
            no part of the identity. `posemill retry-quarantine` reads them.
    """

    run_id: str
    job: str
    units: tuple[Unit, ...]
    recipe: Mapping[str, Any]
    inputs: Mapping[str, str]
    weights: Mapping[str, str]
    code_version: str
    settings: Mapping[str, Any] = field(default_factory=dict, compare=False)

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
    return replace(
        unnamed, run_id=f"{job}-{digest[:16]}", settings=redacted(settings.model_dump(mode="json"))
    )


def plan_path(run_id: str) -> str:
    """Where a plan stands inside its dataset."""
    return f"runs/{run_id}/plan.json"


def plan_to_json(plan: Plan) -> bytes:
    """The plan as readable JSON, equal bytes for equal plans."""
    units = (
        {"unit_id": unit.unit_id, "kind": unit.kind, "rows": unit.rows, "payload": dict(unit.payload)}
        for unit in plan.units
    )
    document = {
        "format": PLAN_FORMAT,
        "run_id": plan.run_id,
        **json.loads(canonical_json(plan.identity())),
        "settings": plan.settings,  # read back, and the order of a mapping may matter in them
        "units": [],
    }
    head = json.dumps(document, indent=1, allow_nan=False)
    lines = ",\n".join(
        json.dumps(unit, allow_nan=False) for unit in units
    )  # a line each: indenting is ten times slower
    return (head.removesuffix('"units": []\n}') + f'"units": [\n{lines}\n ]\n}}').encode()


def plan_from_json(data: bytes, where: str) -> Plan:
    """A plan as `plan_to_json` wrote it.

    Raises:
        PlanError: if it is damaged or from a newer version.
    """
    try:
        document = json.loads(data)
        if document["format"] == PLAN_FORMAT:
            return _plan_of(document)
        found = str(document["format"])[:40]
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise PlanError(
            f"{where}: not a plan ({error!r}); the file is damaged, write to a new output"
        ) from error
    raise PlanError(f"{where}: plan format {found}, this posemill reads {PLAN_FORMAT}; update posemill")


def _plan_of(document: Mapping[str, Any]) -> Plan:
    """The plan in a document of this format; KeyError, TypeError or ValueError where it is damaged."""
    units = tuple(
        Unit(unit["unit_id"], unit["kind"], unit["payload"], unit["rows"]) for unit in document["units"]
    )
    texts = [document["run_id"], document["job"], document["code_version"]]
    tables = [document["recipe"], document["inputs"], document["weights"], document.get("settings", {})]
    texts += [text for unit in units for text in (unit.unit_id, unit.kind)]
    tables += [unit.payload for unit in units]
    if not (all(isinstance(one, str) for one in texts) and all(isinstance(one, dict) for one in tables)):
        raise TypeError("a name that is no text, or a table that has no keys")
    if not all(isinstance(unit.rows, int) for unit in units):
        raise TypeError("a number of rows that is none")
    return Plan(
        run_id=document["run_id"],
        job=document["job"],
        units=units,
        recipe=document["recipe"],
        inputs=document["inputs"],
        weights=document["weights"],
        code_version=document["code_version"],
        settings=document.get("settings", {}),
    )


def stored_run_ids(store: ObjectStore) -> list[str]:
    """Run ids of all plans of a dataset, sorted."""
    paths = [path for path in store.list("runs") if path.count("/") == 2 and path.endswith("/plan.json")]
    return sorted(path.split("/")[1] for path in paths)


def stored_plans(store: ObjectStore) -> list[Plan]:
    """All plans of a dataset, by run id; one that was given up since it was listed is left out."""
    found = ((plan_path(run_id), read_if_there(store, plan_path(run_id))) for run_id in stored_run_ids(store))
    return [plan_from_json(data, path) for path, data in found if data is not None]


def read_plan(store: ObjectStore, run_id: str) -> Plan:
    """The plan of a run, as it was frozen.

    Raises:
        PlanError: if there is none, or it is damaged.
    """
    path = plan_path(run_id)
    if not store.exists(path):
        raise PlanError(f"{store.url}: wanted the plan of run {run_id}, found no {path}; was runs/ deleted?")
    return plan_from_json(store.read_bytes(path), path)


def freeze_plan(store: ObjectStore, plan: Plan, accept_other_plan: bool = False) -> bool:
    """Write the plan into its dataset before any work.

    Args:
        accept_other_plan: A plan other than those that are there is frozen beside them: a new run on top.

    Returns:
        True if the same plan was there already, that is, the job is resumed.

    Raises:
        PlanMismatchError: if the output holds another plan and `accept_other_plan` is off. Of two jobs that begin
            different plans at the same moment at most one goes on.
    """
    path = plan_path(plan.run_id)
    if store.exists(path):
        return True
    if not accept_other_plan and (refusal := refusal_of(store, plan)):
        raise PlanMismatchError(refusal)
    if not store.put_if_absent(path, plan_to_json(plan)):
        return True
    if not accept_other_plan and (others := sorted({*stored_run_ids(store)} - {plan.run_id})):
        # Another driver looked before this plan was there, and wrote its own; whoever sees the other one gives way.
        store.delete(path)
        raise PlanMismatchError(
            f"{store.url}: another job began here at the same moment, with the plan {', '.join(others)}; this one is "
            f"{plan.run_id}. Nothing was done; run it again, and if it is refused then, with another output or --on-top"
        )
    return False


def refusal_of(store: ObjectStore, plan: Plan) -> str:
    """Why the plan would be refused in this output: what changed, and how to go on; "" if it would not."""
    others = stored_plans(store)
    if not others or any(other.run_id == plan.run_id for other in others):
        return ""
    alike = [other for other in others if other.job == plan.job]
    nearest = min(alike or others, key=lambda other: len(describe_difference(other, plan)))
    return (
        f"{store.url}: holds another plan, {nearest.run_id}; this one is {plan.run_id}. What changed:\n"
        f"{describe_difference(nearest, plan)}\nNothing was done. To go on:\n{what_to_do(nearest, plan, store.url)}"
    )
