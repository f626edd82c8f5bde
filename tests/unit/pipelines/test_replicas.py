"""Replicas in forked processes with a gloo group, without Ray: two with half a batch each are one with the whole."""

import json
import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn

from estimators.data_parallel import Replicas, SharedBatchNorm1d, share_batch_norm
from estimators.errors import LifterInputError
from pipelines.context import RunContext
from pipelines.in_process import InProcessExecutor
from pipelines.progress import RecordingProgress
from pipelines.train import TrainSettings, run_train
from pipelines.trained_lifter import read_checkpoint
from pipelines.training_run import train_here
from tests.unit.pipelines.cases import context

PATIENCE_S = 120


def settings(source: Path, **changes: Any) -> TrainSettings:
    values: dict[str, Any] = {
        "data": [
            {"url": str(source), "parts": ["source_train"], "share": 2},
            {"url": str(source), "parts": ["source_valid"]},
        ],
        "validation": [{"url": str(source), "parts": ["source_valid"], "rigs": ["h36m_like"]}],
        "lifter": {"kind": "simple_baseline", "width": 32, "dropout": 0.0},
        "trainer": {"learning_rate": 1e-3, "ema_decay": 0.9, "grad_clip_norm": 0.1},
        "batch_rows": 32,
        "steps": 8,
        "validate_every": 4,
        "checkpoint_every": 4,
        "mirror_share": 0.5,
    }
    return TrainSettings.model_validate({**values, **changes})


def in_replicas(folder: Path, work: Callable[[Replicas, Path], None], count: int = 2) -> None:
    """Run a function in forked processes that form a gloo group."""
    fork = multiprocessing.get_context("fork")

    def replica(rank: int) -> None:
        torch.set_num_threads(1)
        dist.init_process_group("gloo", f"file://{folder}/group", rank=rank, world_size=count)
        work(Replicas(), folder)
        dist.destroy_process_group()

    running = [fork.Process(target=replica, args=(rank,)) for rank in range(count)]
    for process in running:
        process.start()
    for process in running:
        process.join(PATIENCE_S)
    codes = [process.exitcode for process in running]
    for process in running:
        process.kill()
    assert codes == [0] * count


def assert_close(ours: dict[str, float], theirs: dict[str, float]) -> None:
    """Losses to rounding. The score less so: biases before a BatchNorm have no effect in training and no gradient but
    rounding noise, which Adam makes steps of; the running means, which validation uses, lag behind those.
    """
    assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=1e-5)
    assert ours["mpjpe_mm"] == pytest.approx(theirs["mpjpe_mm"], rel=5e-3)


def train_together(wanted: TrainSettings, folder: Path) -> list[dict[str, float]]:
    """The history of a training run by two replicas; what the first told lies beside it."""

    def work(replicas: Replicas, out: Path) -> None:
        progress = RecordingProgress()
        where = RunContext(str(out / "run"), InProcessExecutor(), 0, progress)
        result = train_here(wanted, "run", where, replicas)
        told = {"history": result.history, "messages": progress.messages}
        (out / f"told-{replicas.rank}.json").write_text(json.dumps(told))

    folder.mkdir(exist_ok=True)
    (folder / "group").unlink(missing_ok=True)
    in_replicas(folder, work)
    first, second = (json.loads((folder / f"told-{rank}.json").read_text()) for rank in range(2))
    assert first["history"] == second["history"]
    assert second["messages"] == []
    return first["history"]


@pytest.fixture(scope="module")
def alone(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    out = tmp_path_factory.mktemp("alone")
    return out, run_train(settings(source), context(out)).history


def test_two_with_half_a_batch_are_one_with_the_whole(
    source: Path, tmp_path: Path, alone: tuple[Path, Any]
) -> None:
    out, history = alone
    together = train_together(settings(source, workers=2), tmp_path)
    for ours, theirs in zip(together, history, strict=True):
        assert_close(ours, theirs)
    paths = [str(folder / "lifter.safetensors") for folder in (out, tmp_path / "run")]
    one, two = (read_checkpoint(path).tensors for path in paths)
    for name in one:
        # Biases before a BatchNorm have no effect: their gradient is rounding noise, and the running means follow them.
        if name.endswith(("weight", "running_var", "w2.bias")) and not name.startswith("linear_stages"):
            torch.testing.assert_close(two[name], one[name], atol=5e-5, rtol=1e-3, msg=name)


def test_statistics_of_each_workers_own_rows_give_other_numbers(
    source: Path, tmp_path: Path, alone: tuple[Path, Any]
) -> None:
    own = train_together(settings(source, workers=2, batch_norm="per_worker"), tmp_path)
    assert abs(own[-1]["train_loss"] - alone[1][-1]["train_loss"]) > 1e-3 * own[-1]["train_loss"]


def test_another_number_of_workers_goes_on_and_says_so(
    source: Path, tmp_path: Path, alone: tuple[Path, Any]
) -> None:
    wanted = settings(source)
    first = run_train(wanted.model_copy(update={"steps": 4}), context(tmp_path / "start"))
    (tmp_path / "run" / "runs").mkdir(parents=True)
    (tmp_path / "start" / "runs" / first.run_id).rename(tmp_path / "run" / "runs" / "run")
    together = train_together(settings(source, workers=2), tmp_path)
    for ours, theirs in zip(together, alone[1], strict=True):
        assert_close(ours, theirs)
    messages = json.loads((tmp_path / "told-0.json").read_text())["messages"]
    assert any("1 worker(s) before, 2 now" in message for message in messages)


@pytest.mark.parametrize("shape", [(12, 5), (6, 5, 3)])
def test_shared_batch_norm_is_batch_norm_over_all_rows(tmp_path: Path, shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    rows, pull = (torch.randn(shape, generator=generator) for _ in range(2))
    whole = nn.BatchNorm1d(5)
    inputs = rows.clone().requires_grad_()
    wanted = whole(inputs)
    (wanted * pull).sum().backward()
    half = shape[0] // 2

    def work(replicas: Replicas, out: Path) -> None:
        norm = nn.Sequential(nn.BatchNorm1d(5))
        assert share_batch_norm(norm) == 1
        assert isinstance(norm[0], SharedBatchNorm1d)
        mine = slice(replicas.rank * half, (replicas.rank + 1) * half)
        values = rows[mine].clone().requires_grad_()
        got = norm(values)
        (got * pull[mine]).sum().backward()
        torch.testing.assert_close(got, wanted[mine].detach())
        assert inputs.grad is not None
        torch.testing.assert_close(values.grad, inputs.grad[mine])
        for name, value in whole.state_dict().items():
            torch.testing.assert_close(norm[0].state_dict()[name], value, msg=name)
        norm.eval()
        torch.testing.assert_close(norm(rows), whole.eval()(rows))

    in_replicas(tmp_path, work)


def test_replicas_want_a_process_group() -> None:
    with pytest.raises(LifterInputError, match="init_process_group"):
        Replicas()
