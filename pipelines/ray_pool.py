"""The executor on Ray: pools of actors under a supervisor that owns every retry.

Actors have max_restarts=0 and max_task_retries=0: Ray reports a loss, and `pipelines.supervision` decides. Paths
travel, tensors stay in the actors: a task is a unit's description, an answer is its commit. Chains of stages pass their
values on by reference, from actor to actor.
"""

import time
from collections.abc import Sequence
from dataclasses import replace

from pydantic import BaseModel, ConfigDict, Field

from pipelines.executor import (
    ONE_CPU,
    QUARANTINE_BAD_ROWS,
    BadRowPolicy,
    ExecutionReport,
    ResultCallback,
    RetryPolicy,
    StageFactory,
    WorkerResources,
)
from pipelines.node_labels import LabelSelector
from pipelines.observer import observer_of
from pipelines.placement import Demand, allocate, chain_error
from pipelines.plan import Unit
from pipelines.progress import Progress, SilentProgress
from pipelines.ray_coordinator import Coordinator
from pipelines.ray_members import StagePool
from pipelines.ray_session import (
    RaySettings,
    connect,
    disconnect,
    node_resources,
    placement_error,
    total_resources,
)
from pipelines.ray_staffing import Staffing
from pipelines.stage_chain import StageSpec, check_names
from pipelines.stopping import StopRequest
from pipelines.supervision import Supervisor

_FULL_SIZE_GRACE_S = 3.0
"""Ray reports freed resources about a second late: wait so long for the whole pool before a smaller one starts."""


class RayPoolSettings(BaseModel):
    """Size of the pool and where it runs. All of it is run-time knobs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    workers: int = Field(default=2, ge=1)
    """At most so many. A pool begins with those that have room, and grows when nodes or other pools give more."""
    min_workers: int = Field(default=1, ge=1)
    wait_for_nodes_s: float = Field(default=0.0, ge=0)
    """Above 0, nodes may come and go (an autoscaler's): all workers are asked for at once, those without a node
    wait for one, and only a pool that has no worker for this long is given up."""
    wait_for_room_s: float = Field(default=10.0, ge=0)
    """How long a pool waits for its first workers while other pools hold what the nodes have."""
    labels: LabelSelector = {}
    """Of the nodes where workers may run, such as {"ray.io/market-type": "spot"}; a stage may ask for more."""
    ray: RaySettings = RaySettings()
    retry: RetryPolicy = RetryPolicy()


DEFAULT_POOL = RayPoolSettings()


class RayPoolExecutor:
    """Runs units on pools of Ray actors.

    Args:
        stop: Asked all the time; units in flight may finish within its grace.
    """

    def __init__(self, settings: RayPoolSettings = DEFAULT_POOL, stop: StopRequest | None = None) -> None:
        self._settings = settings
        self._stop = stop or StopRequest()
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
        stage = StageSpec(name, stage_factory, resources, self._settings.workers)
        return self._run(
            [self._labelled(stage)], units, on_result, name, bad_rows, progress or SilentProgress()
        )

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
        """See `pipelines.stage_chain.ChainExecutor.run_chain`. All actors are released at the end.

        The stages say how many workers they have; `workers` and `min_workers` of the settings are for single stages.
        """
        check_names(name, stages)
        labelled = [self._labelled(stage) for stage in stages]
        return self._run(labelled, units, on_result, name, bad_rows, progress or SilentProgress())

    def _labelled(self, stage: StageSpec) -> StageSpec:
        """The stage with the pool's labels beside its own, which win."""
        labels = {**self._settings.labels, **stage.resources.labels}
        return replace(stage, resources=replace(stage.resources, labels=labels))

    def _run(
        self,
        stages: Sequence[StageSpec],
        units: Sequence[Unit],
        on_result: ResultCallback,
        name: str,
        bad_rows: BadRowPolicy,
        progress: Progress,
    ) -> ExecutionReport:
        if not units:
            return ExecutionReport()
        retry, observer = self._settings.retry, observer_of(progress)
        self._connected_here = connect(self._settings.ray) or self._connected_here
        counts = self._first_counts(name, stages, len(units), progress)
        supervisor = Supervisor(units, retry, bad_rows, False, progress)
        pools = [
            StagePool(stage, retry, progress, observer, stage is stages[-1], len(stages) == 1)
            for stage in stages
        ]
        staffing = Staffing(name, pools, supervisor, self._settings.wait_for_nodes_s)
        coordinator = Coordinator(name, pools, supervisor, staffing, retry, on_result, observer, self._stop)
        try:
            coordinator.work(counts)
        finally:
            coordinator.release()
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

    def _first_counts(
        self, name: str, stages: Sequence[StageSpec], n_units: int, progress: Progress
    ) -> list[int]:
        """How many actors of every stage are asked for at once.

        Raises:
            PoolError: if they cannot be placed, even after a wait for what other pools just gave back.
        """
        demands = [Demand(stage.name, stage.resources, min(stage.workers, n_units)) for stage in stages]
        wanted = [demand.workers for demand in demands]
        if self._settings.wait_for_nodes_s > 0:
            return wanted
        counts = self._place(name, demands)
        for demand, count in zip(demands, counts, strict=True):
            if count < demand.workers:
                progress.log(f"{demand.name}: room for {count} of {demand.workers} workers")
        return counts

    def _place(self, name: str, demands: Sequence[Demand]) -> list[int]:
        """How many workers fit on the nodes that are there, at least one of each stage (of one: `min_workers`)."""
        started_s = time.monotonic()
        least = min(self._settings.min_workers, demands[0].workers) if len(demands) == 1 else 1
        while True:
            nodes, available = node_resources()
            counts = allocate(demands, nodes, available)
            possible = allocate(demands, nodes, total_resources(nodes))
            waited_s = time.monotonic() - started_s
            full = all(count == demand.workers for count, demand in zip(counts, demands, strict=True))
            if full or (min(counts) >= least and waited_s >= _FULL_SIZE_GRACE_S):
                return counts
            patience_s = self._settings.wait_for_room_s if min(possible) >= least else 0.0
            if min(counts) < least and waited_s >= patience_s:
                if len(demands) == 1:
                    one = demands[0]
                    raise placement_error(name, one.workers, least, one.resources, nodes, available)
                raise chain_error(name, demands, counts, nodes, available)
            time.sleep(0.1)
