"""The simulation of a cluster: the real coordinator runs in it, and its clock jumps over the waiting."""

import sys
import time

import pytest

from benchmarks.bench_scaling import RayCosts, SimulatedRun, simulate, tables, units_of
from benchmarks.simulated_ray import SimulatedRay, simulation
from pipelines import ray_coordinator
from storage.commit import UnitCommit

COMMIT = UnitCommit(run_id="run", unit_id="unit", writer_id="w", files=(), rows=7)


def test_many_actors_sleep_through_a_run_in_no_time() -> None:
    started_s = time.perf_counter()
    run = simulate(50, 200, 100.0, COMMIT, RayCosts())
    assert time.perf_counter() - started_s < 60.0
    assert 4 * 80.0 <= run.wall_s <= 6 * 120.0
    assert 0.6 < run.busy <= 1.0


def test_what_ray_takes_slows_the_coordinator_down() -> None:
    slow = simulate(20, 60, 1.0, COMMIT, RayCosts(call_s=1.0))
    assert slow.wall_s > 60.0
    assert slow.busy < 0.2


def test_ray_and_the_clock_come_back() -> None:
    import ray

    cluster = SimulatedRay(1, 1.0, COMMIT)
    with simulation(cluster):
        assert sys.modules["ray"] is cluster
        assert ray_coordinator.time is cluster
    assert sys.modules["ray"] is ray
    assert ray_coordinator.time is time


def test_a_wait_takes_what_ended_and_jumps_no_further_than_its_timeout() -> None:
    cluster = SimulatedRay(1, 1.0, COMMIT)
    soon, late = cluster.call(b"soon", 5.0), cluster.call(b"late", 50.0)
    assert cluster.wait([soon, late], 2, timeout=0) == ([], [])
    assert cluster.wait([soon, late], 1, timeout=1.0) == ([], [])
    assert cluster.wait([soon, late], 1, timeout=10.0) == ([soon], [])
    before_s = cluster.monotonic()
    assert cluster.wait([late], 1, timeout=10.0) == ([], [])
    assert cluster.monotonic() - before_s == pytest.approx(10.0, abs=5.0)


def test_the_tables_extrapolate_to_a_hundred_million_units() -> None:
    runs = [SimulatedRun(10_000, 1_000, 1.0, 200.0, 1.0, 0.5)]
    text = tables(runs, {"unit": 500.0}, {"commit put, us": 100.0}, RayCosts(1e-4, 1e-7))
    assert "| unit, bytes | 500 | 500.0 MB | 50.0 GB |" in text
    assert "| commit put, us | 100 | 1.7 min | 2.8 h |" in text
    assert "100,000,000 units take it 8.3 h" in text
    assert "when a unit takes 3.0 s or more" in text


def test_units_have_names_of_their_own() -> None:
    assert len({unit.unit_id for unit in units_of(500)}) == 500
