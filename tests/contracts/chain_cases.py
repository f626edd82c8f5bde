"""A chain for tests: `Decode` makes a block for every row, `Lift` passes it on, `Write` commits as `MadeUpStage` does.

Each may raise, hang or end its process on chosen rows, and notes when it made or took a value.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.executor import BadRow, WorkerResources
from pipelines.plan import Unit
from pipelines.stage_chain import RowRange, StageSpec
from storage.commit import UnitCommit
from tests.contracts.executor_cases import NORMAL, Behaviour, MadeUpStage

BLOCK_VALUES = 100_000
"""400 kB a unit: more than Ray keeps inside its messages."""


@dataclass(frozen=True)
class ChainBehaviour:
    """How the three stages behave, and the folder where they note what they do ("" for nowhere)."""

    decode: Behaviour = NORMAL
    lift: Behaviour = NORMAL
    write: Behaviour = NORMAL
    notes: str = ""


def note(folder: str, event: str, unit: Unit) -> None:
    """Append `time event unit pid` to the process's own file."""
    if folder:
        with Path(folder, str(os.getpid())).open("a") as file:
            file.write(f"{time.time_ns()} {event} {unit.unit_id} {os.getpid()}\n")


def notes_in(folder: Path) -> list[tuple[int, str, str, int]]:
    """Every note as (time, event, unit, pid), in order of time."""
    lines = [line.split() for path in folder.iterdir() for line in path.read_text().splitlines()]
    return sorted((int(when), event, unit, int(pid)) for when, event, unit, pid in lines)


class _Part:
    """What the stages have in common."""

    def __init__(self, url: str, behaviour: Behaviour, notes: str) -> None:
        self._plain = MadeUpStage(url, behaviour)
        self._behaviour, self._notes = behaviour, notes
        self._writer = MadeUpStage(url, NORMAL)

    def setup(self) -> None:
        self._plain.setup()
        self._writer.setup()

    def _begin(self, unit: Unit, rows: Sequence[int]) -> None:
        if self._behaviour.pid_folder:
            Path(self._behaviour.pid_folder, unit.unit_id).write_text(str(os.getpid()))
        time.sleep(self._behaviour.seconds)
        self._plain._check(unit, rows)


class Decode(_Part):
    """The first stage: the rows' numbers and a block that is a function of the unit."""

    def transform(self, unit: Unit, rows: RowRange, value: Any) -> Any:
        assert value is None
        wanted = list(rows)
        self._begin(unit, wanted)
        block = np.full(BLOCK_VALUES, int(unit.unit_id[1:]), np.float32)
        note(self._notes, "made", unit)
        return {"rows": np.asarray(wanted), "block": block}


class Lift(_Part):
    """The middle stage."""

    def transform(self, unit: Unit, rows: RowRange, value: Any) -> Any:
        note(self._notes, "lifting", unit)
        assert list(value["rows"]) == list(rows)
        self._begin(unit, list(rows))
        note(self._notes, "lifted", unit)
        return {**value, "lifted": value["block"][:1] + 1}


class Write(_Part):
    """The last stage."""

    def commit(self, unit: Unit, value: Any, bad_rows: Sequence[BadRow]) -> UnitCommit:
        note(self._notes, "taken", unit)
        self._begin(unit, self._rows(unit, value))
        return self._writer.run(unit, bad_rows)

    def check(self, unit: Unit, rows: RowRange, value: Any) -> None:
        assert self._rows(unit, value) == list(rows)
        self._begin(unit, list(rows))

    def _rows(self, unit: Unit, value: Any) -> list[int]:
        assert value["lifted"][0] == int(unit.unit_id[1:]) + 1
        assert len(value["block"]) == BLOCK_VALUES
        return [int(row) for row in value["rows"]]


def chain(
    url: Path,
    behaviour: ChainBehaviour = ChainBehaviour(),
    workers: tuple[int, int, int] = (1, 1, 1),
    resources: tuple[WorkerResources, WorkerResources, WorkerResources] | None = None,
    max_queued: int | None = None,
) -> list[StageSpec]:
    """decode -> lift -> write, half a CPU each by default."""
    needs = resources or (WorkerResources(num_cpus=0.5),) * 3
    made = zip(
        ("decode", "lift", "write"),
        (Decode, Lift, Write),
        (behaviour.decode, behaviour.lift, behaviour.write),
        needs,
        workers,
        strict=True,
    )
    return [
        StageSpec(name, partial(kind, str(url), one, behaviour.notes), need, count, max_queued)
        for name, kind, one, need, count in made
    ]
