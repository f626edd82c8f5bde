"""2D of another skeleton than the 3D: lifters of it are trained and evaluated, everybody else refuses by name."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from estimators.errors import LifterInputError
from pipelines.closed_loop.settings import ClosedLoopSettings
from pipelines.closed_loop.source_data import load_loop_data
from pipelines.errors import SettingsError
from pipelines.evaluate import EvaluateSettings, run_evaluate
from pipelines.mass_augment import AugmentSettings, plan_augment
from pipelines.pose_table import PairsSource, load_table
from pipelines.train import TrainSettings, run_train
from pipelines.train_semi import TRAJECTORY_FILE, load_trained_trajectory
from pipelines.trained_lifter import load_trained_lifter
from pipelines.unpaired_data import load_detections
from poses.skeleton import load_skeleton
from tests.unit.pipelines.cases import context, make_detections

COCO = load_skeleton("coco_17")
DETECTIONS = {"kind": "videopose", "channels": 64, "kernel_widths": [1, 1], "keypoint_skeleton": "coco_17"}
BASELINE = {"kind": "simple_baseline", "width": 64, "standardise": True, "keypoint_skeleton": "coco_17"}


@pytest.fixture(scope="module")
def detected(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_detections(tmp_path_factory.mktemp("detected"), source)


def settings(url: Path, validation: Path | None = None, **changes: Any) -> TrainSettings:
    values: dict[str, Any] = {
        "data": [{"url": str(url), "parts": ["source_train"]}],
        "validation": [{"url": str(validation or url), "parts": ["source_valid"]}],
        "lifter": DETECTIONS,
        "batch_rows": 32,
        "steps": 40,
        "trainer": {"learning_rate": 3e-3},
        "validate_every": 20,
        "mirror_share": 0.5,
    }
    return TrainSettings.model_validate({**values, **changes})


@pytest.mark.parametrize(("reader", "lifter"), [("memory", DETECTIONS), ("mapped", BASELINE)])
def test_a_lifter_of_other_keypoints_is_trained_and_evaluated(
    detected: Path, source: Path, tmp_path: Path, reader: str, lifter: dict[str, Any]
) -> None:
    job = settings(detected, lifter=lifter, reader=reader, cache_folder=str(tmp_path / "cache"))
    result = run_train(job, context(tmp_path))
    assert result.history[-1]["train_loss"] < 0.7 * result.history[0]["train_loss"]
    path = str(tmp_path / result.lifter_path)
    module = load_trained_lifter(path).module
    assert (module.keypoint_skeleton.name, module.skeleton.name) == ("coco_17", "h36m_16")
    data = [{"url": str(detected), "parts": ["source_valid"]}]
    found = EvaluateSettings.model_validate({"checkpoint": path, "data": data, "flip": True})
    rows = run_evaluate(found, context(tmp_path / "evaluated"))
    assert np.isfinite(rows[0].result.metrics["mpjpe_mm"])
    wrong = EvaluateSettings.model_validate({"checkpoint": path, "data": [{"url": str(source)}]})
    with pytest.raises(
        LifterInputError, match=r"2D keypoints of skeleton 'h36m_16', the network sees those of 'coco_17'"
    ):
        run_evaluate(wrong, context(tmp_path / "wrong"))


def test_keypoints_without_3d_may_be_of_other_joints_too(detected: Path, tmp_path: Path) -> None:
    unlabelled = [{"url": str(detected), "parts": ["target_subject"], "rigs": ["h36m_like"]}]
    semi = {"unlabelled": unlabelled, "method": {"warmup_epochs": 0}}
    result = run_train(settings(detected, semi_supervised=semi, steps=4, mirror_share=1.0), context(tmp_path))
    assert np.isfinite(result.history[-1]["train_loss"])
    trajectory = load_trained_trajectory(str(tmp_path / TRAJECTORY_FILE))
    assert trajectory.keypoint_skeleton.name == "coco_17"


def test_a_lifter_of_the_poses_joints_refuses_them_by_name(
    detected: Path, source: Path, tmp_path: Path
) -> None:
    own = {"kind": "simple_baseline", "width": 16}
    with pytest.raises(
        LifterInputError, match=r"'coco_17', the network sees those of 'h36m_16'.*joint_map\('coco_17'"
    ):
        run_train(settings(detected, lifter=own), context(tmp_path / "one"))
    with pytest.raises(LifterInputError, match="keypoint_skeleton: coco_17"):
        run_train(settings(detected, source, lifter=own), context(tmp_path / "two"))
    with pytest.raises(LifterInputError, match="'h36m_16', the network sees those of 'coco_17'"):
        run_train(settings(source, detected), context(tmp_path / "three"))


def test_who_makes_or_compares_2d_refuses_them(detected: Path, source: Path) -> None:
    augment = AugmentSettings.model_validate({"source": str(detected), "augmentor": {"kind": "wide"}})
    with pytest.raises(SettingsError, match=r"keypoints are of skeleton 'coco_17'.*an augmentor"):
        plan_augment(augment, 0)
    pairs = PairsSource(url=str(detected))
    with pytest.raises(SettingsError, match="RepNet wants both of the same joints"):
        load_detections([pairs])
    with pytest.raises(SettingsError, match="a closed loop wants both"):
        load_loop_data(str(detected), 1, ClosedLoopSettings())
    with pytest.raises(SettingsError, match="this job wants both"):
        load_table([pairs])
    with pytest.raises(
        SettingsError, match="2D keypoints of 'h36m_16', the datasets before it have 'coco_17'"
    ):
        load_table([pairs, PairsSource(url=str(source))], other_keypoints=True)
