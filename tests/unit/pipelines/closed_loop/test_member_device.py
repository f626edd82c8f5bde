"""Members compute where their resources say; every tensor of theirs follows."""

import pytest
import torch

from pipelines.closed_loop import build_crew
from pipelines.closed_loop.build_crew import CrewPlan, build_augmentor, build_trainer, member_device
from pipelines.closed_loop.source_data import LoopData
from pipelines.errors import SettingsError
from tests.unit.pipelines.closed_loop.loop_parts import feedback_loop, poseaug_loop, source_poses


def test_without_a_gpu_share_members_stay_on_the_cpu() -> None:
    assert member_device(feedback_loop()) == "cpu"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_share_without_a_gpu_is_said_in_words() -> None:
    with pytest.raises(SettingsError, match=r"gpus_per_actor is 0\.5, but torch finds no CUDA device"):
        member_device(feedback_loop(gpus_per_actor=0.5))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("settings", [feedback_loop, poseaug_loop])
def test_a_round_on_the_gpu(settings, monkeypatch: pytest.MonkeyPatch) -> None:
    data = LoopData(source_poses(70), source_poses(20, 1))
    monkeypatch.setattr(build_crew, "load_loop_data", lambda *_: data)
    plan = CrewPlan(settings(gpus_per_actor=0.5), "in memory", 1, 0)
    trainer, augmentor = build_trainer(plan), build_augmentor(plan, 0)
    for round_index in range(3):
        chunk = augmentor.produce(round_index, 0, 4, trainer.weights())
        report, _ = trainer.consume(round_index, [chunk], 1.0)
    assert next(trainer.lifter.parameters()).is_cuda
    assert report.validation["mpjpe_mm"] > 0
