"""A training run that is SIGKILLed in mid-epoch, or while it writes, and run again leaves the bytes of an undisturbed
one: with averaged weights, half precision, mixed sources, mirroring, warm-up and early stopping on.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from estimators.lifters.training.trainer import LifterTrainer
from pipelines.train import TrainSettings, run_train
from storage.local_store import LocalStore
from tests.unit.pipelines.cases import context

PATIENCE_S = 120


def settings(source: Path, reader: str = "memory") -> TrainSettings:
    return TrainSettings.model_validate(
        {
            "data": [
                {"url": str(source), "parts": ["source_train"], "share": 3},
                {"url": str(source), "parts": ["source_valid"], "rigs": ["mpi_inf_3dhp_like"]},
            ],
            "validation": [{"url": str(source), "parts": ["source_valid"], "rigs": ["h36m_like"]}],
            "lifter": {"kind": "simple_baseline", "width": 24, "dropout": 0.3},
            "trainer": {
                "learning_rate": 3e-3,
                "precision": "bfloat16",
                "ema_decay": 0.8,
                "weight_decay": 0.01,
                "schedule": {"kind": "warmup", "steps": 3, "then": {"kind": "exponential", "unit": "epoch"}},
            },
            "batch_rows": 32,
            "steps": 14,
            "steps_per_epoch": 5,
            "validate_every": 3,
            "checkpoint_every": 4,
            "mirror_share": 0.5,
            "reader": reader,
            "cache_folder": str(source / "cache"),
            "early_stopping": {"patience": 4},
        }
    )


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def in_step(number: int) -> Callable[[], None]:
    """Dies before an update, with others behind it that no checkpoint has."""

    def arrange() -> None:
        step = LifterTrainer.step

        def dying(self: Any, *arguments: Any) -> float:
            if self.steps == number:
                die()
            return step(self, *arguments)

        LifterTrainer.step = dying  # pyright: ignore[reportAttributeAccessIssue]

    return arrange


def after_writing(name: str, times: int) -> Callable[[], None]:
    """Dies when files of this name have been written so often."""

    def arrange() -> None:
        write, written = LocalStore.write_bytes, []

        def dying(self: Any, path: str, data: bytes) -> None:
            write(self, path, data)
            written.extend([path] if name in path else [])
            if len(written) == times:
                die()

        LocalStore.write_bytes = dying  # pyright: ignore[reportAttributeAccessIssue]

    return arrange


def killed(wanted: TrainSettings, out: Path, arrange: Callable[[], None]) -> None:
    """Run a training in a forked process that dies on the way."""

    def work() -> None:
        torch.set_num_threads(1)
        arrange()
        run_train(wanted, context(out))

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join(PATIENCE_S)
    assert process.exitcode == -signal.SIGKILL


def files(out: Path) -> dict[str, bytes]:
    """What readers use: the lifter, the metrics and the last checkpoint."""
    found = [*out.glob("lifter.safetensors"), *out.glob("runs/*/metrics.jsonl")]
    found += sorted(out.glob("runs/*/checkpoints/*"))
    return {str(path.relative_to(out)): path.read_bytes() for path in found}


@pytest.fixture(scope="module")
def whole(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole")
    result = run_train(settings(source), context(out))
    assert len(result.history) == 5
    assert not result.stopped_early
    return out


@pytest.mark.parametrize(
    "arrange",
    [in_step(2), in_step(7), after_writing("lifter.safetensors", 2), after_writing("step-", 2)],
    ids=["before the first checkpoint", "in mid-epoch", "after the best weights", "after a checkpoint"],
)
def test_killed_and_run_again_it_leaves_the_same_bytes(
    source: Path, tmp_path: Path, whole: Path, arrange: Callable[[], None]
) -> None:
    killed(settings(source), tmp_path, arrange)
    assert not list(tmp_path.glob("runs/*/checkpoints/step-000000014*"))
    run_train(settings(source), context(tmp_path))
    assert files(tmp_path) == files(whole)


def test_killed_twice_with_the_mapped_reader(source: Path, tmp_path: Path, whole: Path) -> None:
    wanted = settings(source, "mapped")
    killed(wanted, tmp_path, in_step(6))
    killed(wanted, tmp_path, in_step(11))
    run_train(wanted, context(tmp_path))
    ours = {path.split("/")[-1]: data for path, data in files(tmp_path).items()}
    theirs = {path.split("/")[-1]: data for path, data in files(whole).items()}
    del ours["lifter.safetensors"], theirs["lifter.safetensors"]  # their run ids differ
    assert ours == theirs


def test_a_resumed_run_says_where_it_goes_on(source: Path, tmp_path: Path) -> None:
    killed(settings(source), tmp_path, in_step(6))
    told = context(tmp_path)
    run_train(settings(source), told)
    assert any("goes on at step 4" in message for message in told.progress.messages)  # pyright: ignore[reportAttributeAccessIssue]
    task = told.progress.tasks["train"]  # pyright: ignore[reportAttributeAccessIssue]
    assert (task.before, task.done, task.total) == (4, 14, 14)
