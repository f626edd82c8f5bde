"""The executor on Ray: a pool of actors under a supervisor that owns every retry.

Actors have max_restarts=0 and max_task_retries=0: Ray reports a loss, and `pipelines.supervision` decides.
Paths
travel, tensors stay in the actors: a task is a unit's description, an answer is its commit.
"""

import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pipelines.executor import (
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
from pipelines.in_process import setup_error
from pipelines.observer import PoolObserver, WorkerFacts, observer_of
from pipelines.plan import Unit
from pipelines.progress import Progress, SilentProgress
from pipelines.ray_session import (
    RaySettings,
    connect,
    disconnect,
    node_resources,
    placement_error,
    total_resources,
    workers_that_fit,
)
from pipelines.supervision import Supervisor, Task
from pipelines.worker import Outcome, StageWorker
from storage.commit import UnitCommit

_POLL_S = 0.5
_FULL_SIZE_GRACE_S = 3.0
"""Ray reports freed resources about a second late: wait so long for the whole pool before a smaller one starts."""
_NODE_GRACE_S = 10.0
"""A node that was lost may come back, or its replacement be slow to join: wait at least this long."""


class RayPoolSettings(BaseModel):
    """Size of the pool and where it runs. All of it is run-time knobs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    workers: int = Field(default=2, ge=1)
    min_workers: int = Field(default=1, ge=1)
    wait_for_nodes_s: float = Field(default=0.0, ge=0)
    """Above 0, nodes may come and go (an autoscaler's): all workers are asked for at once, those without a node
    wait for one, and only a pool that has no worker for this long is given up."""
    wait_for_room_s: float = Field(default=10.0, ge=0)
    """How long to wait for other pools to give back what the nodes have."""
    ray: RaySettings = RaySettings()
    retry: RetryPolicy = RetryPolicy()


DEFAULT_POOL = RayPoolSettings()


@dataclass
class _Member:
    """One actor and what it is doing."""

    actor: Any
    call: Any
    """The object reference of the call in flight, or None when the actor is idle."""
    task: Task | None = None
    """The task in flight; None during setup."""
    ready: bool = False
    deadline_s: float = float("inf")
    timed_out: bool = False

    @property
    def worker_id(self) -> str:
        """Ray's id of the actor, in short."""
        return self.actor._actor_id.hex()[:12]


class RayPoolExecutor:
    """Runs units on a pool of Ray actors."""

    def __init__(self, settings: RayPoolSettings = DEFAULT_POOL) -> None:
        self._settings = settings
        self._connected_here = False

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
        """See `pipelines.executor.Executor.run`. The pool's actors are released at the end."""
        if not units:
            return ExecutionReport()
        progress = progress or SilentProgress()
        self._connected_here = connect(self._settings.ray) or self._connected_here
        size = wanted = min(self._settings.workers, len(units))
        if self._settings.wait_for_nodes_s == 0:
            size = self._place(name, wanted, resources)
            if size < wanted:
                progress.log(f"{name}: room for {size} of {wanted} workers")
        supervisor = Supervisor(units, self._settings.retry, bad_rows, False, progress)
        pool = _Pool(name, stage_factory, resources, self._settings.retry, supervisor, on_result, size)
        pool.wait_for_nodes_s = self._settings.wait_for_nodes_s
        try:
            pool.work()
        finally:
            pool.release()
        return supervisor.report

    @property
    def settings(self) -> RayPoolSettings:
        """Size of the pool and where it runs."""
        return self._settings

    def connect(self) -> None:
        """Connect to Ray now, for actors beside the pools, such as the closed loop's; `close` ends it."""
        self._connected_here = connect(self._settings.ray) or self._connected_here

    def close(self) -> None:
        """Disconnect from Ray if this executor connected; a private Ray ends."""
        if self._connected_here:
            disconnect()
            self._connected_here = False

    def __enter__(self) -> "RayPoolExecutor":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _place(self, name: str, wanted: int, resources: WorkerResources) -> int:
        """How many workers fit on the nodes that are there. Waits a little for what other pools just gave back.

        Raises:
            PoolError: if fewer than `min_workers` fit after that.
        """
        started_s = time.monotonic()
        least = min(self._settings.min_workers, wanted)
        while True:
            nodes, available = node_resources()
            fitting = workers_that_fit(resources, nodes, available)
            possible = workers_that_fit(resources, nodes, total_resources(nodes))
            waited_s = time.monotonic() - started_s
            if fitting >= wanted or (least <= fitting and waited_s >= _FULL_SIZE_GRACE_S):
                return min(fitting, wanted)
            patience_s = self._settings.wait_for_room_s if possible >= least else 0.0
            if fitting < least and waited_s >= patience_s:
                raise placement_error(name, wanted, least, resources, nodes, available)
            time.sleep(0.1)


@dataclass
class _Pool:
    """The actors of one run and the loop that feeds them."""

    name: str
    stage_factory: StageFactory
    resources: WorkerResources
    retry: RetryPolicy
    supervisor: Supervisor
    on_result: ResultCallback
    size: int
    members: list[_Member] = field(default_factory=list)
    setup_failures: int = 0
    """In a row, without one success."""
    wait_for_nodes_s: float = 0.0
    hold_until_s: float = 0.0
    """No new actor before this time: setup failed lately, or there is no room."""
    hired: bool = False
    homeless_since_s: float | None = None
    """Since when no actor is ready and none can be placed."""

    @property
    def observer(self) -> PoolObserver:
        """Who is told what happens."""
        return observer_of(self.supervisor.progress)

    def work(self) -> None:
        """Start actors and hand out tasks until nothing is left."""
        import ray

        self.observer.pool_opened(self.name, self.size, self.supervisor)
        while not self.supervisor.done:
            self.observer.tick()
            now_s = time.monotonic()
            self._hire(now_s)
            self._dispatch(now_s)
            calls = [member.call for member in self.members if member.call is not None]
            wait_s = self._wait_s(time.monotonic())
            if not calls:
                time.sleep(max(0.001, wait_s))
                continue
            ready, _ = ray.wait(calls, num_returns=len(calls), timeout=0)
            if not ready:
                ready, _ = ray.wait(calls, num_returns=1, timeout=max(0.001, wait_s))
            for call in ready:
                self._settle(next(member for member in self.members if member.call == call))
            self._end_late(time.monotonic())
            self._refuse_to_wait_forever(time.monotonic())
            self._shrink()

    def release(self) -> None:
        """End all actors."""
        import ray

        self.observer.pool_closed()
        if not ray.is_initialized():
            return
        for member in self.members:
            ray.kill(member.actor, no_restart=True)
        self.members.clear()

    def _hire(self, now_s: float) -> None:
        """Start actors up to the pool's size, but no more than there is work."""
        import ray

        wanted = min(self.size, self.supervisor.n_open)
        if now_s < self.hold_until_s or len(self.members) >= wanted:
            return
        if self.hired and self.wait_for_nodes_s == 0 and not self._room_left():
            self.hold_until_s = now_s + _POLL_S
            return
        actor_class: Any = ray.remote(StageWorker)
        while len(self.members) < wanted:
            self.hired = True
            options = actor_class.options(
                num_cpus=self.resources.num_cpus,
                num_gpus=self.resources.num_gpus,
                max_restarts=0,
                max_task_retries=0,
            )
            actor = options.remote(self.stage_factory, self.resources.torch_threads)
            self.members.append(_Member(actor, actor.setup_and_describe.remote()))
            needs = {"CPU": self.resources.num_cpus, "GPU": self.resources.num_gpus}
            self.observer.worker_joined(WorkerFacts(self.members[-1].worker_id, resources=needs))

    def _room_left(self) -> bool:
        """Whether living nodes can hold one more actor; checked before a lost one is replaced.

        Raises:
            PoolError: if no actor is left and the nodes for another stay away.
        """
        nodes, _ = node_resources()
        total = total_resources(nodes)
        if workers_that_fit(self.resources, nodes, total) > len(self.members):
            self.homeless_since_s = None
            return True
        if not self.members:
            now_s = time.monotonic()
            self.homeless_since_s = self.homeless_since_s or now_s
            if now_s - self.homeless_since_s > _NODE_GRACE_S:
                raise placement_error(self.name, self.size, 1, self.resources, nodes, total)
        return False

    def _refuse_to_wait_forever(self, now_s: float) -> None:
        """Where nodes may come and go: raise PoolError once no node had room for a worker for `wait_for_nodes_s`."""
        if self.wait_for_nodes_s == 0:
            return
        if any(member.ready for member in self.members):
            self.homeless_since_s = None
            return
        self.homeless_since_s = self.homeless_since_s or now_s
        if now_s - self.homeless_since_s > self.wait_for_nodes_s:
            nodes, available = node_resources()
            if not workers_that_fit(self.resources, nodes, total_resources(nodes)):
                raise placement_error(self.name, self.size, 1, self.resources, nodes, available)

    def _shrink(self) -> None:
        """Give back idle actors that the rest of the work has no use for."""
        for member in list(self.members):
            if len(self.members) > self.supervisor.n_open and member.ready and member.call is None:
                self._dismiss(member)

    def _dispatch(self, now_s: float) -> None:
        """Give every idle actor a task, as long as there is one that may start now."""
        for member in self.members:
            if not member.ready or member.call is not None:
                continue
            task = self.supervisor.next_task(now_s)
            if task is None:
                return
            member.task = task
            member.call = member.actor.perform.remote(task)
            self.observer.task_started(member.worker_id, task.unit.unit_id, task.action)
            member.deadline_s = now_s + (self.retry.unit_timeout_s or float("inf"))

    def _wait_s(self, now_s: float) -> float:
        """Until the next thing that may need the loop: a backoff that ends, or a deadline."""
        idle = any(member.ready and member.call is None for member in self.members)
        ready_s = self.supervisor.seconds_until_ready(now_s) if idle or not self.members else _POLL_S
        deadline_s = min((member.deadline_s - now_s for member in self.members), default=_POLL_S)
        hold_s = self.hold_until_s - now_s if self.hold_until_s > now_s else _POLL_S
        return min(_POLL_S, max(0.01, ready_s), max(0.0, deadline_s), hold_s)

    def _settle(self, member: _Member) -> None:
        """Take the answer, or the loss, of a member's call."""
        import ray
        from ray.exceptions import RayError, RayTaskError

        call, task = member.call, member.task
        member.call, member.task, member.deadline_s = None, None, float("inf")
        try:
            answer: Any = ray.get(call)
        except RayTaskError:
            if task is not None:
                raise
            self._lose(member, task, "RayTaskError", traceback.format_exc())
            return
        except RayError as error:
            self._lose(member, task, type(error).__name__, str(error))
            return
        if task is None:
            self._take_setup(member, *answer)
        else:
            self._tell_end(member, task, answer.failure, answer.commit)
            self._take_outcome(task, answer)

    def _take_setup(self, member: _Member, failure: Failure | None, splittable: bool) -> None:
        if failure is not None:
            self._dismiss(member)
            self._count_setup_failure(failure)
            return
        member.ready = True
        self.setup_failures = 0
        self.supervisor.splittable = splittable

    def _tell_end(
        self, member: _Member, task: Task, failure: Failure | None, commit: UnitCommit | None = None
    ) -> None:
        self.observer.task_ended(member.worker_id, task.unit.unit_id, task.action, failure, commit)

    def _take_outcome(self, task: Task, outcome: Outcome) -> None:
        if outcome.failure is not None:
            self.supervisor.record_failure(task, outcome.failure, time.monotonic())
        elif outcome.commit is not None:
            self.supervisor.record_commit(task, outcome.commit)
            self.on_result(outcome.commit)
        else:
            self.supervisor.record_probe_passed(task, time.monotonic())

    def _lose(self, member: _Member, task: Task | None, error_class: str, message: str) -> None:
        """A worker or its node is gone. The words are the same each time: they end up in quarantine files."""
        self._dismiss(member)
        if task is None:
            self._count_setup_failure(Failure("died", error_class, " ".join(message.split())))
        elif member.timed_out:
            words = f"the worker was ended after unit_timeout_s = {self.retry.unit_timeout_s:g} s"
            failure = Failure("timed_out", "UnitTimeout", words)
            self._tell_end(member, task, failure)
            self.supervisor.record_failure(task, failure, time.monotonic())
        else:
            words = "the worker process died while it worked on this"
            failure = Failure("died", "WorkerDied", words)
            self._tell_end(member, task, failure)
            self.supervisor.record_failure(task, failure, time.monotonic())

    def _dismiss(self, member: _Member) -> None:
        import ray

        self.members.remove(member)
        self.observer.worker_left(member.worker_id, "gone or no longer needed")
        ray.kill(member.actor, no_restart=True)

    def _count_setup_failure(self, failure: Failure) -> None:
        self.supervisor.progress.log(f"{self.name}: setup failed: {failure}")
        if time.monotonic() < self.hold_until_s:
            return  # another of those that were started together: one event, such as a lost node, counts once
        self.setup_failures += 1
        if self.setup_failures >= self.retry.max_setup_failures:
            raise setup_error(self.name, failure, self.setup_failures)
        self.hold_until_s = time.monotonic() + self.retry.backoff_s * 2 ** (self.setup_failures - 1)

    def _end_late(self, now_s: float) -> None:
        """End the workers whose unit takes longer than allowed; their loss is settled like any other."""
        import ray

        for member in self.members:
            if now_s > member.deadline_s and not member.timed_out:
                member.timed_out = True
                ray.kill(member.actor, no_restart=True)
