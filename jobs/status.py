"""How far a run is: units committed of those planned, rounds of the loop, datasets published."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from jobs.errors import RecipeError
from jobs.locate import datasets_of_run, joined
from jobs.running import RECIPE_FILE, RUN_FILE
from pipelines.plan import stored_plans
from storage.commit import list_commits
from storage.manifest import read_manifest
from storage.object_store import ObjectStore, open_store


@dataclass(frozen=True)
class PlanStatus:
    """One plan of a run: where it writes, and how much of it is committed."""

    where: str
    run_id: str
    job: str
    units: int
    committed: int
    rows: int
    published: bool

    @property
    def done(self) -> bool:
        """Whether every unit is committed and in a manifest."""
        return self.committed >= self.units and self.published


@dataclass(frozen=True)
class RunStatus:
    """A run's folder as it is now."""

    out: str
    plans: list[PlanStatus]
    loop: dict[str, Any]
    datasets: dict[str, int]
    finished: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "plans": [{**asdict(plan), "done": plan.done} for plan in self.plans]}

    def lines(self) -> list[str]:
        """For a reader."""
        found = [f"{self.out}: {'finished' if self.finished else 'not finished; `posemill resume` goes on'}"]
        for plan in self.plans:
            state = (
                "done"
                if plan.done
                else "committed, not published"
                if plan.committed >= plan.units
                else "open"
            )
            found.append(
                f"  {plan.job:<10} {plan.run_id:<26} {plan.committed:,} of {plan.units:,} units, {plan.rows:,} pairs, {state}"
            )
        if self.loop:
            words = ", ".join(f"{name} {_number(value)}" for name, value in self.loop.items())
            found.append(f"  {'loop':<10} {words}")
        found += [f"  {'dataset':<10} {name}: {rows:,} pairs" for name, rows in self.datasets.items()]
        return found


def run_status(out_url: str) -> RunStatus:
    """Look into a run's folder.

    Raises:
        RecipeError: if there is no run.
    """
    store = open_store(out_url)
    roots = {"": store} | {
        path: open_store(joined(out_url, path)) for path in sorted(_dataset_folders(store))
    }
    plans = [status for where, root in roots.items() for status in _plans(root, where)]
    datasets = {
        name: read_manifest(open_store(url)).rows for name, url in datasets_of_run(out_url, store).items()
    }
    if not plans and not datasets and not store.exists(RECIPE_FILE):
        raise RecipeError(
            f"{out_url}: there is no run (no {RECIPE_FILE}, plan or dataset); give the `out` of a `posemill run`"
        )
    return RunStatus(out_url, plans, _loop(store), datasets, store.exists(RUN_FILE))


def _dataset_folders(store: ObjectStore) -> set[str]:
    return {"/".join(path.split("/")[:2]) for path in store.list("datasets") if path.count("/") >= 2}


def _plans(store: ObjectStore, where: str) -> list[PlanStatus]:
    found: list[PlanStatus] = []
    plans = stored_plans(store)
    published = (
        set(read_manifest(store).commits) if plans and store.exists("manifests/v000001.json") else set()
    )
    for plan in plans:
        commits = list_commits(store, plan.run_id)
        in_manifest = all(commit.key in published for commit in commits)
        rows = sum(commit.rows for commit in commits)
        found.append(
            PlanStatus(
                where,
                plan.run_id,
                plan.job,
                len(plan.units),
                len(commits),
                rows,
                bool(commits) and in_manifest,
            )
        )
    return found


def _loop(store: ObjectStore) -> dict[str, Any]:
    """The last line of the loop's metrics, in short."""
    if not store.exists("loop/metrics.jsonl"):
        return {}
    lines = [line for line in store.read_bytes("loop/metrics.jsonl").decode().splitlines() if line.strip()]
    last = json.loads(lines[-1]) if lines else {}
    shown = ("epoch", "iteration", "loss_generator", "loss_lifter", "kept_fraction", "validation_mpjpe_mm")
    return {name: last[name] for name in shown if name in last}


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
