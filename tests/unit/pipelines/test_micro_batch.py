"""A GPU without memory: half as many rows at once, remembered, and the same bytes. torch's own exception, on a CPU."""

from functools import partial
from pathlib import Path

import pytest
import torch

from augment.contract import Augmented
from augment.random_augmentation import RandomAugmentationSettings, RandomAugmentor
from pipelines.executor import RetryPolicy
from pipelines.in_process import InProcessExecutor
from pipelines.mass_augment import AugmentSettings, plan_augment
from pipelines.plan import Unit
from pipelines.progress import RecordingProgress
from pipelines.stages import augment_stage
from pipelines.stages.augment_stage import AugmentStage, AugmentStageSettings
from pipelines.worker import StageWorker, failure_of
from poses.batch import PoseBatch
from storage.commit import UnitCommit
from tests.unit.pipelines.closed_loop.small_dataset import make_small_dataset

MEMORY_ROWS = 37
"""What the made-up GPU holds."""


def out_of_memory() -> torch.OutOfMemoryError:
    return torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")


class Hungry:
    """A stage that leaves the halving to its worker."""

    def __init__(self, fits: int) -> None:
        self.micro_batch_rows = 64
        self.fits = fits
        self.tried: list[int] = []

    def setup(self) -> None: ...

    def run(self, unit: Unit, bad_rows: object = ()) -> UnitCommit:
        self.tried.append(self.micro_batch_rows)
        if self.micro_batch_rows > self.fits:
            raise out_of_memory()
        return UnitCommit(run_id="r", unit_id=unit.unit_id, writer_id="w", files=(), rows=0)


def test_the_worker_halves_until_it_fits_and_remembers() -> None:
    stage = Hungry(fits=20)
    report = InProcessExecutor().run(
        lambda: stage, [Unit("a", "x"), Unit("b", "x")], lambda _: None, name="gpu"
    )
    assert stage.tried == [64, 32, 16, 16]
    assert report.micro_batch_rows == {"gpu": 16}
    assert len(report.commits) == 2
    assert report.retries == {}


def test_a_new_worker_begins_with_what_the_others_could() -> None:
    stage = Hungry(fits=64)
    assert StageWorker(lambda: stage, micro_batch_rows=8).setup() is None
    assert stage.micro_batch_rows == 8


def test_a_gpu_that_cannot_hold_one_row_is_tried_later_and_given_up_without_blaming_rows() -> None:
    assert failure_of(out_of_memory()).kind == "transient"
    retry = RetryPolicy(max_attempts=2, backoff_s=0.0)
    progress = RecordingProgress()
    report = InProcessExecutor(retry).run(
        lambda: Hungry(fits=0), [Unit("a", "x", {}, rows=4)], lambda _: None, progress=progress
    )
    assert [failed.failure.error_class for failed in report.failed] == ["OutOfMemoryError"]
    assert not any("searching" in message for message in progress.messages)


class SmallGpu(RandomAugmentor):
    """The wide augmentor on a GPU that holds `MEMORY_ROWS` rows."""

    def augment(self, batch: PoseBatch, copy: int) -> Augmented:
        if len(batch) > MEMORY_ROWS:
            raise out_of_memory()
        return super().augment(batch, copy)


def test_augmented_bytes_do_not_depend_on_the_gpus_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = str(make_small_dataset(tmp_path / "source"))
    settings = AugmentSettings.model_validate(
        {"source": source, "parts": None, "augmentor": {"kind": "wide"}}
    )
    plan, _ = plan_augment(settings, seed=5)
    digests: list[list[str]] = []
    rows: list[dict[str, int]] = []
    for name, augmentor in (("large", RandomAugmentor), ("small", SmallGpu)):
        wide = RandomAugmentationSettings.preset("wide")
        monkeypatch.setattr(
            augment_stage, "build_augmentor", lambda *_, kind=augmentor, wide=wide: kind(wide, 5, "wide")
        )
        stage = AugmentStageSettings(source, 1, str(tmp_path / name), plan.run_id, 5, settings.augmentor)
        report = InProcessExecutor().run(
            partial(AugmentStage, stage), plan.units, lambda _: None, name="augment"
        )
        assert not report.failed
        digests.append([file.sha256 for commit in report.commits for file in commit.files])
        rows.append(report.micro_batch_rows)
    assert digests[0] == digests[1]
    assert rows[0] == {}
    assert 1 <= rows[1]["augment"] <= MEMORY_ROWS
