"""Where the coordinator's limit is: the real one, with 10,000 actors that only sleep (`benchmarks.simulated_ray`).

`python -m benchmarks.bench_scaling --write` measures and writes the tables of docs/scaling.md; `make bench` takes the
rows for its own table. What Ray takes for a call and a wait is measured on a real local Ray with one actor and put into
the simulation; `--ray-call-us` and `--ray-wait-us` give it instead.
"""

import argparse
import gc
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.document import write_between
from benchmarks.row import BenchmarkRow
from benchmarks.simulated_ray import SimulatedRay, simulation
from benchmarks.source import source_pairs
from pipelines.executor import RetryPolicy
from pipelines.plan import Plan, Unit, plan_from_json, plan_to_json
from pipelines.ray_pool import RayPoolExecutor, RayPoolSettings
from poses.skeleton import Skeleton
from storage.commit import UnitCommit, iter_commits, put_commit
from storage.manifest import manifest_versions, publish_manifest
from storage.object_store import open_store
from storage.packed_commits import PackedCommits
from storage.paths import manifest_path
from storage.writer import UnitWriter

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "scaling.md"
BEGIN = "<!-- measured: written by `python -m benchmarks.bench_scaling --write` -->"
END = "<!-- end of what was measured -->"
ACTORS = (100, 1_000, 10_000)
UNITS = (10_000, 50_000, 200_000)
UNIT_SECONDS = (1.0, 10.0, 60.0)
STORED = 2_000
GOAL_UNITS, GOAL_ACTORS = 100_000_000, 10_000
_Made = TypeVar("_Made")


@dataclass(frozen=True)
class SimulatedRun:
    """One run of the coordinator with simulated actors.

    Attributes:
        coordinator_us: Processor time of the coordinator for one unit, Ray's share not in it.
        wall_s: Of the simulation's clock.
        busy: Share of their time that the actors work, begin and end of the run included.
    """

    actors: int
    units: int
    unit_s: float
    coordinator_us: float
    wall_s: float
    busy: float


@dataclass(frozen=True)
class RayCosts:
    """What Ray takes of the driver, in seconds: for a call with its answer, and for each reference in a wait."""

    call_s: float = 0.0
    wait_s: float = 0.0


def units_of(count: int) -> list[Unit]:
    """Units like those of a mass augmentation."""
    payload = {"file": "pairs/0123456789abcdef01234567.parquet", "first_copy": 1, "n_copies": 4}
    return [
        Unit(f"u{index:023d}", "augment", {**payload, "start_row": index, "stop_row": index + 65_536}, 65_536)
        for index in range(count)
    ]


def a_commit() -> tuple[UnitCommit, Skeleton]:
    """What a real unit commits, its statistics among it."""
    pairs = source_pairs(2_048)
    with (
        tempfile.TemporaryDirectory() as folder,
        UnitWriter(open_store(folder), "run", "unit", pairs.skeleton) as writer,
    ):
        writer.add_pairs(pairs)
        return writer.commit(), pairs.skeleton


def simulate(actors: int, n_units: int, unit_s: float, commit: UnitCommit, ray: RayCosts) -> SimulatedRun:
    """A run through the real executor, with actors that sleep."""
    cluster = SimulatedRay(actors, unit_s, commit, ray.call_s, ray.wait_s)
    units = units_of(n_units)
    executor = RayPoolExecutor(RayPoolSettings(workers=actors, retry=RetryPolicy()))
    with simulation(cluster):
        started_s, computed_s = cluster.monotonic(), cluster.computed_s()
        report = executor.run(_no_stage, units, lambda _: None)
        wall_s, computed_s = cluster.monotonic() - started_s, cluster.computed_s() - computed_s
    if len(report.commits) != n_units or report.failed:
        raise RuntimeError(f"{len(report.commits)} of {n_units} simulated units were done")
    return SimulatedRun(
        actors, n_units, unit_s, computed_s / n_units * 1e6, wall_s, cluster.busy_s / (actors * wall_s)
    )


def _no_stage() -> None:
    """Simulated actors have none."""


def memory_per_unit(commit: UnitCommit, count: int = 5_000) -> dict[str, float]:
    """Bytes that the driver holds for one unit: in the plan, its commit as objects, its commit as it is kept."""

    def taken(make: Callable[[], object]) -> float:
        gc.collect()
        tracemalloc.start()
        kept = make()
        size_bytes = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        del kept
        return size_bytes / count

    answer = commit.model_dump_json()
    fresh = UnitCommit.model_validate_json

    def packed() -> PackedCommits:
        return PackedCommits(
            fresh(answer).model_copy(update={"unit_id": f"u{index:023d}"}) for index in range(count)
        )

    return {
        "unit of the plan in memory": taken(lambda: units_of(count)),
        "commit as objects": taken(lambda: [fresh(answer) for _ in range(500)]) * count / 500,
        "commit as the driver keeps it": taken(packed),
    }


def stored_per_unit(commit: UnitCommit, skeleton: Skeleton, count: int = STORED) -> dict[str, float]:
    """What a unit costs of plan, commits and manifest on a local disk: bytes, and microseconds of the clock."""
    plan = Plan("run", "augment", tuple(units_of(count)), {}, {}, {}, "version")
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(folder)
        data, plan_us = _timed(lambda: plan_to_json(plan), count)
        _, parse_us = _timed(lambda: plan_from_json(data, "plan"), count)
        entry = commit.files[0]
        commits = [
            commit.model_copy(
                update={
                    "unit_id": unit.unit_id,
                    "files": (entry.model_copy(update={"path": f"pairs/{index:024x}.parquet"}),),
                }
            )
            for index, unit in enumerate(plan.units)
        ]
        _, put_us = _timed(lambda: [put_commit(store, one) for one in commits], count)
        names, list_us = _timed(lambda: store.list("commits/run"), count)
        read, read_us = _timed(lambda: PackedCommits(iter_commits(store, "run")), count)
        _, publish_us = _timed(lambda: publish_manifest(store, "run", read, skeleton), count)
        manifest_bytes = store.size_bytes(manifest_path(manifest_versions(store)[-1]))
        commit_bytes = store.size_bytes(names[0])
    return {
        "plan.json, bytes": len(data) / count,
        "plan written, us": plan_us,
        "plan read, us": parse_us,
        "commit, bytes": float(commit_bytes),
        "commit put (fsync), us": put_us,
        "commit listed, us": list_us,
        "commit read on a resume, us": read_us,
        "manifest, bytes": manifest_bytes / count,
        "manifest published, us": publish_us,
    }


def _timed(work: Callable[[], _Made], count: int) -> tuple[_Made, float]:
    started_s = time.perf_counter()
    made = work()
    return made, (time.perf_counter() - started_s) / count * 1e6


def ray_costs(calls: int = 2_000, references: int = 5_000) -> RayCosts:
    """Measured on a private Ray with one actor: processor time of this process for a call, wait and answer, and for
    each reference of a wait in which nothing is ready."""
    import ray

    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        actor: Any = ray.remote(_Sleeper).remote()
        ray.get(actor.perform.remote(units_of(1)[0]))
        computed_s = time.process_time()
        for unit in units_of(calls):
            call = actor.perform.remote(unit)
            ray.wait([call], num_returns=1)
            ray.get(call)
        call_s = (time.process_time() - computed_s) / calls
        actor.sleep.remote(1_000.0)
        waiting = [actor.perform.remote(unit) for unit in units_of(references)]
        time.sleep(1.0)
        computed_s = time.process_time()
        for _ in range(5):
            ray.wait(waiting, num_returns=len(waiting), timeout=0)
        return RayCosts(call_s, (time.process_time() - computed_s) / 5 / references)
    finally:
        ray.shutdown()


class _Sleeper:
    """An actor that does nothing."""

    def perform(self, unit: Unit) -> None:
        del unit

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


def sweep(commit: UnitCommit, ray: RayCosts) -> list[SimulatedRun]:
    """More actors, more units, longer units."""
    asked = [(actors, max(UNITS[0], 2 * actors), 10.0) for actors in ACTORS]
    asked += [(GOAL_ACTORS, units, 10.0) for units in UNITS]
    asked += [(GOAL_ACTORS, 10 * GOAL_ACTORS, seconds) for seconds in UNIT_SECONDS]
    return [simulate(actors, units, seconds, commit, ray) for actors, units, seconds in dict.fromkeys(asked)]


def tables(
    runs: list[SimulatedRun], memory: dict[str, float], stored: dict[str, float], ray: RayCosts
) -> str:
    """What was measured, in Markdown, and what follows for 100 million units."""
    lines = [
        f"Ray took {ray.call_s * 1e6:.0f} us of the driver for a call and its answer, and {ray.wait_s * 1e6:.2f} us for"
        " each reference in a wait.",
        "",
        "| actors | units | a unit takes | coordinator, us a unit | the whole run | units/s | actors at work |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {run.actors:,} | {run.units:,} | {run.unit_s:g} s | {run.coordinator_us:.0f} | {run.wall_s:,.1f} s |"
        f" {run.units / run.wall_s:,.0f} | {run.busy:.0%} |"
        for run in runs
    ]
    lines += [
        "",
        f"| for one unit | measured | 1 million units | {GOAL_UNITS // 10**6} million |",
        "|---|---|---|---|",
    ]
    for name, size in memory.items():
        lines.append(f"| {name}, bytes | {size:,.0f} | {_size(size * 1e6)} | {_size(size * GOAL_UNITS)} |")
    for name, value in stored.items():
        show = _duration if name.endswith("us") else _size
        scale = 1e-6 if name.endswith("us") else 1.0
        lines.append(
            f"| {name} | {value:,.0f} | {show(value * scale * 1e6)} | {show(value * scale * GOAL_UNITS)} |"
        )
    most = max(run.actors for run in runs)
    per_s = 1 / (min(run.coordinator_us for run in runs if run.actors == most) * 1e-6 + ray.call_s)
    lines += [
        "",
        f"With {most:,} actors the coordinator does at most {per_s:,.0f} units/s: {GOAL_UNITS:,} units take it"
        f" {_duration(GOAL_UNITS / per_s)}, and {GOAL_ACTORS:,} actors stay at work when a unit takes"
        f" {GOAL_ACTORS / per_s:.1f} s or more.",
    ]
    return "\n".join(lines)


def _size(size_bytes: float) -> str:
    for unit, scale in (("GB", 1e9), ("MB", 1e6)):
        if size_bytes >= scale:
            return f"{size_bytes / scale:,.1f} {unit}"
    return f"{size_bytes:,.0f} B"


def _duration(seconds: float) -> str:
    for unit, scale in (("h", 3600.0), ("min", 60.0)):
        if seconds >= scale:
            return f"{seconds / scale:,.1f} {unit}"
    return f"{seconds:,.1f} s"


def measure() -> list[BenchmarkRow]:
    """The coordinator alone, with 10,000 actors, and its memory at a million units."""
    commit, _ = a_commit()
    run = simulate(GOAL_ACTORS, 5 * GOAL_ACTORS, 1.0, commit, RayCosts())
    memory = memory_per_unit(commit, 2_000)
    held = memory["unit of the plan in memory"] + memory["commit as the driver keeps it"]
    return [
        BenchmarkRow(
            "coordinator with 10,000 simulated actors, without Ray's share", run.units / run.wall_s, "units/s"
        ),
        BenchmarkRow("coordinator's memory with 1,000,000 units in a plan, all done", held * 1e6 / 1e9, "GB"),
    ]


def main() -> None:
    """Measure; print the tables, or write them into docs/scaling.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the tables into docs/scaling.md")
    parser.add_argument(
        "--ray-call-us", type=float, help="what Ray takes for a call, instead of measuring it"
    )
    parser.add_argument("--ray-wait-us", type=float, default=0.0, help="and for each reference in a wait")
    arguments = parser.parse_args()
    if arguments.ray_call_us is None:
        ray = ray_costs()
    else:
        ray = RayCosts(arguments.ray_call_us * 1e-6, arguments.ray_wait_us * 1e-6)
    commit, skeleton = a_commit()
    text = tables(sweep(commit, ray), memory_per_unit(commit), stored_per_unit(commit, skeleton), ray)
    print(text)
    if arguments.write:
        write_between(DOCUMENT, BEGIN, END, text)


if __name__ == "__main__":
    main()
