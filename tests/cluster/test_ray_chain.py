"""Chains of stages on Ray: the contract, bounded memory, no starvation, losses, and why a chain has no room."""

import threading
from pathlib import Path

import pytest

from pipelines.errors import PoolError, StageSetupError
from pipelines.executor import Failure, RetryPolicy, WorkerResources
from pipelines.in_process import InProcessExecutor
from pipelines.observer import SilentObserver, WorkerFacts
from pipelines.progress import RecordingProgress
from pipelines.ray_pool import RayPoolExecutor, RayPoolSettings
from pipelines.ray_session import RaySettings
from pipelines.stage_chain import ChainExecutor
from storage.commit import UnitCommit
from tests.cluster.test_ray_pool import kill_worker_of
from tests.contracts.chain_cases import ChainBehaviour, chain, notes_in
from tests.contracts.chain_contract import ChainContract, run_chain_and_publish
from tests.contracts.executor_cases import Behaviour, digests, run_and_publish, stage_factory, units

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session"), pytest.mark.xdist_group("ray_pool")]

RAY = RaySettings(num_cpus=2, num_gpus=1)  # a GPU in name only: Ray counts it, nobody computes on it
HALF, SHARE = WorkerResources(num_cpus=0.5), WorkerResources(num_cpus=0.0, num_gpus=0.5)


def executor(**retry: float) -> RayPoolExecutor:
    policy = RetryPolicy(backoff_s=0.05, max_setup_failures=2).model_copy(update=retry)
    return RayPoolExecutor(RayPoolSettings(ray=RAY, retry=policy))


class TestChain(ChainContract):
    @pytest.fixture
    def executor(self) -> ChainExecutor:
        return executor()


class Watcher(RecordingProgress, SilentObserver):
    """Remembers what every worker did, and how many were there at once."""

    def __init__(self) -> None:
        super().__init__()
        self.there: set[str] = set()
        self.most = 0
        self.failures: list[Failure] = []

    def worker_joined(self, worker: WorkerFacts) -> None:
        self.there.add(worker.worker_id)
        self.most = max(self.most, len(self.there))

    def worker_left(self, worker_id: str, why: str) -> None:
        self.there.discard(worker_id)

    def task_ended(
        self, worker_id: str, unit_id: str, action: str, failure: Failure | None, commit: UnitCommit | None
    ) -> None:
        self.failures += [failure] if failure is not None else []


def test_a_fast_stage_waits_for_a_slow_one_and_never_fills_memory_or_cluster(tmp_path: Path) -> None:
    """Decoders would take 8 CPUs of the 2 that there are, and make a value in no time; the last stage is slow."""
    notes = tmp_path / "notes"
    notes.mkdir()
    stages = chain(
        tmp_path / "out",
        ChainBehaviour(write=Behaviour(seconds=0.05), notes=str(notes)),
        workers=(8, 2, 2),
        resources=(WorkerResources(num_cpus=1.0), SHARE, HALF),
        max_queued=3,
    )
    report = executor().run_chain(
        stages, units(30), lambda _: None, name="test", progress=(watch := Watcher())
    )
    assert len(report.commits) == 30
    assert watch.most <= 1 + 2 + 2, "one decoder, because a whole CPU is left once every stage has its first"
    ahead_of_lift, ahead_of_write = 0, 0
    most_of_decode = most_of_lift = 0
    for _, event, _, _ in notes_in(notes):
        ahead_of_lift += {"made": 1, "lifting": -1}.get(event, 0)
        ahead_of_write += {"lifted": 1, "taken": -1}.get(event, 0)
        most_of_decode, most_of_lift = max(most_of_decode, ahead_of_lift), max(most_of_lift, ahead_of_write)
    assert 2 <= most_of_lift <= 3 + 2, (
        "bound of the stage, and what the next one's two workers are about to take"
    )
    assert 2 <= most_of_decode <= 3 + 2
    assert not watch.there, "every actor was given back"


def test_a_later_stage_that_loses_its_worker_gets_another_and_the_unit_begins_again(tmp_path: Path) -> None:
    reference = run_and_publish(InProcessExecutor(), tmp_path / "reference", count=4)
    notes, pids = tmp_path / "notes", tmp_path / "pids"
    notes.mkdir()
    pids.mkdir()
    killer = threading.Thread(target=kill_worker_of, args=(pids / "u1",))
    killer.start()
    behaviour = ChainBehaviour(lift=Behaviour(seconds=0.2, pid_folder=str(pids)), notes=str(notes))
    report, _ = run_chain_and_publish(executor(), tmp_path / "out", behaviour)
    killer.join()
    assert digests(report) == digests(reference)
    assert report.retries == {"WorkerDied": 1}
    made = [unit for _, event, unit, _ in notes_in(notes) if event == "made"]
    assert sorted(made) == ["u0", "u1", "u1", "u2", "u3"]


def test_a_row_that_ends_the_worker_of_a_later_stage_is_found(tmp_path: Path) -> None:
    behaviour = ChainBehaviour(lift=Behaviour(crashing=frozenset({("u1", 3)})))
    report, _ = run_chain_and_publish(executor(deaths_before_suspect=1), tmp_path, behaviour, count=2)
    assert [(bad.row, bad.failure.stage) for bad in report.bad_rows["u1"]] == [(3, "lift")]
    assert len(report.commits) == 2


def test_an_actor_that_dies_while_it_loads_stops_the_run_with_the_stage(tmp_path: Path) -> None:
    with pytest.raises(StageSetupError, match=r"test: setup failed 2 time\(s\).*ActorDied"):
        executor().run(
            stage_factory(tmp_path, Behaviour(setup_crash=True)),
            units(2),
            lambda _: None,
            name="test",
            resources=HALF,
        )


@pytest.mark.parametrize(
    ("lift", "words"),
    [
        (
            WorkerResources(num_cpus=0.5, num_gpus=2),
            "no room for a worker of 'lift'.*no single node can hold",
        ),
        (WorkerResources(num_cpus=1.5), "every stage needs one worker at the same time"),
    ],
)
def test_a_chain_without_room_says_which_stage_and_why(
    tmp_path: Path, lift: WorkerResources, words: str
) -> None:
    stages = chain(tmp_path, resources=(HALF, lift, HALF))
    with pytest.raises(PoolError, match=words):
        executor().run_chain(stages, units(2), lambda _: None, name="big")
