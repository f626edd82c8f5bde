"""What a worker does with a task, in this process or in a Ray actor: exceptions become `Failure` values.

This is the one place where any exception of a stage is caught: the supervisor decides what becomes of it, and
nothing is lost, because a failure ends as a retry, a bad row with its traceback, or a unit that is given up
by name.
"""

import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from pipelines.errors import UnitError
from pipelines.executor import Failure, FailureKind, SplittableStage
from pipelines.micro_batch import (
    halve_micro_batch,
    is_gpu_memory_error,
    limit_micro_batch,
    micro_batch_rows_of,
)
from pipelines.stage_chain import RowRange
from pipelines.supervision import Task
from storage.commit import UnitCommit
from storage.errors import StoreFullError


@dataclass(frozen=True)
class Outcome:
    """What came of a task: a commit, a failure, or neither (a probe that passed, a value for the next stage).

    Attributes:
        micro_batch_rows: Rows that the stage computes at once from now on, if a GPU's memory made it change.
    """

    commit: UnitCommit | None = None
    failure: Failure | None = None
    micro_batch_rows: int | None = None


def failure_of(error: Exception) -> Failure:
    """The failure that an exception stands for. A GPU without memory may have some later, or elsewhere; a disk
    that is full stays full until somebody makes room."""
    kind: FailureKind = "raised"
    if isinstance(error, UnitError):
        kind = "whole_unit"
    elif isinstance(error, StoreFullError):
        kind = "no_room"
    elif (isinstance(error, OSError) and not isinstance(error, FileNotFoundError)) or is_gpu_memory_error(
        error
    ):
        kind = "transient"
    message = " ".join(str(error).split()) or "(no message)"
    return Failure(kind, type(error).__name__, message, "".join(traceback.format_exception(error)))


def set_up(stage: Any) -> Failure | None:
    """Set a stage up; the failure, if it fails."""
    try:
        stage.setup()
    except Exception as error:
        return failure_of(error)
    return None


def _limit_torch(threads: int) -> None:
    """Threads of torch, now or when the stage imports it; importing it here would cost the others seconds."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)


def rows_of(task: Task) -> RowRange:
    """The rows of its unit that a task is about."""
    if task.action == "probe":
        return RowRange(task.start_row, task.stop_row)
    return RowRange(0, task.unit.rows, tuple(bad.row for bad in task.bad_rows))


class StageWorker:
    """A stage and its state on one worker; `ray.remote(StageWorker)` makes it an actor.

    Args:
        stage_factory: Makes the stage, in the worker's process: a `Stage`, or one of a chain.
        torch_threads: Threads of torch; one per CPU actor, or neighbours starve each other. 0 leaves them as
            they are.
        stage_name: Of a chain; failures carry it.
        micro_batch_rows: What a GPU's memory allowed the others of the pool.
    """

    def __init__(
        self,
        stage_factory: Callable[[], Any],
        torch_threads: int = 0,
        stage_name: str = "",
        micro_batch_rows: int | None = None,
    ) -> None:
        self._stage_factory = stage_factory
        self._torch_threads = torch_threads
        self._stage_name = stage_name
        self._micro_batch_rows = micro_batch_rows
        self._stage: Any = None

    def setup(self) -> Failure | None:
        """Build the stage and set it up; the failure, if it fails."""
        if self._torch_threads:
            _limit_torch(self._torch_threads)
        try:
            self._stage = self._stage_factory()
        except Exception as error:
            return failure_of(error)
        failure = set_up(self._stage)
        limit_micro_batch(self._stage, self._micro_batch_rows)
        return failure

    def setup_and_describe(self) -> tuple[Failure | None, bool]:
        """Set up; the failure, if it fails, and whether the stage can probe rows."""
        return self.setup(), self.splittable()

    def place(self) -> tuple[str, int]:
        """Ray's id of the node where this runs, and the process id."""
        import ray

        return ray.get_runtime_context().get_node_id(), os.getpid()

    def splittable(self) -> bool:
        """Whether the stage can probe rows; those of a chain all can."""
        return isinstance(self._stage, SplittableStage) or not hasattr(self._stage, "run")

    def perform(self, task: Task, value: Any = None) -> Outcome:
        """Do a task to its end.

        Args:
            value: In a chain, what the stage before made of it.

        Raises:
            RuntimeError: if `setup` was not called or failed.
        """
        return self._attempt(task, value)[0]

    def transform(self, task: Task, value: Any = None) -> tuple[Outcome, Any]:
        """Do a task as any stage of a chain but the last: the outcome, and the value for the next stage.

        Raises:
            RuntimeError: if `setup` was not called or failed.
        """
        return self._attempt(task, value)

    def _attempt(self, task: Task, value: Any) -> tuple[Outcome, Any]:
        """Again with half as many rows at once, as long as the GPU's memory is the trouble."""
        if self._stage is None:
            raise RuntimeError("a worker was given a unit before its stage was set up")
        rows_before = micro_batch_rows_of(self._stage)
        while True:
            made, failure, halve = self._once(task, value)
            if not (halve and halve_micro_batch(self._stage)):
                break
        rows = micro_batch_rows_of(self._stage)
        changed = rows if rows != rows_before else None
        if failure is not None:
            return Outcome(failure=replace(failure, stage=self._stage_name), micro_batch_rows=changed), None
        if isinstance(made, UnitCommit):
            return Outcome(commit=made, micro_batch_rows=changed), None
        return Outcome(micro_batch_rows=changed), made

    def _once(self, task: Task, value: Any) -> tuple[Any, Failure | None, bool]:
        """What the stage made, or its failure, and whether that is the GPU's memory."""
        try:
            return self._call(task, value), None, False
        except Exception as error:
            return None, failure_of(error), is_gpu_memory_error(error)

    def _call(self, task: Task, value: Any) -> Any:
        stage = self._stage
        if hasattr(stage, "transform"):
            return stage.transform(task.unit, rows_of(task), value)
        alone = hasattr(stage, "run")
        if task.action == "run":
            return (
                stage.run(task.unit, task.bad_rows)
                if alone
                else stage.commit(task.unit, value, task.bad_rows)
            )
        if not alone:
            return stage.check(task.unit, rows_of(task), value)
        if not isinstance(stage, SplittableStage):
            raise TypeError(f"stage {type(stage).__name__} has no `probe`, and cannot be searched for rows")
        return stage.probe(task.unit, task.start_row, task.stop_row)


class ChainWorker:
    """All stages of a chain in this process, one after the other, as one worker.

    Args:
        workers: One for every stage, in order.
    """

    def __init__(self, workers: list[StageWorker]) -> None:
        self._workers = workers

    def setup(self) -> Failure | None:
        """Set up every stage; the first failure ends it."""
        return next(filter(None, (worker.setup() for worker in self._workers)), None)

    def splittable(self) -> bool:
        """Whether every stage can probe rows."""
        return all(worker.splittable() for worker in self._workers)

    def perform(self, task: Task) -> Outcome:
        """A task through the whole chain."""
        value = None
        for worker in self._workers[:-1]:
            outcome, value = worker.transform(task, value)
            if outcome.failure is not None:
                return outcome
        return self._workers[-1].perform(task, value)
