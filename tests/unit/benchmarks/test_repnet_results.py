"""RepNet's results: cameras measured against the truth, how presets are trained, what the tables say."""

import argparse
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.repnet_results import CameraErrors, camera_errors, report, runs, unpaired_settings
from estimators.lifters.repnet.flat_pose import normalise_keypoints, unflatten_joints
from estimators.lifters.repnet.judge import RepNetJudge
from estimators.lifters.repnet.settings import RepNetTrainerSettings, repnet_preset
from estimators.lifters.repnet.torso import align_to_torso
from estimators.lifters.training.schedules import CosineSchedule
from poses.batch import PoseBatch
from storage.reader import Dataset
from tests.unit.pipelines.cases import make_source

OPTIONS = argparse.Namespace(
    preset="default",
    steps=4000,
    also="code",
    also_steps=2000,
    width=32,
    rate=2e-3,
    batch_rows=64,
    keypoints="target_subject",
    supervised=None,
    supervised_steps=100,
    seed=0,
    every=10,
)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> PoseBatch:
    url: Path = tmp_path_factory.mktemp("source")
    make_source(url)
    return Dataset.open(str(url)).read_pairs()


def judge_with_cameras(pairs: PoseBatch, change: Tensor) -> RepNetJudge:
    """Finds the camera fitted to the truth, times `change`."""
    settings = RepNetTrainerSettings()
    body = align_to_torso(
        torch.from_numpy(pairs.joints_camera_m), pairs.skeleton, settings.torso
    ).joints_m.double()
    waiting = iter(body.split(1024))

    def estimate(keypoints: Tensor) -> Any:
        image = unflatten_joints(normalise_keypoints(keypoints).flat, 2).double()
        return SimpleNamespace(
            camera=torch.linalg.lstsq(next(waiting), image).solution.transpose(1, 2) * change
        )

    return cast("RepNetJudge", SimpleNamespace(settings=settings, lifter=SimpleNamespace(estimate=estimate)))


def test_the_best_camera_is_as_good_as_the_best_and_its_scale_is_right(pairs: PoseBatch) -> None:
    found = camera_errors(judge_with_cameras(pairs, torch.ones(3)), pairs)
    np.testing.assert_allclose(found.rotation_deg, found.best_rotation_deg, atol=0.5)
    assert found.rotation_deg.mean() < 15.0
    assert found.scale_percent.mean() < 8.0
    assert found.is_flipped.mean() < 0.2


def test_a_camera_of_the_mirrored_depth_and_one_of_twice_the_scale_are_seen(pairs: PoseBatch) -> None:
    flipped = camera_errors(judge_with_cameras(pairs, torch.tensor([1.0, 1.0, -1.0])), pairs)
    assert flipped.is_flipped.mean() > 0.8
    twice = camera_errors(judge_with_cameras(pairs, torch.tensor(2.0)), pairs)
    assert twice.scale_percent.mean() == pytest.approx(100.0, abs=15.0)
    np.testing.assert_allclose(twice.rotation_deg, twice.best_rotation_deg, atol=0.5)


def test_presets_are_trained_as_they_are() -> None:
    assert runs(OPTIONS) == {"default": 4000, "code": 2000}
    source = [{"url": "somewhere", "parts": ["source_train"]}]
    data = {"poses": source, "keypoints": source}
    code = unpaired_settings("code", 2000, data, OPTIONS)
    changes = {"learning_rate": 2e-3, "schedule": CosineSchedule(steps=2000)}
    assert code.chosen_trainer() == repnet_preset("code").trainer.model_copy(update=changes)
    assert code.chosen_network() == repnet_preset("code").network.model_copy(update={"width": 32})
    default = unpaired_settings("default", 4000, data, OPTIONS).chosen_trainer()
    assert default.schedule.factor(4000, 0) == pytest.approx(0.0)
    assert default.turned == repnet_preset("default").trainer.turned


def test_the_tables_name_every_measure() -> None:
    row = ("target_subject", "h36m_like")
    cameras = CameraErrors(
        np.array([10.0, 30.0]), np.array([1.0, 3.0]), np.array([False, True]), np.array([8.0, 8.0])
    )
    text = report(
        {row: [30.0, 40.0, 39.0, 90.0, 70.0]}, {"default": {row: cameras}, "code": {row: cameras}}, OPTIONS
    )
    assert "| target_subject (its 2D was seen) | 30.0 | 40.0 | 39.0 | 90.0 | 70.0 |" in text
    assert (
        text.count("| target_subject (its 2D was seen) | 20.0° (20.0°) | 50.0 % | 2.0 % (2.0 %) | 8.0° |")
        == 2
    )
    assert "`default` 4,000 steps, `code` 2,000 steps" in text
    assert "every 10th pose" in text
    assert "100 steps of 128, chosen on `source_valid`" in text
