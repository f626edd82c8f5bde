"""A node that goes away, on three nodes of one machine: nothing is lost, nothing twice, and no unit is blamed."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.executor import RetryPolicy, WorkerResources
from pipelines.in_process import InProcessExecutor
from pipelines.ray_pool import RayPoolExecutor, RayPoolSettings
from poses.skeleton import load_skeleton
from storage.manifest import publish_manifest
from storage.object_store import open_store
from storage.reader import Dataset
from tests.contracts.chain_cases import ChainBehaviour, chain, notes_in
from tests.contracts.executor_cases import ROWS, RUN, Behaviour, digests, run_and_publish, units

pytestmark = [pytest.mark.ray, pytest.mark.xdist_group("ray_pool")]

UNITS = 24
STORE = {"object_store_memory": 100 * 2**20}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head without CPUs, where the driver is, and two nodes of one CPU each."""
    import ray
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **STORE})
    for _ in range(2):
        made.add_node(num_cpus=1, **STORE)
    ray.init(address=made.address, log_to_driver=False, logging_level="ERROR", configure_logging=False)
    yield made
    ray.shutdown()
    made.shutdown()


class Remover(threading.Thread):
    """Takes the first node away as soon as a few values have been made on it."""

    def __init__(self, cluster: Any, notes: Path) -> None:
        super().__init__()
        self._cluster, self._notes = cluster, notes

    def run(self) -> None:
        deadline_s = time.monotonic() + 120.0
        while time.monotonic() < deadline_s:
            if sum(event == "lifted" for _, event, _, _ in notes_in(self._notes)) >= 4:
                break
            time.sleep(0.02)
        self._cluster.remove_node(next(iter(self._cluster.worker_nodes)), allow_graceful=False)


def test_a_node_that_goes_away_costs_nothing_but_time(cluster: Any, tmp_path: Path) -> None:
    """A chain of three stages with two workers each, on both nodes; half of all is lost, values in waiting too."""
    reference = run_and_publish(InProcessExecutor(), tmp_path / "reference", count=UNITS)
    notes = tmp_path / "notes"
    notes.mkdir()
    remover = Remover(cluster, notes)
    remover.start()
    slow = Behaviour(seconds=0.1)
    stages = chain(
        tmp_path / "out",
        ChainBehaviour(decode=slow, lift=slow, write=slow, notes=str(notes)),
        workers=(2, 2, 2),
        resources=(WorkerResources(num_cpus=0.3),) * 3,
    )
    retry = RetryPolicy(backoff_s=0.05)
    told: list[str] = []
    executor = RayPoolExecutor(RayPoolSettings(retry=retry))
    report = executor.run_chain(stages, units(UNITS), lambda commit: told.append(commit.unit_id), name="test")
    remover.join()
    assert set(report.retries) <= {"NodeLost", "WorkerDied"}
    assert sum(report.retries.values()) >= 1
    assert not report.failed
    assert not report.bad_rows
    assert sorted(told) == sorted(f"u{index}" for index in range(UNITS))
    assert digests(report) == digests(reference)
    publish_manifest(open_store(tmp_path / "out"), RUN, report.commits, load_skeleton("h36m_16"))
    assert Dataset.open(tmp_path / "out").n_pairs == UNITS * ROWS
