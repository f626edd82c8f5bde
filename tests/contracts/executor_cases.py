"""A stage for tests of executors: every unit writes made-up pairs, and some rows raise or end the process."""

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from pipelines.executor import BadRow, ExecutionReport, Executor, StageFactory
from pipelines.plan import Unit
from poses.batch import PoseBatch
from poses.identity import stable_id
from poses.skeleton import load_skeleton
from storage.commit import UnitCommit
from storage.manifest import publish_manifest
from storage.object_store import open_store
from storage.quarantine import QuarantinedRow
from storage.writer import UnitWriter

ROWS = 4
CAMERA = (1000, 1000, 500, 500, 0, 0, 0, 0, 0, 1000, 1000)
RUN = "test-run"


@dataclass(frozen=True)
class Behaviour:
    """How the stage behaves.

    Attributes:
        raising: (unit id, row) that raise.
        crashing: (unit id, row) that end the process with SIGKILL.
        hanging: (unit id, row) on which the stage sleeps for an hour.
        setup_error: Message of an error in `setup`, or "".
        setup_crash: `setup` ends the process.
        seconds: How long a unit takes.
        pid_folder: Where the worker leaves its pid when it begins a unit, under the unit's id.
    """

    raising: frozenset[tuple[str, int]] = field(default_factory=frozenset)
    crashing: frozenset[tuple[str, int]] = field(default_factory=frozenset)
    hanging: frozenset[tuple[str, int]] = field(default_factory=frozenset)
    setup_error: str = ""
    setup_crash: bool = False
    seconds: float = 0.0
    pid_folder: str = ""


NORMAL = Behaviour()


class MadeUpStage:
    """Writes `ROWS` pairs a unit, a function of (unit, row)."""

    def __init__(self, url: str, behaviour: Behaviour) -> None:
        self._url, self._behaviour = url, behaviour

    def setup(self) -> None:
        if self._behaviour.setup_error:
            raise ValueError(self._behaviour.setup_error)
        if self._behaviour.setup_crash:
            os.kill(os.getpid(), signal.SIGKILL)
        self._store = open_store(self._url)
        self._skeleton = load_skeleton("h36m_16")

    def run(self, unit: Unit, bad_rows: Sequence[BadRow] = ()) -> UnitCommit:
        if self._behaviour.pid_folder:
            Path(self._behaviour.pid_folder, unit.unit_id).write_text(str(os.getpid()))
        if self._behaviour.seconds:
            time.sleep(self._behaviour.seconds)
        bad = {row.row for row in bad_rows}
        self._check(unit, [row for row in range(unit.rows) if row not in bad])
        with UnitWriter(self._store, RUN, unit.unit_id, self._skeleton) as writer:
            writer.add_pairs(self._pairs(unit, [row for row in range(unit.rows) if row not in bad]))
            writer.quarantine(
                QuarantinedRow(unit.unit_id, row.row, str(row.failure), "made_up") for row in bad_rows
            )
            return writer.commit()

    def probe(self, unit: Unit, start_row: int, stop_row: int) -> None:
        self._check(unit, range(start_row, stop_row))

    def _check(self, unit: Unit, rows: Sequence[int]) -> None:
        for row in rows:
            if (unit.unit_id, row) in self._behaviour.raising:
                raise ValueError(f"poison in row {row}")
            if (unit.unit_id, row) in self._behaviour.hanging:
                time.sleep(3600.0)
            if (unit.unit_id, row) in self._behaviour.crashing:
                os.kill(os.getpid(), signal.SIGKILL)

    def _pairs(self, unit: Unit, rows: Sequence[int]) -> PoseBatch:
        count, joints = len(rows), self._skeleton.n_joints
        ids = np.asarray([stable_id(unit.unit_id, row) for row in rows], np.int64)
        values = np.sin(ids[:, None] % 1009 + np.arange(joints * 3)[None]).astype(np.float32)
        names = np.full(count, "made_up", object)
        return PoseBatch(
            skeleton=self._skeleton,
            sample_id=ids,
            joints_camera_m=values.reshape(count, joints, 3) + np.asarray([0, 0, 4], np.float32),
            keypoints_px=values[:, : joints * 2].reshape(count, joints, 2) * 100 + 500,
            keypoint_confidence=np.ones((count, joints), np.float32),
            camera_px=np.tile(np.asarray(CAMERA, np.float32), (count, 1)),
            source_id=ids,
            copy=np.zeros(count, np.int32),
            frame=np.asarray(rows, np.int32),
            clip=names,
            subject=names,
            action=names,
            camera_name=names,
        )


def stage_factory(url: str | Path, behaviour: Behaviour = NORMAL) -> StageFactory:
    """Makes the stage on a worker."""
    return partial(MadeUpStage, str(url), behaviour)


def units(count: int = 6) -> list[Unit]:
    """Units u0, u1, ..."""
    return [Unit(f"u{index}", "made_up", {}, ROWS) for index in range(count)]


def run_and_publish(
    executor: Executor,
    url: Path,
    behaviour: Behaviour = NORMAL,
    count: int = 6,
    told: list[str] | None = None,
) -> ExecutionReport:
    """Run all units and publish them; the ids of the results go to `told`."""
    names: list[str] = [] if told is None else told
    report = executor.run(
        stage_factory(url, behaviour), units(count), lambda commit: names.append(commit.unit_id), name="test"
    )
    publish_manifest(open_store(url), RUN, report.commits, load_skeleton("h36m_16"))
    return report


def digests(report: ExecutionReport) -> dict[str, list[str]]:
    """Unit id -> digests of its files."""
    return {commit.unit_id: [file.sha256 for file in commit.files] for commit in report.commits}
