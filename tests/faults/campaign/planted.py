"""Rows that break a stage, planted in this process: pose rows by sample id, motion files by name."""

import os
import signal
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from pipelines.executor import StageFactory
from pipelines.stages import augment_stage, import_stage
from tests.faults.campaign import chain_job
from tests.faults.campaign.strikes import Point, Watch, die, leave

RAISE, CRASH, HANG = "raise", "crash", "hang"


@dataclass(frozen=True)
class Planted:
    """What goes wrong in the processes that work.

    Attributes:
        rows: Sample id or file name -> "raise", "crash" or "hang".
        marks: Folder in which every row that did its worst leaves a file, and every kill.
        kills: Unit id -> number of the point, among those that name the unit's run, at which the worker dies; once.
        pids: Folder in which a worker leaves its process id under the name of the unit that it begins; "" for none.
        slow_s: How long a unit takes longer.
    """

    rows: Mapping[str, str] = field(default_factory=dict)
    marks: str = ""
    kills: Mapping[str, int] = field(default_factory=dict)
    pids: str = ""
    slow_s: float = 0.0

    def meet(self, keys: Iterable[str]) -> None:
        """Work on these rows."""
        for key in keys:
            what = self.rows.get(key)
            if what is None:
                continue
            leave(Path(self.marks, f"{what}-{key.replace('/', '_')}"))
            if what == CRASH:
                os.kill(os.getpid(), signal.SIGKILL)
            if what == HANG:
                time.sleep(3600)
            raise ValueError(f"poison: {key}")

    def fired(self) -> int:
        """How many rows did their worst."""
        names = {path.name for path in Path(self.marks).glob("*")}
        return sum(f"{what}-{key.replace('/', '_')}" in names for key, what in self.rows.items())


class _Augmentor:
    """An augmentor that meets the planted rows."""

    def __init__(self, inner: Any, planted: Planted) -> None:
        self._inner, self._planted = inner, planted

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def augment(self, batch: Any, copy: int) -> Any:
        """As the inner one, unless a planted row is in the batch."""
        self._planted.meet(map(str, batch.sample_id.tolist()))
        return self._inner.augment(batch, copy)


def plant(planted: Planted) -> None:
    """From now on in this process."""
    if not planted.rows:
        return
    build, read = augment_stage.build_augmentor, import_stage.read_motion

    def read_motion(path: Path, options: Any) -> Any:
        planted.meet([path.name])
        return read(path, options)

    def build_augmentor(*args: Any) -> Any:
        return _Augmentor(build(*args), planted)

    augment_stage.build_augmentor = build_augmentor
    chain_job.build_augmentor = build_augmentor
    import_stage.read_motion = read_motion


class DisturbedStage:
    """A job's own stage on a worker of a pool, with everything that is planned for it."""

    def __init__(self, factory: StageFactory, planted: Planted) -> None:
        plant(planted)
        self._inner: Any = factory()
        self._planted = planted
        self._unit, self._points = "", 0
        if planted.kills:
            Watch(self._on_point).install()

    def setup(self) -> None:
        """The stage's own."""
        self._inner.setup()

    def run(self, unit: Any, bad_rows: Any = ()) -> Any:
        """The unit, with its process id told, and perhaps death at one of its writes."""
        self._unit, self._points = unit.unit_id, 0
        if self._planted.pids:
            Path(self._planted.pids, f"{unit.unit_id}.{os.getpid()}").touch()
        time.sleep(self._planted.slow_s)
        return self._inner.run(unit, bad_rows)

    def probe(self, unit: Any, start_row: int, stop_row: int) -> None:
        """The stage's own."""
        self._inner.probe(unit, start_row, stop_row)

    def _on_point(self, point: Point) -> None:
        wanted = self._planted.kills.get(self._unit)
        if wanted is None or point.path.startswith(".scratch"):
            return
        mark = Path(self._planted.marks, f"kill-{self._unit}")
        if self._points == wanted and not mark.exists():
            die(mark)
        self._points += 1


class Disturbed:
    """An executor whose workers get `Planted` beside the stage."""

    def __init__(self, inner: Any, planted: Planted) -> None:
        self._inner, self._planted = inner, planted

    def run(self, stage_factory: StageFactory, *args: Any, **named: Any) -> Any:
        """See `pipelines.executor.Executor.run`."""
        return self._inner.run(partial(DisturbedStage, stage_factory, self._planted), *args, **named)

    def run_chain(self, *args: Any, **named: Any) -> Any:
        """Not disturbed from here."""
        return self._inner.run_chain(*args, **named)

    def close(self) -> None:
        """See `Executor.close`."""
        self._inner.close()
