"""The Ray pool: the executor contract, and what only a pool of processes can survive."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from augment.motion.settings import MotionSettings
from pipelines.context import RunContext
from pipelines.errors import PoolError
from pipelines.executor import Executor, RetryPolicy, WorkerResources
from pipelines.import_motion import ImportSettings, run_import
from pipelines.in_process import InProcessExecutor
from pipelines.mass_augment import AugmentSettings, run_augment
from pipelines.plan import Unit
from pipelines.ray_pool import RayPoolExecutor, RayPoolSettings
from pipelines.ray_session import RaySettings
from storage.commit import list_commits
from storage.manifest import publish_manifest
from storage.object_store import open_store
from storage.reader import Dataset
from tests.contracts.executor_cases import (
    ROWS,
    RUN,
    Behaviour,
    digests,
    run_and_publish,
    stage_factory,
    units,
)
from tests.contracts.executor_contract import ExecutorContract

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session"), pytest.mark.xdist_group("ray_pool")]

RAY = RaySettings(num_cpus=2)
RETRY = RetryPolicy(backoff_s=0.05)  # an actor starts in seconds: tests start as few as they can

SMALL_SOURCE = ImportSettings(
    motion=MotionSettings(n_clips=4, n_subjects=4, shortest_clip_s=1.0, longest_clip_s=1.5), clips_per_unit=2
)


def pool(workers: int, **retry: float) -> RayPoolExecutor:
    policy = RETRY.model_copy(update=retry)
    return RayPoolExecutor(RayPoolSettings(workers=workers, ray=RAY, retry=policy))


class TestOneActor(ExecutorContract):
    @pytest.fixture
    def executor(self) -> Executor:
        return pool(1, max_setup_failures=2)


def test_a_row_that_ends_its_worker_is_quarantined(tmp_path: Path) -> None:
    report = run_and_publish(
        pool(2, deaths_before_suspect=1), tmp_path, Behaviour(crashing=frozenset({("u2", 1)})), count=3
    )
    assert [bad.row for bad in report.bad_rows["u2"]] == [1]
    assert report.workers_lost >= 3
    dataset = Dataset.open(tmp_path)
    assert dataset.n_pairs == 3 * ROWS - 1
    assert [(row.source, row.row) for row in dataset.quarantined_rows()] == [("u2", 1)]


def test_a_worker_killed_in_mid_unit_changes_nothing(tmp_path: Path) -> None:
    reference = run_and_publish(InProcessExecutor(), tmp_path / "reference", count=4)
    pids = tmp_path / "pids"
    pids.mkdir()
    killer = threading.Thread(target=kill_worker_of, args=(pids / "u1",))
    killer.start()
    report = run_and_publish(pool(2), tmp_path / "out", Behaviour(seconds=0.3, pid_folder=str(pids)), count=4)
    killer.join()
    assert report.retries == {"WorkerDied": 1}
    assert digests(report) == digests(reference)
    wait_until_all_cpus_are_free()


def wait_until_all_cpus_are_free() -> None:
    """The pool gives its actors back when its stage is drained."""
    import ray

    deadline = time.monotonic() + 20.0
    while ray.available_resources().get("CPU", 0.0) < 2.0:
        assert time.monotonic() < deadline, "the actors still hold their CPUs"
        time.sleep(0.1)


def kill_worker_of(pid_file: Path) -> None:
    """SIGKILL the worker as soon as it has begun the unit."""
    while not (pid_file.exists() and pid_file.read_text()):
        time.sleep(0.01)
    os.kill(int(pid_file.read_text()), signal.SIGKILL)


def test_a_unit_that_hangs_is_ended_and_given_up_by_name(tmp_path: Path) -> None:
    hanging = pool(1, unit_timeout_s=0.3, backoff_s=0.01, deaths_before_suspect=1)
    units_without_rows = [Unit("slow", "made_up")]
    report = hanging.run(
        stage_factory(tmp_path, Behaviour(seconds=60.0)), units_without_rows, lambda _: None, name="slow"
    )
    assert report.failed[0].failure.error_class == "UnitTimeout"
    assert report.workers_lost == 2


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (WorkerResources(num_cpus=64), "no single node can hold one worker"),
        (
            WorkerResources(num_cpus=1, num_gpus=1),
            "wanted 2 worker.*1 CPU and 1 GPU each; the cluster has 1 node.* 0 GPU",
        ),
    ],
)
def test_a_pool_that_cannot_be_placed_says_so(tmp_path: Path, wanted: WorkerResources, words: str) -> None:
    started = time.monotonic()
    with pytest.raises(PoolError, match=words):
        pool(2).run(stage_factory(tmp_path), units(2), lambda _: None, name="big", resources=wanted)
    assert time.monotonic() - started < 5.0


def test_a_pool_waits_for_nodes_no_longer_than_told(tmp_path: Path) -> None:
    executor = RayPoolExecutor(RayPoolSettings(workers=1, ray=RAY, retry=RETRY, wait_for_nodes_s=1.0))
    with pytest.raises(PoolError, match="no single node can hold one worker"):
        executor.run(
            stage_factory(tmp_path),
            units(1),
            lambda _: None,
            name="big",
            resources=WorkerResources(num_cpus=64),
        )


def test_jobs_write_the_same_dataset_on_ray(tmp_path: Path) -> None:
    made: dict[str, list[str]] = {}
    for name, executor in (("in_process", InProcessExecutor()), ("ray", pool(2))):
        source, copies = tmp_path / name / "source", tmp_path / name / "augmented"
        run_import(SMALL_SOURCE, RunContext(str(source), executor, seed=3))
        augment = AugmentSettings.model_validate(
            {
                "source": str(source),
                "parts": None,
                "augmentor": {"kind": "wide"},
                "copies": 2,
                "copies_per_unit": 1,
            }
        )
        run_augment(augment, RunContext(str(copies), executor, seed=3))
        manifests = [Dataset.open(source).manifest, Dataset.open(copies).manifest]
        made[name] = [entry.sha256 for manifest in manifests for entry in manifest.files]
    assert made["ray"] == made["in_process"]
    assert len(made["ray"]) >= 6


DRIVER = """
import sys
from pipelines.plan import Unit
from pipelines.ray_pool import RayPoolExecutor, RayPoolSettings
from pipelines.ray_session import RaySettings
from tests.contracts.executor_cases import Behaviour, stage_factory, units
executor = RayPoolExecutor(RayPoolSettings(workers=1, ray=RaySettings(num_cpus=1)))
executor.run(stage_factory(sys.argv[1], Behaviour(seconds=0.3)), units(6), lambda c: print(c.unit_id,
flush=True))
"""


def test_a_killed_driver_run_again_doubles_nothing(tmp_path: Path) -> None:
    reference = run_and_publish(InProcessExecutor(), tmp_path / "reference")
    out = tmp_path / "out"
    repository = Path(__file__).resolve().parents[2]
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(out)],
        cwd=repository,
        env={**os.environ, "PYTHONPATH": str(repository)},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert driver.stdout is not None
    for _ in range(2):
        assert driver.stdout.readline().startswith("u")
    driver.kill()
    driver.wait()
    driver.stdout.close()
    store = open_store(out)
    done = {commit.unit_id for commit in list_commits(store, RUN)}
    assert 2 <= len(done) < 6
    report = pool(1).run(
        stage_factory(out),
        [unit for unit in units() if unit.unit_id not in done],
        lambda _: None,
        name="again",
    )
    commits = list_commits(store, RUN)
    assert not report.failed
    manifest = publish_manifest(store, RUN, commits, Dataset.open(tmp_path / "reference").skeleton)
    assert {commit.unit_id: [file.sha256 for file in commit.files] for commit in commits} == digests(
        reference
    )
    assert manifest.rows == 6 * ROWS
