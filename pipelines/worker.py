"""What a worker does with a task, in this process or in a Ray actor: exceptions become `Failure` values.

This is the one place where any exception of a stage is caught: the supervisor decides what becomes of it, and
nothing is lost, because a failure ends as a retry, a bad row with its traceback, or a unit that is given up
by name.
"""

import traceback
from dataclasses import dataclass

from pipelines.errors import UnitError
from pipelines.executor import Failure, FailureKind, SplittableStage, Stage, StageFactory
from pipelines.supervision import Task
from storage.commit import UnitCommit


@dataclass(frozen=True)
class Outcome:
    """What came of a task: a commit, a failure, or neither (a probe that passed)."""

    commit: UnitCommit | None = None
    failure: Failure | None = None


def failure_of(error: Exception) -> Failure:
    """The failure that an exception stands for."""
    kind: FailureKind = "raised"
    if isinstance(error, UnitError):
        kind = "whole_unit"
    elif isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
        kind = "transient"
    message = " ".join(str(error).split()) or "(no message)"
    return Failure(kind, type(error).__name__, message, "".join(traceback.format_exception(error)))


def set_up(stage: Stage) -> Failure | None:
    """Set a stage up; the failure, if it fails."""
    try:
        stage.setup()
    except Exception as error:
        return failure_of(error)
    return None


def perform(stage: Stage, task: Task) -> Outcome:
    """Do a task."""
    try:
        if task.action == "run":
            return Outcome(commit=stage.run(task.unit, task.bad_rows))
        if not isinstance(stage, SplittableStage):
            raise TypeError(f"stage {type(stage).__name__} has no `probe`, and cannot be searched for rows")
        stage.probe(task.unit, task.start_row, task.stop_row)
    except Exception as error:
        return Outcome(failure=failure_of(error))
    return Outcome()


class StageWorker:
    """A stage and its state on one worker; `ray.remote(StageWorker)` makes it an actor.

    Args:
        stage_factory: Makes the stage, in the worker's process.
        torch_threads: Threads of torch; one per CPU actor, or neighbours starve each other. 0 leaves them as
            they are.
    """

    def __init__(self, stage_factory: StageFactory, torch_threads: int = 0) -> None:
        self._stage_factory = stage_factory
        self._torch_threads = torch_threads
        self._stage: Stage | None = None

    def setup(self) -> Failure | None:
        """Build the stage and set it up; the failure, if it fails."""
        if self._torch_threads:
            import torch

            torch.set_num_threads(self._torch_threads)
        try:
            self._stage = self._stage_factory()
        except Exception as error:
            return failure_of(error)
        return set_up(self._stage)

    def setup_and_describe(self) -> tuple[Failure | None, bool]:
        """Set up; the failure, if it fails, and whether the stage can probe rows."""
        return self.setup(), self.splittable()

    def splittable(self) -> bool:
        """Whether the stage can probe rows."""
        return isinstance(self._stage, SplittableStage)

    def perform(self, task: Task) -> Outcome:
        """Do a task.

        Raises:
            RuntimeError: if `setup` was not called or failed.
        """
        if self._stage is None:
            raise RuntimeError("a worker was given a unit before its stage was set up")
        return perform(self._stage, task)
