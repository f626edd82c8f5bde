"""Training by two workers of Ray Train (gloo): the numbers of one process, through the loss of a worker too."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.context import RunContext
from pipelines.errors import PoolError, SettingsError
from pipelines.progress import RecordingProgress
from pipelines.ray_pool import RayPoolExecutor, RayPoolSettings
from pipelines.ray_session import RaySettings
from pipelines.train import TrainSettings, plan_train, run_train
from pipelines.train_on_ray import train_on_ray
from pipelines.training_run import TrainResult
from tests.cluster import train_replicas
from tests.unit.pipelines.cases import context

pytestmark = [
    pytest.mark.ray,
    pytest.mark.usefixtures("ray_session"),
    pytest.mark.long,
    pytest.mark.xdist_group("ray"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
    pytest.mark.filterwarnings("ignore:.*use_push_based_shuffle.*:DeprecationWarning"),
]

RAY = RaySettings(num_cpus=2)


def settings(source: Path, part: str = "source_valid", **changes: Any) -> TrainSettings:
    values: dict[str, Any] = {
        "data": [
            {"url": str(source), "parts": ["source_train"], "share": 2},
            {"url": str(source), "parts": ["source_valid"]},
        ],
        "validation": [{"url": str(source), "parts": [part], "rigs": ["h36m_like"]}],
        "lifter": {"kind": "simple_baseline", "width": 32, "dropout": 0.0},
        "trainer": {"learning_rate": 1e-3, "ema_decay": 0.9},
        "batch_rows": 32,
        "steps": 10,
        "validate_every": 5,
        "checkpoint_every": 4,
        "mirror_share": 0.5,
    }
    return TrainSettings.model_validate({**values, **changes})


def on_ray(out: Path) -> RunContext:
    executor = RayPoolExecutor(RayPoolSettings(ray=RAY))
    return RunContext(str(out), executor, 0, RecordingProgress())


@pytest.fixture(scope="module")
def together(
    source: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, TrainResult, RecordingProgress]:
    """Two workers, undisturbed."""
    out = tmp_path_factory.mktemp("together")
    where = on_ray(out)
    result = run_train(settings(source, workers=2), where)
    assert isinstance(where.progress, RecordingProgress)
    return out, result, where.progress


def test_two_workers_with_half_a_batch_are_one_with_the_whole(
    source: Path, tmp_path: Path, together: tuple[Path, TrainResult, RecordingProgress]
) -> None:
    out, result, progress = together
    alone = run_train(settings(source), context(tmp_path))
    assert result.run_id == alone.run_id, "how many workers there are is no part of the recipe"
    for ours, theirs in zip(result.history, alone.history, strict=True):
        assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=1e-5)
        assert ours["mpjpe_mm"] == pytest.approx(theirs["mpjpe_mm"], rel=5e-3)
    task = progress.tasks["train"]
    assert (task.total, task.done, task.finished) == (10, 10, True)
    assert any(message.startswith("step 5: loss") for message in progress.messages)
    lines = (out / "runs" / result.run_id / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == list(result.history)
    assert not (out / "runs" / result.run_id / "ray_train").exists()


def test_a_lost_worker_costs_the_steps_since_the_checkpoint_and_changes_no_number(
    source: Path, tmp_path: Path, together: tuple[Path, TrainResult, RecordingProgress]
) -> None:
    wanted, where = settings(source, workers=2), on_ray(tmp_path)
    run_id = plan_train(wanted, 0).run_id
    result = train_on_ray(wanted, run_id, where, train_replicas.dies_once)
    assert (tmp_path / "died").exists()
    assert result == together[1]
    for path in ("lifter.safetensors", f"runs/{run_id}/metrics.jsonl"):
        assert (tmp_path / path).read_bytes() == (together[0] / path).read_bytes()
    assert isinstance(where.progress, RecordingProgress)
    assert any("goes on at step 4" in message for message in where.progress.messages)


def test_what_would_fail_again_is_raised_as_it_is(source: Path, tmp_path: Path) -> None:
    wanted = settings(source, part="target_subject", workers=2, max_failures=0)
    with pytest.raises(SettingsError, match="target_subject is a test split"):
        train_on_ray(wanted, "run", on_ray(tmp_path))


def test_workers_without_room_are_refused_in_words(source: Path, tmp_path: Path) -> None:
    with pytest.raises(PoolError, match=r"wanted 16 worker.*the cluster has 1 node"):
        run_train(settings(source, workers=16), on_ray(tmp_path))
