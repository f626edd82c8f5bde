"""The closed loop with its members as Ray actors: the numbers of the in-process loop, through losses too."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from augment.errors import AugmentError
from estimators.lifters.temporal.videopose import VideoPoseSettings
from pipelines.closed_loop import ray_crew
from pipelines.closed_loop.job import AUGMENTOR_FILE, METRICS_FILE, run_closed_loop
from pipelines.closed_loop.reports import MetricsLog
from pipelines.closed_loop.settings import ClosedLoopSettings
from pipelines.context import RunContext
from pipelines.errors import PoolError, SettingsError
from pipelines.executor import Executor, WorkerResources
from pipelines.in_process import InProcessExecutor
from pipelines.progress import RecordingProgress
from pipelines.ray_pool import RayPoolExecutor, RayPoolSettings
from pipelines.ray_session import RaySettings
from pipelines.trained_lifter import read_checkpoint
from storage.object_store import open_store
from tests.cluster import loop_members
from tests.unit.pipelines.closed_loop.loop_parts import feedback_loop, poseaug_loop
from tests.unit.pipelines.closed_loop.small_dataset import make_small_dataset

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session"), pytest.mark.xdist_group("ray")]

RAY = RaySettings(num_cpus=2)
ROUNDS = 3
LOOPS = {
    "poseaug": poseaug_loop(rounds=ROUNDS, batch_rows=64),
    "feedback": feedback_loop(rounds=ROUNDS, batch_rows=64),
    "windows": feedback_loop(
        rounds=ROUNDS, batch_rows=64, lifter=VideoPoseSettings(channels=8, kernel_widths=(3, 3))
    ),
}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_small_dataset(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def expected(source: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The loops as they run in this process."""
    folder = tmp_path_factory.mktemp("in_process")
    for name, settings in LOOPS.items():
        run(settings, source, folder / name, InProcessExecutor())
    return {name: folder / name for name in LOOPS}


def run(
    settings: ClosedLoopSettings, source: str, out: Path, executor: Executor
) -> tuple[list[dict[str, Any]], RecordingProgress]:
    """Run a loop; its metrics, and what was told."""
    progress = RecordingProgress()
    run_closed_loop(settings, source, RunContext(str(out), executor, seed=3, progress=progress))
    return MetricsLog(open_store(out), METRICS_FILE).lines, progress


def on_ray() -> RayPoolExecutor:
    return RayPoolExecutor(RayPoolSettings(ray=RAY))


def assert_same(one: Path, other: Path) -> None:
    """Same estimator and same augmentor, to float32 rounding."""
    for name in ("lifter.safetensors", AUGMENTOR_FILE):
        torch.testing.assert_close(
            dict(read_checkpoint(str(one / name)).tensors),
            dict(read_checkpoint(str(other / name)).tensors),
            rtol=1e-4,
            atol=1e-6,
        )


@pytest.mark.parametrize("kind", list(LOOPS))
def test_sync_loop_on_ray_equals_the_loop_in_this_process(
    kind: str, source: str, expected: dict[str, Path], tmp_path: Path
) -> None:
    lines, _ = run(LOOPS[kind], source, tmp_path, on_ray())
    assert_same(tmp_path, expected[kind])
    assert [line["epoch"] for line in lines] == list(range(ROUNDS))


class _CrewWithABadDay(ray_crew.RayCrew):
    """The first crew loses its augmentor's process while that works on a chunk."""

    killed = False
    bad_round = 1

    def produce(
        self, augmentor: int, round_index: int, first_batch: int, n_batches: int, weights: Any
    ) -> Any:
        handle = super().produce(augmentor, round_index, first_batch, n_batches, weights)
        if round_index == self.bad_round and not _CrewWithABadDay.killed:
            _CrewWithABadDay.killed = True
            os.kill(self._pid, signal.SIGKILL)
        return handle

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        import ray

        self._pid = ray.get(self._augmentors[0].__ray_call__.remote(lambda _: os.getpid()))


def test_an_augmentor_killed_in_mid_round_changes_nothing(
    source: str, expected: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_crew, "RayCrew", _CrewWithABadDay)
    lines, progress = run(LOOPS["poseaug"], source, tmp_path, on_ray())
    assert _CrewWithABadDay.killed
    assert [
        message for message in progress.messages if "going on from the last checkpoint (1 of 3)" in message
    ]
    assert [line["epoch"] for line in lines] == list(range(ROUNDS))
    assert_same(tmp_path, expected["poseaug"])


def test_async_loop_keeps_its_bound_and_consumes_every_batch(source: str, tmp_path: Path) -> None:
    settings = feedback_loop(
        mode="async", max_staleness=2, rounds=2, batches_per_round=9, augmentors=2, cpus_per_actor=0.6
    )
    lines, _ = run(settings, source, tmp_path, on_ray())
    assert [line["iteration"] for line in lines] == [9, 18]
    assert all(line["staleness"] <= 2 for line in lines)
    assert all("validation_mpjpe_mm" in line for line in lines)


def crew(*builders: Any) -> ray_crew.RayCrew:
    return ray_crew.RayCrew(builders, loop_members.patient_trainer, WorkerResources(num_cpus=0.5))


def test_what_a_builder_raises_arrives_as_it_is() -> None:
    with pytest.raises(SettingsError, match=loop_members.UNBUILDABLE):
        crew(loop_members.unbuildable)


def test_what_an_augmentor_raises_arrives_through_the_trainer() -> None:
    broken = crew(loop_members.broken_augmentor)
    report, _ = broken.consume(0, [broken.produce(0, 0, 0, 1, broken.weights())], 1.0)
    with pytest.raises(AugmentError, match=f"^{loop_members.BROKEN}$"):
        broken.get(report)
    broken.close()


def test_a_crew_without_room_says_so_at_once() -> None:
    started_s = time.monotonic()
    with pytest.raises(PoolError, match=r"'closed loop': wanted 5 worker.* of 1 CPU .*ask for fewer"):
        ray_crew.RayCrew([loop_members.broken_augmentor] * 4, loop_members.patient_trainer, WorkerResources())
    assert time.monotonic() - started_s < 5.0


def test_a_crew_waits_for_nodes_only_so_long() -> None:
    with pytest.raises(PoolError, match=r"'closed loop': wanted 3 worker.* of 1 CPU"):
        ray_crew.RayCrew(
            [loop_members.broken_augmentor] * 2,
            loop_members.patient_trainer,
            WorkerResources(),
            wait_for_nodes_s=0.5,
        )


def test_crews_gave_everything_back() -> None:
    import ray

    deadline_s = time.monotonic() + 10.0
    while ray.available_resources().get("CPU", 0.0) < 2.0:
        assert time.monotonic() < deadline_s, "members of a crew still hold their CPUs"
        time.sleep(0.1)
