"""Exceptions become failures of the right kind; a pool without room is explained; the writer's thread hides nothing."""

import numpy as np
import pytest

from pipelines.errors import UnitError
from pipelines.executor import WorkerResources
from pipelines.plan import Unit
from pipelines.ray_session import placement_error, workers_that_fit
from pipelines.stages.overlapped_writer import OverlappedWriter
from pipelines.stages.quarantined import strict_json
from pipelines.supervision import Task
from pipelines.worker import StageWorker, failure_of
from poses.batch import PoseBatch
from poses.skeleton import load_skeleton
from storage.errors import ShardError, StoreError, StoreFullError


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ValueError("bad"), "raised"),
        (ShardError("bad"), "raised"),
        (UnitError("damaged"), "whole_unit"),
        (StoreError("slow down"), "transient"),
        (StoreFullError("no room"), "no_room"),
        (FileNotFoundError("gone"), "raised"),
    ],
)
def test_kind_of_failure(error: Exception, kind: str) -> None:
    failure = failure_of(error)
    assert failure.kind == kind
    assert failure.error_class == type(error).__name__
    assert str(error) in failure.traceback


def test_a_stage_without_probe_says_so() -> None:
    class Plain:
        def setup(self) -> None: ...

        def run(self, unit: Unit, bad_rows: object = ()) -> None: ...

    worker = StageWorker(Plain)  # pyright: ignore[reportArgumentType]
    assert worker.setup_and_describe() == (None, False)
    outcome = worker.perform(Task(Unit("u", "x"), "probe", (), 0, 1))
    assert outcome.failure is not None
    assert "Plain has no `probe`" in outcome.failure.message


NODES = [{"CPU": 4.0, "GPU": 1.0}, {"CPU": 4.0}]
FREE = {"CPU": 8.0, "GPU": 1.0}


@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        (WorkerResources(1), 8),
        (WorkerResources(3), 2),
        (WorkerResources(8), 0),
        (WorkerResources(0.5, 0.25), 4),
        (WorkerResources(1, 2), 0),
    ],
)
def test_workers_never_span_nodes(wanted: WorkerResources, count: int) -> None:
    assert workers_that_fit(wanted, NODES, FREE) == count


@pytest.mark.parametrize(
    ("wanted", "available", "words"),
    [
        (WorkerResources(8), FREE, "no single node can hold one worker"),
        (WorkerResources(1), {"CPU": 0.0}, "wait for the other pools.*"),
        (WorkerResources(3), FREE, "ask for fewer workers, or add nodes"),
    ],
)
def test_advice_fits_the_reason(wanted: WorkerResources, available: dict[str, float], words: str) -> None:
    error = placement_error("augment", 4, 3, wanted, NODES, available)
    with pytest.raises(type(error), match=words):
        raise error


class FailingWriter:
    """Stands for a writer whose disk is full."""

    def __init__(self) -> None:
        self.rows = 0

    def add_pairs(self, batch: PoseBatch) -> None:
        self.rows += 1
        raise StoreError("no space left")


def test_an_error_of_the_writers_thread_reaches_the_stage() -> None:
    writer, batch = FailingWriter(), PoseBatch.empty(load_skeleton("h36m_16"))
    pairs = OverlappedWriter(writer)  # pyright: ignore[reportArgumentType]
    pairs.add_pairs(batch)
    with pytest.raises(StoreError, match="no space left"):
        pairs.flush()
    assert writer.rows == 1


def test_a_stage_that_fails_ends_the_writers_thread() -> None:
    pairs = OverlappedWriter(FailingWriter())  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="in the stage"), pairs:
        raise ValueError("in the stage")
    assert not pairs._thread.is_alive()


def test_quarantined_numbers_stay_strict_json() -> None:
    assert (
        strict_json({"a": np.float32([1.5, np.nan, -np.inf]), "b": np.int64(3)})
        == '{"a": [1.5, "nan", "-inf"], "b": 3}'
    )
