"""The probe of a plan: the job itself, run into a scratch folder with an executor that does two units and stops it.

The time of the second unit counts, so that loading models and filling caches does not.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from jobs.recipe import Recipe
from jobs.verbs import run_function
from pipelines.context import RunContext
from pipelines.executor import BadRowPolicy, ExecutionReport, ResultCallback, StageFactory, WorkerResources
from pipelines.in_process import InProcessExecutor
from pipelines.plan import Unit
from pipelines.progress import Progress
from storage.commit import UnitCommit

_PROBED_UNITS = 2
_RESOURCES, _BAD_ROWS = WorkerResources(), BadRowPolicy.model_validate({})


@dataclass(frozen=True)
class Probe:
    """What one unit cost.

    Attributes:
        unit_id: The unit that was measured.
        unit_rows: Its rows, by the plan or as weighed; 0 if the unit is not counted in rows.
        seconds: Warm, unless the plan has no second unit (`warm`).
        pairs, bytes: That it wrote.
        rejected, quarantined: Rows that it left out.
    """

    unit_id: str
    unit_rows: int
    seconds: float
    pairs: int
    bytes: int
    rejected: int
    quarantined: int
    warm: bool = True


class ProbeDone(Exception):  # noqa: N818 - it is no error
    """Ends a job after its probe; carries what was measured."""

    def __init__(self, probe: Probe) -> None:
        super().__init__("probe done")
        self.probe = probe


def probe_recipe(
    recipe: Recipe, settings: BaseModel, as_worker: bool, weights: Mapping[str, int] | None = None
) -> Probe | None:
    """Run a job's probe in a scratch folder, which is removed; None if it had no unit to do.

    Args:
        as_worker: Use as many torch threads as a worker of a pool has, not as this process has.
        weights: Rows of each unit by its id, where the plan does not know them; units without rows are not tried.
    """
    with tempfile.TemporaryDirectory(prefix="posemill-probe-") as folder:
        try:
            run_function(recipe)(
                settings, RunContext(folder, ProbeExecutor(as_worker, weights), recipe.head.seed)
            )
        except ProbeDone as done:
            return done.probe
    return None


class ProbeExecutor:
    """Does two units from the middle of the plan (by weight, if given) in this process, then stops the job."""

    def __init__(self, as_worker: bool = False, weights: Mapping[str, int] | None = None) -> None:
        self._as_worker = as_worker
        self._weights = weights

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
        weights = self._weights
        if weights is not None:
            units = sorted(
                (unit for unit in units if weights[unit.unit_id]), key=lambda u: weights[u.unit_id]
            )
        start = max(0, len(units) // 2 - 1)
        chosen = units[start : start + _PROBED_UNITS]

        def work(note: ResultCallback) -> ExecutionReport:
            return InProcessExecutor().run(
                stage_factory, chosen, note, name=name, resources=resources, bad_rows=bad_rows
            )

        with _torch_threads(resources.torch_threads if self._as_worker else 0):
            return _measured(work, weights or {unit.unit_id: unit.rows for unit in chosen})

    def close(self) -> None:
        """Nothing to give back."""


def _measured(work: Callable[[ResultCallback], ExecutionReport], rows: Mapping[str, int]) -> ExecutionReport:
    """Work, and raise ProbeDone with the last unit; the report if no unit was done."""
    times_s: list[float] = [time.monotonic()]
    commits: list[UnitCommit] = []

    def note(commit: UnitCommit) -> None:
        times_s.append(time.monotonic())
        commits.append(commit)

    report = work(note)
    if not commits:
        return report
    last = commits[-1]
    raise ProbeDone(
        Probe(
            unit_id=last.unit_id,
            unit_rows=rows.get(last.unit_id, 0),
            seconds=times_s[-1] - times_s[-2],
            pairs=last.rows,
            bytes=sum(file.bytes for file in last.files),
            rejected=sum(last.rejected.values()),
            quarantined=last.quarantined,
            warm=len(commits) > 1,
        )
    )


@contextmanager
def _torch_threads(count: int) -> Iterator[None]:
    """So many threads for torch; 0 leaves them."""
    if not count:
        yield
        return
    import torch

    before: Any = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
