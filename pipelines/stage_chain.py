"""Several stages with resources of their own that stream into each other: decode on CPUs, compute on shares of a GPU.

A unit goes through all stages; what one makes of it is the next one's input and never passes the driver. Only the last
stage writes. A unit that loses its way (a dead worker, a lost node) begins again at the first stage, and a bad unit is
searched for its rows through the whole chain.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pipelines.executor import (
    ONE_CPU,
    QUARANTINE_BAD_ROWS,
    BadRow,
    BadRowPolicy,
    ExecutionReport,
    Executor,
    ResultCallback,
    WorkerResources,
)
from pipelines.plan import Unit
from pipelines.progress import Progress
from storage.commit import UnitCommit


@dataclass(frozen=True)
class RowRange:
    """Rows [start, stop) of a unit, without those that are known to be bad; empty for units without rows."""

    start: int
    stop: int
    without: tuple[int, ...] = ()

    def __iter__(self) -> Iterator[int]:
        left_out = set(self.without)
        return (row for row in range(self.start, self.stop) if row not in left_out)


class LinkStage(Protocol):
    """Any stage of a chain but the last. Writes nothing."""

    def setup(self) -> None:
        """Load what all units need. A failure here blames the stage, not a unit."""
        ...

    def transform(self, unit: Unit, rows: RowRange, value: Any) -> Any:
        """What the next stage shall get for these rows of the unit.

        Args:
            value: What the stage before gave for the same rows; None in the first stage. Not to be changed: on Ray its
                arrays are read-only views of shared memory.
        """
        ...


class SinkStage(Protocol):
    """The last stage of a chain."""

    def setup(self) -> None:
        """See `LinkStage.setup`."""
        ...

    def commit(self, unit: Unit, value: Any, bad_rows: Sequence[BadRow]) -> UnitCommit:
        """Write and commit what came of a whole unit, and quarantine (or count) its bad rows."""
        ...

    def check(self, unit: Unit, rows: RowRange, value: Any) -> None:
        """Work on some rows as `commit` would and write nothing; fail as `commit` would fail."""
        ...


@dataclass(frozen=True)
class StageSpec:
    """One stage of a chain and its workers.

    Attributes:
        name: Unique in its chain; failures carry it.
        factory: Makes the stage, in the worker's process: a `SinkStage` for the last, else a `LinkStage`
            (or, where it is the only one, a `Stage`).
        resources: What one worker needs.
        workers: At most so many.
        max_queued: Outputs of this stage that may exist at once, being made or waiting for the next stage; None takes
            twice the workers. With what the next stage is working on this bounds the memory: `max_queued` plus the
            next stage's workers.
    """

    name: str
    factory: Callable[[], Any]
    resources: WorkerResources = ONE_CPU
    workers: int = 1
    max_queued: int | None = None

    def __post_init__(self) -> None:
        if self.workers < 1 or (self.max_queued is not None and self.max_queued < 1):
            raise ValueError(
                f"stage {self.name!r}: wanted at least 1 worker and 1 queued output, got {self.workers} and "
                f"{self.max_queued}"
            )

    @property
    def output_bound(self) -> int:
        """Outputs that may be in the making or wait."""
        return 2 * self.workers if self.max_queued is None else self.max_queued


class ChainExecutor(Executor, Protocol):
    """An executor that also runs chains."""

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
        """Do all units through all stages; as `Executor.run` otherwise.

        Raises:
            PoolError: if one worker of every stage cannot be placed side by side.
        """
        ...


def check_names(name: str, stages: Sequence[StageSpec]) -> None:
    """Refuse a chain without stages, or with two of one name.

    Raises:
        ValueError: naming the chain.
    """
    names = [stage.name for stage in stages]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"chain {name!r}: wanted at least one stage and unique names, got {names}")
