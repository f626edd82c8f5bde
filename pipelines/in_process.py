"""The executor without Ray: units one after the other in this process. For tests, notebooks and debugging.

Same results as the Ray pool, and the same rules for retries and bad rows; only a row that ends the process
ends it here too (the next run goes on after the units that are committed), and a unit that hangs inside a library
cannot be interrupted (see `pipelines.unit_deadline`).
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
from pipelines.observer import PoolObserver, WorkerFacts, observer_of
from pipelines.plan import Unit
from pipelines.progress import Progress, SilentProgress
from pipelines.stage_chain import StageSpec, check_names
from pipelines.stopping import StopRequest
from pipelines.supervision import Supervisor, Task
from pipelines.unit_deadline import Deadline, UnitTimeout
from pipelines.worker import ChainWorker, Outcome, StageWorker

HERE = "this process"
_NAP_S = 0.5
"""Between looks at the stop request while a unit waits for its next attempt."""
Worker = StageWorker | ChainWorker


class InProcessExecutor:
    """Runs units in this process.

    Args:
        retry: Attempts and waits.
        sleep: Waits so many seconds; tests pass their own.
        stop: Asked between units; a unit that outlasts its grace is interrupted by whoever watches it
            (`pipelines.stopping`).
    """

    def __init__(
        self,
        retry: RetryPolicy = DEFAULT_RETRY,
        sleep: Callable[[float], None] = time.sleep,
        stop: StopRequest | None = None,
    ) -> None:
        self._retry = retry
        self._sleep = sleep
        self._stop = stop or StopRequest()

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
        made = _Run(lambda: StageWorker(stage_factory), name, self._retry, self._sleep, self._stop, on_result)
        return made.work(units, bad_rows, progress or SilentProgress())

    def run_chain(
        self,
        stages: Sequence[StageSpec],
        units: Sequence[Unit],
        on_result: ResultCallback,
        *,
        name: str = "chain",
        bad_rows: BadRowPolicy = QUARANTINE_BAD_ROWS,
        progress: Progress | None = None,
    ) -> ExecutionReport:
        """See `pipelines.stage_chain.ChainExecutor.run_chain`; one unit at a time goes through all stages."""
        check_names(name, stages)
        if not units:
            return ExecutionReport()

        def make() -> ChainWorker:
            return ChainWorker([StageWorker(stage.factory, stage_name=stage.name) for stage in stages])

        made = _Run(make, name, self._retry, self._sleep, self._stop, on_result)
        return made.work(units, bad_rows, progress or SilentProgress())

    def close(self) -> None:
        """Nothing to give back."""


class _Run:
    """One run: the worker, which is built anew after a unit had to be interrupted in it."""

    def __init__(
        self,
        make_worker: Callable[[], StageWorker] | Callable[[], ChainWorker],
        name: str,
        retry: RetryPolicy,
        sleep: Callable[[float], None],
        stop: StopRequest,
        on_result: ResultCallback,
    ) -> None:
        self._make_worker, self._name, self._retry = make_worker, name, retry
        self._sleep, self._stop, self._on_result = sleep, stop, on_result

    def work(self, units: Sequence[Unit], bad_rows: BadRowPolicy, progress: Progress) -> ExecutionReport:
        """Everything; raises what `Executor.run` raises."""
        observer = observer_of(progress)
        with self._stop.heeding():
            self._worker = self._set_up(progress)
            supervisor = Supervisor(units, self._retry, bad_rows, self._worker.splittable(), progress)
            observer.pool_opened(self._name, 1, supervisor)
            observer.worker_joined(WorkerFacts(HERE, pid=os.getpid()))
            try:
                while not supervisor.done:
                    if self._stop.requested:
                        raise self._stop.error(f"{len(supervisor.report.commits)} units done now")
                    task = supervisor.next_task(time.monotonic())
                    if task is None:
                        wait_s = supervisor.seconds_until_ready(time.monotonic())
                        self._sleep(min(_NAP_S, max(0.001, wait_s)))
                        continue
                    self._do(task, supervisor, observer)
            finally:
                observer.pool_closed()
        return supervisor.report

    def _do(self, task: Task, supervisor: Supervisor, observer: PoolObserver) -> None:
        observer.task_started(HERE, task.unit.unit_id, task.action)
        outcome = self._perform(task)
        observer.task_ended(HERE, task.unit.unit_id, task.action, outcome.failure, outcome.commit)
        if outcome.micro_batch_rows is not None:
            supervisor.report.micro_batch_rows[self._name] = outcome.micro_batch_rows
        if outcome.failure is not None:
            supervisor.record_failure(task, outcome.failure, time.monotonic())
            if outcome.failure.kind == "timed_out":
                self._worker = self._set_up(supervisor.progress)
        elif outcome.commit is not None:
            supervisor.record_commit(task, outcome.commit)
            self._on_result(outcome.commit)
        else:
            supervisor.record_probe_passed(task, time.monotonic())

    def _perform(self, task: Task) -> Outcome:
        """The outcome; a unit that is late is interrupted, as if its worker had been ended."""
        try:
            with Deadline(self._retry.unit_timeout_s):
                return self._worker.perform(task)
        except UnitTimeout:
            words = f"the unit was interrupted after unit_timeout_s = {self._retry.unit_timeout_s:g} s"
            return Outcome(failure=Failure("timed_out", "UnitTimeout", words))

    def _set_up(self, progress: Progress) -> Worker:
        """Transient errors are tried again; any other failure would come again."""
        worker = self._make_worker()
        for attempts in range(1, self._retry.max_setup_failures + 1):
            failure = worker.setup()
            if failure is None:
                break
            progress.log(f"{self._name}: setup failed: {failure}")
            if failure.kind != "transient" or attempts == self._retry.max_setup_failures:
                raise setup_error(self._name, failure, attempts)
        return worker


def setup_error(name: str, failure: Failure, attempts: int) -> StageSetupError:
    """The error of a stage that cannot be set up."""
    return StageSetupError(
        f"{name}: setup failed {attempts} time(s), the units wait: {failure}\n{failure.traceback}".rstrip()
    )
