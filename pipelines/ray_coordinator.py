"""The loop that feeds the actors of a run, takes their answers and settles their losses.

One stage or several: a task enters the first stage, what it makes stays in Ray's object store and goes on by reference,
and the last stage answers with a commit. Later stages are fed first, and a stage starts nothing while as many of its
outputs as it may have are in the making or wait: that bounds the memory and lets the slowest stage set the pace.
"""

import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.executor import Failure, ResultCallback, RetryPolicy
from pipelines.observer import PoolObserver
from pipelines.ray_members import Job, Member, StagePool
from pipelines.ray_session import living_nodes
from pipelines.ray_staffing import Staffing
from pipelines.stopping import StopRequest
from pipelines.supervision import Supervisor, Task
from pipelines.worker import Outcome

_POLL_S = 0.5
_DOUBT_S = 5.0
"""Whether a worker died or its node went away is known some seconds after Ray cannot reach it."""


@dataclass
class _Doubt:
    """A task whose worker cannot be reached."""

    task: Task
    member: Member
    pool: StagePool
    until_s: float


@dataclass
class Coordinator:
    """Runs the units of one supervisor through the stages of one run."""

    name: str
    pools: Sequence[StagePool]
    supervisor: Supervisor
    staffing: Staffing
    retry: RetryPolicy
    on_result: ResultCallback
    observer: PoolObserver
    stop: StopRequest
    calls: dict[Any, tuple[StagePool, Member]] = field(default_factory=dict)
    doubts: list[_Doubt] = field(default_factory=list)

    def work(self, counts: Sequence[int]) -> None:
        """Everything, with so many actors of every stage at first; raises what `Executor.run` raises."""
        self.observer.pool_opened(self.name, sum(counts), self.supervisor)
        with self.stop.heeding(patience_s=10.0):
            self._expect(self.staffing.open(counts))
            while not self.supervisor.done:
                self.observer.tick()
                self._heed_stop()
                self._expect(self.staffing.step(time.monotonic()))
                self._dispatch(time.monotonic())
                for call in self._answered():
                    self._settle(*self.calls.pop(call), call)
                self._end_late(time.monotonic())
                self._decide_doubts(time.monotonic())

    def release(self) -> None:
        """End all actors."""
        self.observer.pool_closed()
        for pool in self.pools:
            pool.release()

    def _expect(self, members: Sequence[Member]) -> None:
        for pool in self.pools:
            self.calls.update({member.call: (pool, member) for member in members if member in pool.members})

    def _heed_stop(self) -> None:
        """After a request nothing new is started; what is in flight goes on until the grace is over."""
        if not self.stop.requested:
            return
        self.supervisor.stopping = True
        if self.supervisor.n_in_flight == 0 or self.stop.seconds_left <= 0:
            done = len(self.supervisor.report.commits)
            raise self.stop.error(f"{done} units done now, {self.supervisor.n_in_flight} given back")

    def _dispatch(self, now_s: float) -> None:
        """Give every idle actor a job, later stages first, as long as there is one that may start now."""
        for index in reversed(range(len(self.pools))):
            pool = self.pools[index]
            while pool.idle and self._may_start(index):
                job = self._next_job(index, now_s)
                if job is None:
                    break
                member = pool.idle.pop()
                pool.start(member, job, now_s)
                self.calls[member.call] = (pool, member)

    def _may_start(self, index: int) -> bool:
        """Whether another output of the stage has room."""
        pool = self.pools[index]
        return pool.is_last or pool.in_flight + len(self.pools[index + 1].queue) < pool.spec.output_bound

    def _next_job(self, index: int, now_s: float) -> Job | None:
        if index > 0:
            queue = self.pools[index].queue
            return queue.popleft() if queue else None
        task = self.supervisor.next_task(now_s)
        return None if task is None else Job(task)

    def _answered(self) -> list[Any]:
        """Calls that have ended; waits for one, but no longer than until something else is due."""
        import ray

        wait_s = max(0.001, self._wait_s(time.monotonic()))
        calls = list(self.calls)
        if not calls:
            time.sleep(wait_s)
            return []
        ready, _ = ray.wait(calls, num_returns=len(calls), timeout=0)
        if not ready:
            ready, _ = ray.wait(calls, num_returns=1, timeout=wait_s)
        return ready

    def _wait_s(self, now_s: float) -> float:
        """Until the next thing that may need the loop: a backoff that ends, a deadline, the end of a grace."""
        first = self.pools[0]
        waits = [_POLL_S, self.stop.seconds_left if self.stop.requested else _POLL_S]
        if (first.idle and self._may_start(0)) or not first.members:
            waits.append(max(0.01, self.supervisor.seconds_until_ready(now_s)))
        if self.retry.unit_timeout_s is not None:
            waits += [member.deadline_s - now_s for pool in self.pools for member in pool.members]
        waits += [pool.hold_until_s - now_s for pool in self.pools if pool.hold_until_s > now_s]
        return min(waits)

    def _settle(self, pool: StagePool, member: Member, call: Any) -> None:
        """Take the answer, or the loss, of a member's call."""
        import ray
        from ray.exceptions import ActorUnavailableError, ObjectLostError, RayError, RayTaskError

        if member not in pool.members:
            return
        job, output = pool.land(member)
        try:
            answer: Any = ray.get(call)
        except RayError as error:
            if isinstance(_origin(error), ObjectLostError) and job is not None:
                pool.rest(member)
                self._fail(
                    pool, member, job.task, _lost("what an earlier stage made of it was lost with its node")
                )
            elif isinstance(error, RayTaskError) and job is not None:
                pool.rest(member)  # the answer could not be sent, say a value that cannot be pickled
                words = " ".join(str(_origin(error)).split())
                failure = Failure("raised", type(_origin(error)).__name__, words, traceback.format_exc())
                self._fail(pool, member, job.task, failure)
            else:
                words = traceback.format_exc() if isinstance(error, RayTaskError) else str(error)
                self._lose(
                    pool, member, job, type(error).__name__, words, isinstance(error, ActorUnavailableError)
                )
            return
        if job is not None:
            self._take_outcome(pool, member, job, answer, output)
        elif not member.node_id:
            pool.place(member, *answer)
            self.calls[member.call] = (pool, member)
        else:
            self._take_setup(pool, member, *answer)

    def _take_setup(self, pool: StagePool, member: Member, failure: Failure | None, splittable: bool) -> None:
        if failure is not None:
            pool.dismiss(member, "setup failed")
            pool.count_setup_failure(failure, time.monotonic())
            return
        pool.welcome(member)
        self.supervisor.splittable = splittable

    def _take_outcome(self, pool: StagePool, member: Member, job: Job, outcome: Outcome, output: Any) -> None:
        pool.rest(member)
        if outcome.micro_batch_rows is not None:
            self._remember_rows(pool, outcome.micro_batch_rows)
        if outcome.failure is not None:
            self._fail(pool, member, job.task, outcome.failure)
            return
        self._tell_end(member, job.task, None, outcome)
        if not pool.is_last:
            following = self.pools[list(self.pools).index(pool) + 1]
            following.queue.append(Job(job.task, output))
        elif outcome.commit is not None:
            self.supervisor.record_commit(job.task, outcome.commit)
            self.on_result(outcome.commit)
        else:
            self.supervisor.record_probe_passed(job.task, time.monotonic())

    def _remember_rows(self, pool: StagePool, rows: int) -> None:
        """New actors of the stage begin with what the GPU's memory allowed."""
        pool.micro_batch_rows = min(rows, pool.micro_batch_rows or rows)
        self.supervisor.report.micro_batch_rows[pool.name] = pool.micro_batch_rows
        self.supervisor.progress.log(
            f"{pool.name}: the GPU's memory ran out; {rows} rows at once from now on"
        )

    def _lose(
        self, pool: StagePool, member: Member, job: Job | None, error_class: str, words: str, doubtful: bool
    ) -> None:
        """A worker or its node is gone. The words are the same each time: they end up in quarantine files."""
        pool.dismiss(member, "lost")
        now_s = time.monotonic()
        node_lost = bool(member.node_id) and member.node_id not in living_nodes()
        if job is None:
            if not node_lost:
                pool.count_setup_failure(Failure("died", error_class, " ".join(words.split())), now_s)
        elif member.timed_out:
            late = f"the worker was ended after unit_timeout_s = {self.retry.unit_timeout_s:g} s"
            self._fail(pool, member, job.task, Failure("timed_out", "UnitTimeout", late))
        elif node_lost or doubtful:
            self.doubts.append(_Doubt(job.task, member, pool, now_s if node_lost else now_s + _DOUBT_S))
        else:
            self._fail(pool, member, job.task, _died())

    def _decide_doubts(self, now_s: float) -> None:
        """A node that is gone blames nobody; a worker that died on a living node may have died of its unit."""
        if not self.doubts:
            return
        living = living_nodes()
        for doubt in list(self.doubts):
            node_lost = doubt.member.node_id not in living
            if node_lost or now_s >= doubt.until_s:
                self.doubts.remove(doubt)
                failure = _lost("the node was lost while it worked on this") if node_lost else _died()
                self._fail(doubt.pool, doubt.member, doubt.task, failure)

    def _fail(self, pool: StagePool, member: Member, task: Task, failure: Failure) -> None:
        self._tell_end(member, task, failure, None)
        if not pool.alone and not failure.stage:
            failure = Failure(
                failure.kind, failure.error_class, failure.message, failure.traceback, pool.name
            )
        self.supervisor.record_failure(task, failure, time.monotonic())

    def _tell_end(self, member: Member, task: Task, failure: Failure | None, outcome: Outcome | None) -> None:
        commit = outcome.commit if outcome is not None else None
        self.observer.task_ended(member.worker_id, task.unit.unit_id, task.action, failure, commit)

    def _end_late(self, now_s: float) -> None:
        """End the workers whose unit takes longer than allowed; their loss is settled like any other."""
        import ray

        if self.retry.unit_timeout_s is None:
            return
        for member in (member for pool in self.pools for member in pool.members):
            if now_s > member.deadline_s and not member.timed_out:
                member.timed_out = True
                ray.kill(member.actor, no_restart=True)


def _origin(error: BaseException) -> BaseException:
    """What went wrong in the first place: an error travels on through the calls that waited for its result."""
    cause = getattr(error, "cause", None)
    return _origin(cause) if isinstance(cause, BaseException) else error


def _died() -> Failure:
    return Failure("died", "WorkerDied", "the worker process died while it worked on this")


def _lost(words: str) -> Failure:
    return Failure("lost", "NodeLost", words)
