"""The actors of one stage on Ray: hired, fed, counted and given back. Decides nothing; see `ray_coordinator`."""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from pipelines.executor import Failure, RetryPolicy
from pipelines.in_process import setup_error
from pipelines.observer import PoolObserver, WorkerFacts
from pipelines.placement import Demand, needs_of
from pipelines.progress import Progress
from pipelines.stage_chain import StageSpec
from pipelines.supervision import Task
from pipelines.worker import StageWorker

NEVER_S = float("inf")


@dataclass
class Job:
    """A task on its way through the stages; `value` refers to what the stage before made of it."""

    task: Task
    value: Any = None


@dataclass(eq=False)
class Member:
    """One actor and what it is doing.

    Attributes:
        call: The reference that is waited for: where it is, then its setup, then its work; None when it is idle.
        setup_call: Waited for next, while `call` asks where it is.
        job: In flight.
        output: Refers to what an inner stage makes of the job.
        node_id: Of the node where it runs; "" until it has a place.
        ready: Set up.
        leaving: Gets no more work, because another stage needs its room.
    """

    actor: Any
    worker_id: str
    call: Any
    setup_call: Any
    job: Job | None = None
    output: Any = None
    node_id: str = ""
    ready: bool = False
    leaving: bool = False
    deadline_s: float = NEVER_S
    timed_out: bool = False


@dataclass
class StagePool:
    """The members of one stage and the jobs that wait for them."""

    spec: StageSpec
    retry: RetryPolicy
    progress: Progress
    observer: PoolObserver
    is_last: bool = True
    alone: bool = True
    """The only stage of its run."""
    members: dict[Member, None] = field(default_factory=dict)
    idle: list[Member] = field(default_factory=list)
    queue: deque[Job] = field(default_factory=deque)
    """What the stage before has made."""
    in_flight: int = 0
    setup_failures: int = 0
    """In a row, without one success."""
    hold_until_s: float = 0.0
    """No new actor before this time: setup failed lately."""
    homeless_since_s: float | None = None
    """Since when no actor is ready and none can be placed."""
    micro_batch_rows: int | None = None

    @property
    def name(self) -> str:
        """For a reader."""
        return self.spec.name

    @property
    def demand(self) -> Demand:
        """For placement."""
        return Demand(self.name, self.spec.resources, self.spec.workers)

    @property
    def n_unplaced(self) -> int:
        """Members of whom no sign of life has come."""
        return sum(not member.node_id for member in self.members)

    @property
    def has_place(self) -> bool:
        """Whether some member runs somewhere."""
        return any(member.node_id for member in self.members)

    def hire(self, count: int) -> list[Member]:
        """Ask Ray for actors."""
        import ray

        actor_class: Any = ray.remote(StageWorker)
        resources, hired = self.spec.resources, []
        for _ in range(count):
            options = actor_class.options(
                num_cpus=resources.num_cpus,
                num_gpus=resources.num_gpus,
                max_restarts=0,
                max_task_retries=0,
                label_selector=dict(resources.labels) or None,
            )
            stage_name = "" if self.alone else self.name
            actor = options.remote(
                self.spec.factory, resources.torch_threads, stage_name, self.micro_batch_rows
            )
            worker_id = actor._actor_id.hex()[:12]
            member = Member(actor, worker_id, actor.place.remote(), actor.setup_and_describe.remote())
            self.members[member] = None
            hired.append(member)
            self.observer.worker_joined(WorkerFacts(worker_id, resources=needs_of(resources)))
        return hired

    def place(self, member: Member, node_id: str, pid: int) -> None:
        """The member runs; next its setup is waited for."""
        member.node_id, member.call, member.setup_call = node_id, member.setup_call, None
        self.observer.worker_joined(
            WorkerFacts(member.worker_id, node_id, needs_of(self.spec.resources), pid)
        )

    def welcome(self, member: Member) -> None:
        """The member is set up."""
        member.ready = True
        self.setup_failures, self.homeless_since_s = 0, None
        self.rest(member)

    def rest(self, member: Member) -> None:
        """The member has nothing to do."""
        member.call = None
        self.idle.append(member)

    def start(self, member: Member, job: Job, now_s: float) -> None:
        """Give an idle member a job."""
        arguments = (job.task,) if job.value is None else (job.task, job.value)
        if self.is_last:
            member.call = member.actor.perform.remote(*arguments)
        else:
            member.call, member.output = member.actor.transform.options(num_returns=2).remote(*arguments)
        member.job = job
        member.deadline_s = now_s + (self.retry.unit_timeout_s or NEVER_S)
        self.in_flight += 1
        self.observer.task_started(member.worker_id, job.task.unit.unit_id, job.task.action)

    def land(self, member: Member) -> tuple[Job | None, Any]:
        """The member's call has ended: its job, and the reference of what came of it."""
        job, output = member.job, member.output
        member.call = member.job = member.output = None
        member.deadline_s = NEVER_S
        self.in_flight -= job is not None
        return job, output

    def dismiss(self, member: Member, why: str) -> None:
        """End an actor; its room is free a second later."""
        import ray

        del self.members[member]
        if member in self.idle:
            self.idle.remove(member)
        self.observer.worker_left(member.worker_id, why)
        ray.kill(member.actor, no_restart=True)

    def dismiss_idle(self, count: int, why: str) -> None:
        """End so many idle actors, or as many as there are."""
        for member in self.idle[:count]:
            self.dismiss(member, why)

    def release(self) -> None:
        """End all actors."""
        import ray

        if not ray.is_initialized():
            return
        for member in list(self.members):
            self.dismiss(member, "the run is over")

    def count_setup_failure(self, failure: Failure, now_s: float) -> None:
        """Hold back the next hire, or stop the run.

        Raises:
            StageSetupError: after `max_setup_failures` in a row, while nobody of the stage is ready.
        """
        self.progress.log(f"{self.name}: setup failed: {failure}")
        if now_s < self.hold_until_s:
            return  # another of those that were started together: one event counts once
        self.setup_failures += 1
        anyone_ready = any(member.ready for member in self.members)
        if self.setup_failures >= self.retry.max_setup_failures and not anyone_ready:
            raise setup_error(self.name, failure, self.setup_failures)
        wait_s = self.retry.backoff_s * 2 ** min(self.setup_failures - 1, 30)
        self.hold_until_s = now_s + min(self.retry.max_backoff_s, wait_s)
