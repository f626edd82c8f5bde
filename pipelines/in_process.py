"""The executor without Ray: units one after the other in this process. For tests, notebooks and debugging.

Same results as the Ray pool, and the same rules for retries and bad rows; only a row that ends the process
ends it here too (the next run goes on after the units that are committed).
"""

import os
import time
from collections.abc import Callable, Sequence

from pipelines.errors import StageSetupError
from pipelines.executor import (
    DEFAULT_RETRY,
    ONE_CPU,
    QUARANTINE_BAD_ROWS,
    BadRowPolicy,
    ExecutionReport,
    Failure,
    ResultCallback,
    RetryPolicy,
    StageFactory,
    WorkerResources,
)
from pipelines.observer import WorkerFacts, observer_of
from pipelines.plan import Unit
from pipelines.progress import Progress, SilentProgress
from pipelines.supervision import Supervisor
from pipelines.worker import StageWorker

HERE = "this process"


class InProcessExecutor:
    """Runs units in this process.

    Args:
        retry: Attempts and waits.
        sleep: Waits so many seconds; tests pass their own.
    """

    def __init__(
        self, retry: RetryPolicy = DEFAULT_RETRY, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._retry = retry
        self._sleep = sleep

    def run(
        self,
        stage_factory: StageFactory,
        units: Sequence[Unit],
        on_result: ResultCallback,
        *,
        name: str = "pool",
        resources: WorkerResources = ONE_CPU,
        bad_rows: BadRowPolicy = QUARANTINE_BAD_ROWS,
        progress: Progress | None = None,
    ) -> ExecutionReport:
        """See `pipelines.executor.Executor.run`; `resources` is not used: this process keeps its own threads."""
        del resources
        if not units:
            return ExecutionReport()
        worker = StageWorker(stage_factory)
        progress = progress or SilentProgress()
        self._set_up(worker, name, progress)
        supervisor = Supervisor(units, self._retry, bad_rows, worker.splittable(), progress)
        observer = observer_of(progress)
        observer.pool_opened(name, 1, supervisor)
        observer.worker_joined(WorkerFacts(HERE, pid=os.getpid()))
        while not supervisor.done:
            task = supervisor.next_task(time.monotonic())
            if task is None:
                self._sleep(max(0.001, supervisor.seconds_until_ready(time.monotonic())))
                continue
            observer.task_started(HERE, task.unit.unit_id, task.action)
            outcome = worker.perform(task)
            observer.task_ended(HERE, task.unit.unit_id, task.action, outcome.failure, outcome.commit)
            if outcome.failure is not None:
                supervisor.record_failure(task, outcome.failure, time.monotonic())
            elif outcome.commit is not None:
                supervisor.record_commit(task, outcome.commit)
                on_result(outcome.commit)
            else:
                supervisor.record_probe_passed(task, time.monotonic())
        observer.pool_closed()
        return supervisor.report

    def _set_up(self, worker: StageWorker, name: str, progress: Progress) -> None:
        """Transient errors are tried again; any other failure would come again."""
        for attempts in range(1, self._retry.max_setup_failures + 1):
            failure = worker.setup()
            if failure is None:
                return
            progress.log(f"{name}: setup failed: {failure}")
            if failure.kind != "transient" or attempts == self._retry.max_setup_failures:
                raise setup_error(name, failure, attempts)

    def close(self) -> None:
        """Nothing to give back."""


def setup_error(name: str, failure: Failure, attempts: int) -> StageSetupError:
    """The error of a stage that cannot be set up."""
    return StageSetupError(
        f"{name}: setup failed {attempts} time(s), the units wait: {failure}\n{failure.traceback}".rstrip()
    )
