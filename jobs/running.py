"""Runs a recipe: settings, executor and progress in; the recipe, `run.json` and the report beside the data out."""

import json
import platform
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, is_dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel

from jobs import doctor
from jobs.errors import RecipeError
from jobs.executors import InProcessSettings, executor_settings, make_executor
from jobs.locate import datasets_of_run, joined
from jobs.progress import BarProgress, LineProgress, progress_for
from jobs.recipe import Recipe, given_yaml, load_recipe, recipe_from_text, resolved_yaml
from jobs.redaction import HIDDEN, redacted
from jobs.report.formatting import duration_text
from jobs.verbs import run_function, settings_of
from pipelines.context import RunContext
from pipelines.errors import JobStoppedError
from pipelines.progress import Progress
from pipelines.spot_notice import notices_of
from pipelines.stopping import StopRequest, StopSettings, stopping_on_signals
from storage.object_store import ObjectStore, open_store

RECIPE_FILE, RESOLVED_FILE, RUN_FILE = "recipe.yaml", "recipe_resolved.yaml", "run.json"
_REPORTED_JOBS = ("build", "loop", "augment", "evaluate")


@dataclass(frozen=True)
class RunOutcome:
    """What a run left behind."""

    job: str
    out: str
    seconds: float
    datasets: dict[str, str]
    report: str | None
    result: dict[str, Any]
    ok: bool = True

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    def lines(self) -> list[str]:
        """For a reader: where everything is."""
        found = [f"{self.job} done in {duration_text(self.seconds)}"]
        found += [
            f"  {name + ' dataset' if name != 'dataset' else name:<18} {url}"
            for name, url in self.datasets.items()
        ]
        if self.report:
            found.append(f"  {'report':<18} {self.report}")
        return found


@dataclass
class StageClock:
    """A progress that passes everything on, remembers how long each task was open, and tells when work begins.

    Jobs open their first task when they have read their inputs and frozen their plan.
    """

    inner: Progress
    on_begin: Callable[[], object] = lambda: None
    begun: bool = False
    seconds: dict[str, float] = field(default_factory=dict)
    opened_s: dict[str, float] = field(default_factory=dict)

    def start(self, task: str, total: int | None, unit: str = "units", done: int = 0) -> None:
        """Open a task."""
        if not self.begun:
            self.begun = True
            self.on_begin()
        if not self.opened_s or task in self.opened_s:
            self.opened_s[task] = time.monotonic()
        self.inner.start(task, total, unit, done)

    def advance(self, task: str, amount: int = 1) -> None:
        """Count."""
        self.inner.advance(task, amount)

    def finish(self, task: str) -> None:
        """Close a task. One that is opened twice counts for both times, one inside another not at all."""
        opened_s = self.opened_s.pop(task, None)
        if opened_s is not None:
            self.seconds[task] = self.seconds.get(task, 0.0) + time.monotonic() - opened_s
        self.inner.finish(task)

    def log(self, message: str) -> None:
        """Pass a message on."""
        self.inner.log(message)


def run_recipe(
    name_or_path: str, changes: Sequence[str] = (), accept_other_plan: bool = False, quiet: bool = False
) -> RunOutcome:
    """Do what a recipe says.

    Raises:
        RecipeError: if the recipe cannot be used.
        PosemillError: whatever the job finds wrong.
    """
    return _run(load_recipe(name_or_path, changes), accept_other_plan, quiet)


def resume_run(out_url: str, changes: Sequence[str] = (), quiet: bool = False) -> RunOutcome:
    """Go on with the run in a folder, by the recipe that it keeps.

    Raises:
        RecipeError: if the folder holds no run, or its recipe had secrets that were not kept.
    """
    store = open_store(out_url)
    if not store.exists(RECIPE_FILE):
        raise RecipeError(
            f"{out_url}: there is no {RECIPE_FILE}; give the folder that `posemill run` writes (its `out`)"
        )
    text = store.read_bytes(RECIPE_FILE).decode("utf-8")
    recipe = recipe_from_text(text, joined(out_url, RECIPE_FILE), [f"out={json.dumps(out_url)}", *changes])
    if hidden := _hidden_keys(recipe.values):
        raise RecipeError(
            f"{recipe.where}: {', '.join(hidden)} held a secret, which is not kept; give it again with "
            f"`posemill resume {out_url} --set {hidden[0]}=...`"
        )
    return _run(recipe, accept_other_plan=False, quiet=quiet)


def _run(recipe: Recipe, accept_other_plan: bool, quiet: bool) -> RunOutcome:
    settings = settings_of(recipe)
    workers = executor_settings(recipe.head.executor, recipe.where)
    out_url = recipe.head.out
    store = open_store(out_url)
    stop = StopRequest(workers.stop.grace_s)
    executor = make_executor(workers, stop)
    started = datetime.now(UTC)
    clock_s = time.monotonic()
    with _terminal(quiet, out_url) as terminal:
        text = given_yaml(recipe).encode()
        clock = StageClock(terminal, lambda: store.put_if_absent(RECIPE_FILE, text))
        context = RunContext(out_url, executor, recipe.head.seed, clock, accept_other_plan, stop)
        with _stoppable(workers.stop, stop, terminal):
            try:
                result = run_function(recipe)(settings, context)
            finally:
                executor.close()
        store.write_bytes(RECIPE_FILE, text)
        store.write_bytes(RESOLVED_FILE, resolved_yaml(recipe, settings).encode())
        seconds = time.monotonic() - clock_s
        facts = _facts(recipe, workers, started, seconds)
        _write_run_file(store, recipe, facts, seconds, clock.seconds, result)
        report = _report(recipe, out_url, clock)
    return RunOutcome(
        recipe.head.job, out_url, seconds, datasets_of_run(out_url, store), report, _plain(result)
    )


@contextmanager
def _terminal(quiet: bool, out_url: str) -> Iterator["BarProgress | LineProgress"]:
    """The progress of a run; leaves the terminal in order, and says how to go on after a stop."""
    terminal = progress_for(sys.stderr, quiet)
    try:
        yield terminal
    except (KeyboardInterrupt, JobStoppedError):
        terminal.close()
        print(f"stopped; `posemill resume {out_url}` goes on from here", file=sys.stderr)
        raise
    finally:
        terminal.close()


def _stoppable(settings: StopSettings, stop: StopRequest, progress: Progress) -> AbstractContextManager[None]:
    """Signals and notices stop the job, where it runs in the main thread, which alone may set handlers."""
    if threading.current_thread() is not threading.main_thread():
        return nullcontext()
    notices = notices_of(settings.notice)
    return stopping_on_signals(stop, notices, settings.notice.every_s, progress.log)


def _report(recipe: Recipe, out_url: str, clock: StageClock) -> str | None:
    if recipe.head.job not in _REPORTED_JOBS:
        return None
    from jobs.report.publish import publish_report

    clock.start("report", None, "pages")
    written = publish_report(out_url)
    clock.advance("report")
    clock.finish("report")
    return written


def _facts(recipe: Recipe, workers: BaseModel, started: datetime, seconds: float) -> dict[str, str]:
    finished = datetime.now(UTC)
    who = "this process" if isinstance(workers, InProcessSettings) else f"Ray, {workers.pool.workers} workers"  # pyright: ignore[reportAttributeAccessIssue]
    return {
        "job": recipe.head.job,
        "recipe": recipe.where,
        "started": f"{started:%Y-%m-%d %H:%M} UTC",
        "finished": f"{finished:%Y-%m-%d %H:%M} UTC",
        "duration": duration_text(seconds),
        "seed": str(recipe.head.seed),
        "workers": who,
        "machine": f"{doctor.usable_cores()} cores, {platform.system()} {platform.machine()}",
    }


def _write_run_file(
    store: ObjectStore,
    recipe: Recipe,
    facts: dict[str, str],
    seconds: float,
    stage_seconds: dict[str, float],
    result: Any,
) -> None:
    document = {
        "name": recipe.head.name,
        "facts": facts,
        "seconds": round(seconds, 2),
        "stage_seconds": {name: round(seconds, 2) for name, seconds in stage_seconds.items()},
        "versions": {
            "posemill": doctor.own_version(),
            "python": platform.python_version(),
            **doctor.installed_versions(),
        },
        "result": _plain(result),
    }
    store.write_bytes(RUN_FILE, (json.dumps(redacted(document), indent=1, default=str) + "\n").encode())


def _plain(result: Any) -> dict[str, Any]:
    """What a job returned, as far as it is plain values: numbers, texts, and small mappings and lists of them."""
    if isinstance(result, BaseModel):
        values = result.model_dump(mode="json")
    elif is_dataclass(result) and not isinstance(result, type):
        values = {name: getattr(result, name) for name in result.__dataclass_fields__}
    else:
        return {}
    return {key: value for key, value in values.items() if _is_plain(value)}


def _is_plain(value: Any, depth: int = 0) -> bool:
    if value is None or isinstance(value, str | int | float | bool):
        return True
    if depth >= 3:
        return False
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(item, depth + 1) for key, item in value.items())
    return isinstance(value, list | tuple) and all(_is_plain(item, depth + 1) for item in value)


def _hidden_keys(values: Any, path: str = "") -> list[str]:
    if isinstance(values, dict):
        return [
            name
            for key, item in values.items()
            for name in _hidden_keys(item, f"{path}.{key}" if path else str(key))
        ]
    if isinstance(values, list):
        return [name for i, item in enumerate(values) for name in _hidden_keys(item, f"{path}.{i}")]
    return [path] if isinstance(values, str) and HIDDEN in values else []
