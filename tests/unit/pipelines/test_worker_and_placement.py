"""Exceptions become failures of the right kind; a pool without room is explained; torch is not paid for in vain."""

import os
import subprocess
import sys

import numpy as np
import pytest

from pipelines.errors import UnitError
from pipelines.executor import WorkerResources
from pipelines.plan import Unit
from pipelines.ray_session import placement_error, workers_that_fit
from pipelines.stages.quarantined import strict_json
from pipelines.supervision import Task
from pipelines.worker import StageWorker, failure_of
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


def test_torch_is_limited_where_it_is_and_not_imported_where_it_is_not() -> None:
    """In a process of its own: this one has torch."""
    script = """
import sys
from pipelines.plan import Unit
from pipelines.worker import StageWorker

class Late:
    def setup(self): ...
    def run(self, unit, bad_rows=()):
        import torch
        raise ValueError(str(torch.get_num_threads()))

worker = StageWorker(Late, torch_threads=2)
worker.setup()
assert "torch" not in sys.modules, "torch was imported for a stage that does not use it"
from pipelines.supervision import Task
print(worker.perform(Task(Unit("u", "x"), "run", (), 0, 0)).failure.message)
StageWorker(Late, torch_threads=1).setup()
import torch
print(torch.get_num_threads())
"""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False
    )
    assert done.stdout.split() == ["2", "1"], done.stderr


def test_quarantined_numbers_stay_strict_json() -> None:
    assert (
        strict_json({"a": np.float32([1.5, np.nan, -np.inf]), "b": np.int64(3)})
        == '{"a": [1.5, "nan", "-inf"], "b": 3}'
    )
