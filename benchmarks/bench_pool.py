"""What supervision costs: the pool beside a plain loop over the same units, and beside Ray Data over the same rows.

- Units that sleep for a second and commit: a plain loop, the in-process executor, the Ray pool with one actor. From the
  first commit to the last, so that starting Ray, which a plain loop does not, is not in it; that is a row of its own.
- The same on 1 to 4 actors, and 100 to 10,000 units that do nothing.
- Read, mirror and write 1,048,576 poses: ours one unit a file, with commits and a manifest; Ray Data's `read_parquet`,
  `map_batches`, `write_parquet` with the same compression, on the same Ray with the same CPUs.
"""

import argparse
import os
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.mirror import MirrorStage, mirrored
from benchmarks.row import BenchmarkRow, rate_row, time_row
from benchmarks.source import source_pairs
from pipelines.executor import BadRow, Executor, StageFactory
from pipelines.in_process import InProcessExecutor
from pipelines.plan import Unit
from pipelines.ray_pool import RayPoolExecutor, RayPoolSettings
from pipelines.ray_session import RaySettings
from poses.batch import PoseBatch
from storage.commit import UnitCommit, put_commit
from storage.manifest import publish_manifest
from storage.object_store import open_store
from storage.pairs_file import COMPRESSION_LEVEL
from storage.reader import Dataset
from storage.writer import ROW_GROUP_ROWS, UnitWriter

UNIT_S = 1.0
UNITS = 12
GOAL_OF_LIMIT = 1 / 1.05
"""At most 5 % overhead."""
GROWTH_UNITS, GROWTH_UNIT_S = 40, 0.25
MANY = (100, 1_000, 10_000)
POSES = 1 << 20
OBJECT_STORE_MB = 1_500
"""Ray Data moves its rows through the object store; ours needs next to none."""


@dataclass
class SleepingStage:
    """Sleeps for a unit and commits nothing but its name; without a store it only answers."""

    url: str
    seconds: float

    def setup(self) -> None:
        self._store = open_store(self.url) if self.url else None

    def run(self, unit: Unit, bad_rows: Sequence[BadRow] = ()) -> UnitCommit:
        if self.seconds:
            time.sleep(self.seconds)
        commit = UnitCommit(run_id="run", unit_id=unit.unit_id, writer_id="w", files=(), rows=0)
        return put_commit(self._store, commit) if self._store else commit


def _units(count: int) -> list[Unit]:
    return [Unit(f"u{index}", "benchmark") for index in range(count)]


def pool(workers: int, cpus: int, object_store_mb: int = 200) -> RayPoolExecutor:
    """A pool on a private Ray."""
    ray = RaySettings(num_cpus=cpus, object_store_mb=object_store_mb)
    return RayPoolExecutor(RayPoolSettings(workers=workers, ray=ray))


def first_to_last_s(run: Callable[[Callable[[UnitCommit], None]], object]) -> tuple[float, float]:
    """Seconds to the first result, and from there to the last."""
    times_s = [time.perf_counter()]
    run(lambda _: times_s.append(time.perf_counter()))
    return times_s[1] - times_s[0], times_s[-1] - times_s[1]


def overhead_rows(units: int = UNITS, unit_s: float = UNIT_S) -> list[BenchmarkRow]:
    """Both executors beside a plain loop over the same units."""
    with tempfile.TemporaryDirectory() as folder, pool(1, 1) as ray_pool:

        def stage(name: str) -> SleepingStage:
            return SleepingStage(f"{folder}/{name}", unit_s)

        def loop(on_result: Callable[[UnitCommit], None]) -> None:
            plain = stage("loop")
            plain.setup()
            for unit in _units(units):
                on_result(plain.run(unit))

        def through(executor: Executor, name: str) -> Callable[[Callable[[UnitCommit], None]], object]:
            return lambda on_result: executor.run(partial(stage, name), _units(units), on_result)

        _, plain_s = first_to_last_s(loop)
        _, inside_s = first_to_last_s(through(InProcessExecutor(), "inside"))
        start_s, pool_s = first_to_last_s(through(ray_pool, "pool"))
    name = f"{units - 1} units of {unit_s:g} s"
    return [
        time_row(f"in-process executor, {name}", inside_s, plain_s, "plain loop", GOAL_OF_LIMIT),
        time_row(f"Ray pool of one actor, {name}", pool_s, plain_s, "plain loop", GOAL_OF_LIMIT),
        BenchmarkRow("Ray and its first actor, to the first commit, less the unit", start_s - unit_s, "s"),
    ]


def growth_rows(actors: Sequence[int] = (1, 2, 4), units: int = GROWTH_UNITS) -> list[BenchmarkRow]:
    """More actors, units that sleep; then many units that do nothing."""
    rows: list[BenchmarkRow] = []
    with pool(1, max(actors)) as session:
        session.connect()
        for count in actors:
            with tempfile.TemporaryDirectory() as folder:
                stage = partial(SleepingStage, folder, GROWTH_UNIT_S)
                per_s = _steady_rate(pool(count, max(actors)), stage, units, skipped=2 * count)
            limit = count / GROWTH_UNIT_S
            name = f"Ray pool of {count} actor(s), units of {GROWTH_UNIT_S:g} s"
            rows.append(rate_row(name, per_s, "units/s", limit, "sleeping alone"))
        return rows + [_many_row(max(actors), count) for count in MANY]


def _many_row(actors: int, count: int) -> BenchmarkRow:
    inside = _steady_rate(InProcessExecutor(), partial(SleepingStage, "", 0.0), count)
    per_s = _steady_rate(pool(2, actors), partial(SleepingStage, "", 0.0), count)
    name = f"{count:,} units that do nothing, Ray pool of 2 actors"
    return rate_row(name, per_s, "units/s", inside, "in-process executor")


def _steady_rate(executor: Executor, stage: StageFactory, units: int, skipped: int = 0) -> float:
    """Results a second after the first ones, when all actors are there."""
    times_s: list[float] = []
    executor.run(stage, _units(units), lambda _: times_s.append(time.perf_counter()))
    return (units - 1 - skipped) / (times_s[-1] - times_s[skipped])


def write_source(folder: Path, poses: int) -> None:
    """So many poses in files of one row group each; the same rows in every file but for their ids."""
    store = open_store(folder)
    rows = min(poses, ROW_GROUP_ROWS)
    pairs = source_pairs(rows)
    commits = []
    for index in range(poses // rows):
        ids = pairs.sample_id + index * rows
        part: PoseBatch = replace(pairs, sample_id=ids, source_id=ids)
        with UnitWriter(store, "source", f"u{index}", pairs.skeleton) as writer:
            writer.add_pairs(part)
            commits.append(writer.commit())
    publish_manifest(store, "source", commits, pairs.skeleton)


def ours(source: Path, out: Path, workers: int, session: RaySettings) -> None:
    """Read, mirror, write, commit and publish with the supervised pool."""
    dataset = Dataset.open(source)
    units = [
        Unit(f"u{index}", "mirror", {"file": entry.path}, entry.rows)
        for index, entry in enumerate(dataset.pair_files)
    ]
    executor = RayPoolExecutor(RayPoolSettings(workers=workers, ray=session))
    report = executor.run(partial(MirrorStage, str(source), str(out)), units, lambda _: None)
    publish_manifest(open_store(out), "run", report.commits, dataset.skeleton)


def theirs(source: Path, out: Path) -> None:
    """The same with Ray Data, as its documentation has it."""
    import ray

    ray.data.DataContext.get_current().enable_progress_bars = False
    data: Any = ray.data.read_parquet(Dataset.open(source).file_urls())
    data.map_batches(mirrored).write_parquet(
        str(out), compression="zstd", compression_level=COMPRESSION_LEVEL
    )


def beside_ray_data(poses: int = POSES) -> list[BenchmarkRow]:
    """Poses a second and the time to the first file, of both, in turns; the faster of two runs each."""
    cpus = os.cpu_count() or 1
    session = RaySettings(num_cpus=cpus, object_store_mb=OBJECT_STORE_MB)
    times: dict[str, list[tuple[float, float]]] = {"ours": [], "theirs": []}
    with (
        tempfile.TemporaryDirectory() as name,
        RayPoolExecutor(RayPoolSettings(workers=cpus, ray=session)) as held,
    ):
        folder = Path(name)
        write_source(folder / "source", poses)
        held.connect()
        for repeat in range(2):
            out = folder / f"ours{repeat}"
            work = partial(ours, folder / "source", out, cpus, session)
            times["ours"].append(_times_s(work, lambda out=out: any(out.glob("commits/*/*.json"))))
            out = folder / f"theirs{repeat}"
            work = partial(theirs, folder / "source", out)
            times["theirs"].append(_times_s(work, lambda out=out: any(out.glob("*.parquet"))))
    our_s, our_first_s = (min(taken) for taken in zip(*times["ours"], strict=True))
    their_s, their_first_s = (min(taken) for taken in zip(*times["theirs"], strict=True))
    what = f"read, mirror, write {poses:,} poses, {cpus} CPUs"
    return [
        rate_row(what, poses / our_s, "poses/s", poses / their_s, "Ray Data"),
        time_row("the same, to the first commit", our_first_s, their_first_s, "Ray Data, to the first file"),
    ]


def _times_s(work: Callable[[], None], first: Callable[[], bool]) -> tuple[float, float]:
    """Seconds of the work, and to its first output."""
    seen_s: list[float] = []
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            if first():
                seen_s.append(time.perf_counter())
                return
            time.sleep(0.01)

    watcher = threading.Thread(target=watch, daemon=True)
    started_s = time.perf_counter()
    watcher.start()
    try:
        work()
    finally:
        over.set()
        ended_s = time.perf_counter()
        watcher.join()
    return ended_s - started_s, (seen_s[0] if seen_s else ended_s) - started_s


def measure() -> list[BenchmarkRow]:
    """All of it."""
    return [*overhead_rows(), *growth_rows(), *beside_ray_data()]


def main() -> None:
    """Measure a part of it, with a row count of one's own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--poses", type=int, default=POSES)
    parser.add_argument("--only", choices=("overhead", "growth", "data"))
    arguments = parser.parse_args()
    parts = {
        "overhead": overhead_rows,
        "growth": growth_rows,
        "data": partial(beside_ray_data, arguments.poses),
    }
    for part in parts if arguments.only is None else [arguments.only]:
        for row in parts[part]():
            print(row, flush=True)


if __name__ == "__main__":
    main()
