"""One plan, the same bytes: in this process, on one actor and on two, with other batch sizes, and resumed half-way by
another executor. And what such a run tells: Prometheus through Ray's exporter, the log with actors, the status."""

import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.context import RunContext
from pipelines.executor import Executor, RetryPolicy
from pipelines.in_process import InProcessExecutor
from pipelines.mass_augment import AugmentSettings, run_augment
from pipelines.ray_pool import RayPoolExecutor, RayPoolSettings
from pipelines.ray_session import RaySettings, connect, disconnect
from pipelines.run_log import read_log
from pipelines.stages import augment_stage
from pipelines.status import run_status
from storage.manifest import read_manifest
from storage.object_store import open_store
from tests.unit.pipelines.cases import Killed

pytestmark = [pytest.mark.ray, pytest.mark.xdist_group("ray_pool")]
RAY = RaySettings(num_cpus=2)


@pytest.fixture(scope="module", autouse=True)
def ray_session() -> Iterator[None]:
    """One private Ray for the module, whose exporter is told every half second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_metrics_report_interval_ms", "500")
        connect(RAY)
        yield
        disconnect()


def pool(workers: int) -> RayPoolExecutor:
    return RayPoolExecutor(RayPoolSettings(workers=workers, ray=RAY, retry=RetryPolicy(backoff_s=0.05)))


def augmented(source: Path, out: Path, executor: Executor, micro_rows: int, **changes: Any) -> dict[str, str]:
    """Path -> digest of every file of the dataset that the plan makes."""
    settings = AugmentSettings.model_validate(
        {
            "source": str(source),
            "parts": None,
            "augmentor": {"kind": "wide"},
            "copies": 2,
            "copies_per_unit": 1,
            "rows_per_unit": 300,
            "micro_rows": micro_rows,
            **changes,
        }
    )
    run_augment(settings, RunContext(str(out), executor, seed=3))
    return {file.path: file.sha256 for file in read_manifest(open_store(out)).files}


def test_executor_workers_batches_and_resumes_change_no_byte(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = augmented(source, tmp_path / "here", InProcessExecutor(), 8192)
    assert len(reference) == 10
    assert augmented(source, tmp_path / "small", InProcessExecutor(), 7) == reference
    assert augmented(source, tmp_path / "one", pool(1), 37) == reference

    run, done = augment_stage.AugmentStage.run, []

    def dies_at_the_third(self: Any, unit: Any, bad_rows: Any = ()) -> Any:
        if len(done) == 2:
            raise Killed
        done.append(unit.unit_id)
        return run(self, unit, bad_rows)

    with monkeypatch.context() as patch:
        patch.setattr(augment_stage.AugmentStage, "run", dies_at_the_third)
        with pytest.raises(Killed):
            augmented(source, tmp_path / "two", InProcessExecutor(), 8192)
    assert augmented(source, tmp_path / "two", pool(2), 64) == reference
    check_what_it_told(tmp_path / "two", done)


def test_windows_are_the_same_bytes_too(source: Path, tmp_path: Path) -> None:
    reference = augmented(source, tmp_path / "here", InProcessExecutor(), 8192, window_frames=9)
    assert len(reference) >= 8
    assert augmented(source, tmp_path / "two", pool(2), 20, window_frames=9) == reference


def check_what_it_told(out: Path, done_before: list[str]) -> None:
    status = run_status(str(out))[0]
    assert (status.condition, status.units_done) == ("done", 10)
    lines = read_log(open_store(out), status.run_id)
    finished = {line["unit"]: line["actor"] for line in lines if line["event"] == "unit_done"}
    by_actor = {unit: actor for unit, actor in finished.items() if unit not in done_before}
    joined = {line["actor"]: line for line in lines if line["event"] == "worker_joined"}
    assert len(by_actor) == 8
    assert set(by_actor.values()) <= set(joined) - {"this process"}
    assert all(joined[actor]["resources"]["CPU"] == 1.0 for actor in by_actor.values())
    # counters of this process, where earlier attempts at the same run count too
    assert exported("ray_posemill_units_done_total", status.run_id, len(by_actor)) <= 40
    assert exported("ray_posemill_rows_total", status.run_id, 1) <= 4 * status.rows


def exported(name: str, run_id: str, at_least: float) -> float:
    """The value of a metric of a run on the node's Prometheus page, once it is no less than that."""
    import ray

    node = ray.nodes()[0]
    page = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    deadline = time.monotonic() + 30.0
    while time.monotonic() < deadline:
        with urllib.request.urlopen(page, timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        values = [
            float(line.split()[-1]) for line in lines if line.startswith(name) and f'"{run_id}"' in line
        ]
        if values and values[-1] >= at_least:
            return values[-1]
        time.sleep(0.3)
    raise AssertionError(f"{page}: no {name} of {run_id} that is {at_least} or more")
