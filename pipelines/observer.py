"""What a pool tells while it works: who joined, who does what since when, how it ended.

Executors call `observer_of(progress)` once a run and tell it every event. Whoever watches a run (heartbeat, log,
metrics) implements `PoolObserver` beside `Progress`; a progress that does not is answered with an observer that
tells nobody. Calls come from the executor's thread, must return fast and never raise.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from pipelines.executor import ExecutionReport, Failure
from pipelines.progress import Progress
from storage.commit import UnitCommit


@dataclass(frozen=True)
class WorkerFacts:
    """One worker: an actor, or this process.

    Attributes:
        worker_id: Unique in its run.
        node: Name of the machine, or Ray's id of it; "" while that is not known.
        resources: What it holds, such as {"CPU": 1.0, "GPU": 0.25}.
        pid: Of its process; 0 while that is not known.
    """

    worker_id: str
    node: str = ""
    resources: Mapping[str, float] | None = None
    pid: int = 0


class PoolState(Protocol):
    """What can be read of a pool at any time; `pipelines.supervision.Supervisor` is one."""

    report: ExecutionReport
    """Grows while the pool works."""

    @property
    def n_open(self) -> int:
        """Units neither committed nor given up."""
        ...


@runtime_checkable
class PoolObserver(Protocol):
    """Is told what happens in a pool."""

    def pool_opened(self, pool: str, wanted: int, state: PoolState) -> None:
        """A pool begins, with so many workers wanted; `state` may be read until `pool_closed`."""
        ...

    def pool_closed(self) -> None:
        """The pool has ended, well or not."""
        ...

    def worker_joined(self, worker: WorkerFacts) -> None:
        """A worker was asked for, or (told again) more is known of it."""
        ...

    def worker_left(self, worker_id: str, why: str) -> None:
        """A worker is gone: lost, ended, or given back."""
        ...

    def task_started(self, worker_id: str, unit_id: str, action: str) -> None:
        """A worker begins a unit ("run"), or looks for its bad row ("probe")."""
        ...

    def task_ended(
        self, worker_id: str, unit_id: str, action: str, failure: Failure | None, commit: UnitCommit | None
    ) -> None:
        """It ended with a commit, a failure, or neither (a probe that passed)."""
        ...

    def tick(self) -> None:
        """The pool is alive; called now and then while units take long."""
        ...


class SilentObserver:
    """Tells nobody."""

    def pool_opened(self, pool: str, wanted: int, state: PoolState) -> None:
        del pool, wanted, state

    def pool_closed(self) -> None:
        pass

    def worker_joined(self, worker: WorkerFacts) -> None:
        del worker

    def worker_left(self, worker_id: str, why: str) -> None:
        del worker_id, why

    def task_started(self, worker_id: str, unit_id: str, action: str) -> None:
        del worker_id, unit_id, action

    def task_ended(
        self, worker_id: str, unit_id: str, action: str, failure: Failure | None, commit: UnitCommit | None
    ) -> None:
        del worker_id, unit_id, action, failure, commit

    def tick(self) -> None:
        pass


def observer_of(progress: Progress) -> PoolObserver:
    """The progress itself if it watches pools, else an observer that tells nobody."""
    return progress if isinstance(progress, PoolObserver) else SilentObserver()
