"""The chain of the campaign: read -> augment -> write, three stages that do what the job `augment` does in one."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from pipelines.augmentors import build_augmentor
from pipelines.context import RunContext
from pipelines.executor import BadRow, WorkerResources
from pipelines.mass_augment import AugmentSettings, plan_augment
from pipelines.plan import Unit
from pipelines.run_units import UnitsResult, run_units
from pipelines.stage_chain import RowRange, StageSpec
from pipelines.stages.quarantined import bad_pairs
from poses.batch import PoseBatch
from storage.commit import UnitCommit, read_commit
from storage.object_store import open_store
from storage.reader import Dataset
from storage.writer import UnitWriter


class Read:
    """Rows of the source."""

    def __init__(self, source: str) -> None:
        self._url = source

    def setup(self) -> None:
        """Open it."""
        self._source = Dataset.open(self._url)

    def transform(self, unit: Unit, rows: RowRange, value: Any) -> PoseBatch:
        """The unit's rows, less the bad ones."""
        del value
        payload = unit.payload
        whole = self._source.read_rows(payload["file"], payload["start_row"], payload["stop_row"])
        return whole.take(np.asarray(list(rows), np.int64))


class Augment:
    """All copies of the rows."""

    def __init__(self, settings: AugmentSettings, seed: int) -> None:
        self._settings, self._seed = settings, seed

    def setup(self) -> None:
        """Build the augmentor."""
        self._augmentor = build_augmentor(self._settings.augmentor, self._seed, "cpu")

    def transform(self, unit: Unit, rows: RowRange, value: PoseBatch) -> PoseBatch:
        """Copy after copy."""
        del rows
        first = unit.payload["first_copy"]
        copies = range(first, first + unit.payload["n_copies"])
        return PoseBatch.concat([self._augmentor.augment(value, copy).pairs for copy in copies])


@dataclass
class Write:
    """Commits what came of a unit."""

    source: str
    out_url: str
    run_id: str

    def setup(self) -> None:
        """Open both ends."""
        self._store, self._source = open_store(self.out_url), Dataset.open(self.source)

    def commit(self, unit: Unit, value: PoseBatch, bad_rows: Sequence[BadRow]) -> UnitCommit:
        """Write, and quarantine the bad rows."""
        done = read_commit(self._store, self.run_id, unit.unit_id)
        if done is not None:
            return done
        payload = unit.payload
        with UnitWriter(self._store, self.run_id, unit.unit_id, self._source.skeleton) as writer:
            writer.add_pairs(value)
            if bad_rows:
                whole = self._source.read_rows(payload["file"], payload["start_row"], payload["stop_row"])
                writer.quarantine(bad_pairs(whole, bad_rows, payload["file"], payload["start_row"], "chain"))
            return writer.commit()

    def check(self, unit: Unit, rows: RowRange, value: PoseBatch) -> None:
        """Nothing can go wrong here."""


class _AsPool:
    """An executor that does a job's units by a chain instead of its one stage."""

    def __init__(self, inner: Any, stages: Sequence[StageSpec]) -> None:
        self._inner, self._stages = inner, stages

    def run(self, stage_factory: Any, *args: Any, resources: Any, **named: Any) -> Any:
        """See `ChainExecutor.run_chain`."""
        del stage_factory, resources
        return self._inner.run_chain(self._stages, *args, **named)

    def close(self) -> None:
        """See `Executor.close`."""
        self._inner.close()


def run_chain_job(settings: AugmentSettings, context: RunContext, workers: int = 1) -> UnitsResult:
    """Augments a dataset by a chain, on half a CPU a worker."""
    plan, source = plan_augment(settings, context.seed)
    half = WorkerResources(num_cpus=0.3)
    stages = [
        StageSpec("read", partial(Read, settings.source), half, workers),
        StageSpec("augment", partial(Augment, settings, context.seed), half, workers),
        StageSpec("write", partial(Write, settings.source, context.out_url, plan.run_id), half, workers),
    ]
    inner = RunContext(context.out_url, _AsPool(context.executor, stages), context.seed, context.progress)  # pyright: ignore[reportArgumentType]
    return run_units(plan, None, source.skeleton, inner, bad_rows=settings.bad_rows)  # pyright: ignore[reportArgumentType]
