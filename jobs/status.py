"""How far a run is: every plan below its folder, the last line of its loop, the datasets that are published."""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from jobs.errors import RecipeError
from jobs.locate import datasets_of_run, joined
from jobs.progress import rate_text
from jobs.report.formatting import bytes_text, duration_text
from jobs.running import RECIPE_FILE, RUN_FILE
from pipelines.status import RunStatus, run_status
from storage.manifest import read_manifest
from storage.object_store import ObjectStore, open_store

_LOOP_NUMBERS = (
    "epoch",
    "iteration",
    "loss_generator",
    "loss_lifter",
    "kept_fraction",
    "validation_mpjpe_mm",
)
_ORDER = {"import": 0, "loop": 1, "augment": 2, "retry": 3}
_SHOWN_WORKERS = 10
_ADVICE = {
    "silent": "no sign of life for {silent}; if it is dead, `posemill resume` goes on",
    "dead": "its process ({pid} on {host}) is gone; `posemill resume` goes on",
    "failed": "mend the cause; then `posemill resume`, or the same `posemill run`, tries again what is left",
    "stopped": "`posemill resume` goes on",
    "waiting": "not started yet",
}


@dataclass(frozen=True)
class FolderStatus:
    """What stands in the folder of a run."""

    out: str
    finished: bool
    runs: list[RunStatus]
    loop: dict[str, Any]
    datasets: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @property
    def ended(self) -> bool:
        """Whether nothing is at work any more, as far as the files tell."""
        conditions = {run.condition for run in self.runs}
        if conditions & {"running", "silent"}:
            return False
        return self.finished or (
            "waiting" not in conditions and bool(conditions & {"failed", "stopped", "dead"})
        )

    def lines(self) -> list[str]:
        """For a reader."""
        found = [f"{self.out}: {'finished' if self.finished else 'not finished'}"]
        for run in sorted(self.runs, key=lambda run: _ORDER.get(run.job, len(_ORDER))):
            found += _run_lines(run, time.time(), self.out)
        if self.loop:
            found.append(
                "  loop      " + ", ".join(f"{name} {_number(value)}" for name, value in self.loop.items())
            )
        return found + [f"  dataset   {name}: {rows:,} pairs" for name, rows in self.datasets.items()]


def folder_status(out_url: str) -> FolderStatus:
    """Look into a run's folder; works on a run that is elsewhere or dead.

    Raises:
        RecipeError: if there is no run.
    """
    store = open_store(out_url)
    roots = [
        out_url,
        *(joined(out_url, path) for path in sorted(_dataset_folders(store) | _loop_folders(store))),
    ]
    runs = [run for url in roots if open_store(url).list("runs") for run in run_status(url)]
    datasets = {
        name: read_manifest(open_store(url)).rows for name, url in datasets_of_run(out_url, store).items()
    }
    if not runs and not datasets and not store.exists(RECIPE_FILE):
        raise RecipeError(
            f"{out_url}: there is no run (no {RECIPE_FILE}, plan or dataset); give the `out` of a `posemill run`"
        )
    return FolderStatus(out_url, store.exists(RUN_FILE), runs, _loop(store), datasets)


def _run_lines(run: RunStatus, now_unix_s: float, out_url: str) -> list[str]:
    """One run: how far, how fast, what failed, who works on what."""
    made = f", {run.rows:,} pairs, {bytes_text(run.bytes)}" if run.counts == "units" else ""
    below = run.url.removeprefix(open_store(out_url).url).strip("/") if run.job == "loop" else ""
    pace = [
        f"{rate_text(run.units_per_s)}" if run.units_per_s and run.condition == "running" else "",
        f"{duration_text(run.remaining_s)} to go" if run.remaining_s and run.condition == "running" else "",
        f"{run.quarantined:,} in quarantine" if run.quarantined else "",
    ]
    rest = "".join(f", {text}" for text in pace if text)
    found = [
        f"  {run.job:<9} {f'{below}, ' if below else ''}{run.run_id}: {run.condition}, "
        f"{run.units_done:,} of {run.units_total:,} {run.counts}{made}{rest}"
    ]
    advice = _ADVICE.get(run.condition, "").format(
        silent=duration_text(run.silent_s or 0.0), pid=run.pid, host=run.host
    )
    found += [f"    {text}" for text in (run.error, advice) if text]
    counts = {"given up": run.failures, "tried again": run.retries}
    found += [
        f"    {what:<11} {', '.join(f'{count:,} x {name}' for name, count in sorted(classes.items()))}"
        for what, classes in counts.items()
        if classes
    ]
    if run.workers_lost:
        found.append(f"    {'lost':<11} {run.workers_lost:,} workers")
    return found + _pool_lines(run, now_unix_s)


def _pool_lines(run: RunStatus, now_unix_s: float) -> list[str]:
    pool = run.pool
    if pool is None or run.condition not in ("running", "silent", "dead"):
        return []
    had = "had" if run.condition == "dead" else "has"
    found = [
        f"    pool        {pool['name']}: {had} {pool['size']:,} of {pool['wanted']:,} workers, "
        f"{pool['units_open']:,} units open"
    ]
    shown = pool["workers"][:_SHOWN_WORKERS]
    found += [f"      {_worker_text(worker, now_unix_s)}" for worker in shown]
    rest = pool["size"] - len(shown)
    return [*found, f"      and {rest:,} more (--json has them)"] if rest > 0 else found


def _worker_text(worker: Mapping[str, Any], now_unix_s: float) -> str:
    holds = ", ".join(f"{amount:g} {name}" for name, amount in worker["resources"].items() if amount)
    where = f" on {worker['node'][:16]}" if worker["node"] else ""
    since = duration_text(max(0.0, now_unix_s - worker["since_unix_s"]))
    doing = (
        f"{worker['action']} {worker['unit_id']} for {since}" if worker["unit_id"] else f"idle for {since}"
    )
    return f"{worker['worker_id']}{where}{f' ({holds})' if holds else ''}: {doing}, {worker['units_done']:,} done"


def _dataset_folders(store: ObjectStore) -> set[str]:
    return {"/".join(path.split("/")[:2]) for path in store.list("datasets") if path.count("/") >= 2}


def _loop_folders(store: ObjectStore) -> set[str]:
    """The loops of a build: the one whose augmentor it uses, and those that it is compared with."""
    compared = {"/".join(path.split("/")[:3]) for path in store.list("compare") if "/runs/" in path}
    return compared | ({"loop"} if store.list("loop/runs") else set())


def _loop(store: ObjectStore) -> dict[str, Any]:
    """The last line of the loop's metrics, in short."""
    if not store.exists("loop/metrics.jsonl"):
        return {}
    lines = [line for line in store.read_bytes("loop/metrics.jsonl").decode().splitlines() if line.strip()]
    last = json.loads(lines[-1]) if lines else {}
    return {name: last[name] for name in _LOOP_NUMBERS if name in last}


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
