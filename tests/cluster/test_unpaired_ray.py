"""A loop with unpaired data and its RepNet as an actor gives the numbers of the loop in this process."""

from pathlib import Path

import pytest
import torch

from pipelines.closed_loop.job import METRICS_FILE, run_closed_loop
from pipelines.closed_loop.reports import MetricsLog
from pipelines.closed_loop.settings import ClosedLoopSettings
from pipelines.closed_loop.unpaired_crew import REPNET_CRITIC_FILE, REPNET_LIFTER_FILE
from pipelines.context import RunContext
from pipelines.executor import Executor
from pipelines.in_process import InProcessExecutor
from pipelines.pose_table import PairsSource
from pipelines.ray_pool import RayPoolExecutor, RayPoolSettings
from pipelines.ray_session import RaySettings
from pipelines.trained_lifter import read_checkpoint
from storage.object_store import open_store
from tests.unit.pipelines.closed_loop.loop_parts import feedback_loop
from tests.unit.pipelines.closed_loop.small_dataset import make_small_dataset
from tests.unit.pipelines.closed_loop.test_unpaired_loop import REPNET

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session"), pytest.mark.xdist_group("ray")]

RAY = RaySettings(num_cpus=2)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_small_dataset(tmp_path_factory.mktemp("source"))


def loop(source: str) -> ClosedLoopSettings:
    data = (PairsSource(url=source, parts=("source_valid",)),)
    settings = REPNET.model_copy(update={"data": data, "weak_weight": 0.01})
    return feedback_loop(rounds=2, batch_rows=64, unpaired=settings, cpus_per_actor=0.5)


def run(settings: ClosedLoopSettings, source: str, out: Path, executor: Executor) -> list[dict[str, float]]:
    run_closed_loop(settings, source, RunContext(str(out), executor, seed=3))
    return MetricsLog(open_store(out), METRICS_FILE).lines


def test_repnet_as_an_actor_gives_the_numbers_of_this_process(source: str, tmp_path: Path) -> None:
    settings = loop(source)
    run(settings, source, tmp_path / "here", InProcessExecutor())
    lines = run(settings, source, tmp_path / "ray", RayPoolExecutor(RayPoolSettings(ray=RAY)))
    for name in ("lifter.safetensors", REPNET_LIFTER_FILE, REPNET_CRITIC_FILE):
        torch.testing.assert_close(
            dict(read_checkpoint(str(tmp_path / "here" / name)).tensors),
            dict(read_checkpoint(str(tmp_path / "ray" / name)).tensors),
            rtol=1e-4,
            atol=1e-6,
        )
    assert all("repnet_reprojection" in line for line in lines)
    assert "loss_weak" in lines[-1]
