"""The interface of those who run units, and of the stages that do the work inside them.

A stage is a plain class without Ray. The executor sets it up once per worker, hands it units, and owns
retries, the search for bad rows and the count of what failed. In-process and Ray executors give the same
bytes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field

from pipelines.knobs import knob
from pipelines.plan import Unit
from pipelines.progress import Progress
from storage.commit import UnitCommit
from storage.packed_commits import PackedCommits

FailureKind = Literal["raised", "transient", "whole_unit", "no_room", "died", "timed_out", "lost"]


@dataclass(frozen=True)
class Failure:
    """Why a unit or a row failed, in words that survive a process boundary.

    Attributes:
        kind: "raised" by the stage; "transient" (an OSError: retried); "whole_unit" (a UnitError: not
            searched for rows); "no_room" (a StoreFullError: ends the run); the worker "died"; it "timed_out"
            and was ended; or a whole node, or what an earlier stage had made, was "lost", which blames nobody.
        error_class: Name of the exception, or of the loss, such as "ActorDiedError".
        message: One line.
        traceback: The whole traceback, or "".
        stage: Of a pipeline, the stage in which it happened; "" where there is one stage only.
    """

    kind: FailureKind
    error_class: str
    message: str
    traceback: str = ""
    stage: str = ""

    def __str__(self) -> str:
        return f"{self.error_class}: {self.message}"


@dataclass(frozen=True)
class BadRow:
    """A row of a unit (0 to unit.rows - 1) that cannot be worked on, and why."""

    row: int
    failure: Failure


OnBadRow = Literal["fail", "skip", "quarantine"]


class Stage(Protocol):
    """Does units of one kind. Built, set up and used on one worker; keeps models and readers between units."""

    def setup(self) -> None:
        """Load what all units need. A failure here blames the stage, not a unit."""
        ...

    def run(self, unit: Unit, bad_rows: Sequence[BadRow] = ()) -> UnitCommit:
        """Do a unit and commit it.

        Args:
            bad_rows: Rows to leave out; the stage quarantines them, or counts them where the job skips bad
                rows.
        """
        ...


@runtime_checkable
class SplittableStage(Stage, Protocol):
    """A stage whose units can be searched for the row that breaks them."""

    def probe(self, unit: Unit, start_row: int, stop_row: int) -> None:
        """Work on rows [start_row, stop_row) as `run` would and write nothing; fail as `run` would fail."""
        ...


@runtime_checkable
class MicroBatched(Protocol):
    """A stage that may be asked to compute fewer rows at once, because a GPU's memory ran out. Its bytes stay the same:
    everything random is a function of the row."""

    micro_batch_rows: int


StageFactory = Callable[[], Stage]
ResultCallback = Callable[[UnitCommit], None]


class RetryPolicy(BaseModel):
    """How often and how fast work is tried again. All of it is run-time knobs: it never changes the result."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_attempts: int = Field(default=4, ge=1)
    """Attempts at a unit that meets transient errors, before it counts as failed."""
    deaths_before_suspect: int = Field(default=2, ge=1)
    """Worker deaths on one unit after which it is run alone; one more death there and it is searched for the row."""
    backoff_s: float = Field(default=0.5, ge=0)
    """Wait before the second attempt; doubles with each."""
    max_backoff_s: float = Field(default=30.0, ge=0)
    max_setup_failures: int = Field(default=3, ge=1)
    """Failures of `setup` in a row, without one success, that stop the job."""
    max_failed_units_at_start: int = Field(default=3, ge=1)
    """So many units given up before a single one was done stop the job: the fault is not in the units."""
    unit_timeout_s: float | None = Field(default=None, gt=0)
    """A unit that takes longer is ended with its worker. In a pipeline: than this in one stage. Without Ray it is
    interrupted, which code that never returns to Python escapes."""
    max_losses: int = Field(default=20, ge=1)
    """So many nodes lost under one unit, and it is suspected like one whose worker died."""


class BadRowPolicy(BaseModel):
    """What becomes of rows that break a stage."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    on_bad_row: OnBadRow = "quarantine"
    max_bad_rows: int = knob(1000, ge=0)
    """More bad rows than this in one run, all attempts at it together, stop it. It may be raised for a resume."""


@dataclass(frozen=True)
class FailedUnit:
    """A unit that was given up."""

    unit_id: str
    failure: Failure


@dataclass
class ExecutionReport:
    """What became of the units."""

    commits: PackedCommits = field(default_factory=PackedCommits)
    failed: list[FailedUnit] = field(default_factory=list)
    bad_rows: dict[str, list[BadRow]] = field(default_factory=dict)
    """By unit id."""
    retries: dict[str, int] = field(default_factory=dict)
    """Count of repeated attempts, by class of what failed."""
    workers_lost: int = 0
    micro_batch_rows: dict[str, int] = field(default_factory=dict)
    """Rows at once that a GPU's memory allowed, by stage; only where they had to be halved."""


@dataclass(frozen=True)
class WorkerResources:
    """What one worker needs; the in-process executor takes what the process has.

    Attributes:
        labels: Of the nodes where it may run, as `pipelines.node_labels` has them; none means anywhere.
    """

    num_cpus: float = 1.0
    num_gpus: float = 0.0
    torch_threads: int = 1
    labels: Mapping[str, str] = field(default_factory=dict)


def resources_on(device: str, gpus_per_worker: float) -> WorkerResources:
    """What a worker needs whose networks compute on "cpu", or on "cuda" with a share of a GPU."""
    return WorkerResources(num_gpus=gpus_per_worker if device.startswith("cuda") else 0.0)


DEFAULT_RETRY = RetryPolicy()
QUARANTINE_BAD_ROWS = BadRowPolicy()
ONE_CPU = WorkerResources()


class Executor(Protocol):
    """Runs units through a stage."""

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
        """Do all units, in any order; `on_result` is called on the caller's thread, once per commit.

        Raises:
            BadRowError: on the first bad row, if the policy is "fail".
            TooManyBadRowsError: if the policy's limit is passed.
            StageSetupError: if `setup` fails again and again.
            PoolError: if workers cannot be placed, or a unit finds no room to write.
            JobStoppedError: if the job was asked to stop; what is committed stays.
        """
        ...

    def close(self) -> None:
        """Give back workers and connections; the executor may be used again afterwards."""
        ...
