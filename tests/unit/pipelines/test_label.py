"""Pseudo-labels: the lifter's own poses, put before the camera, with what they miss counted and their error told."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from estimators.errors import LifterInputError
from pipelines.errors import SettingsError
from pipelines.evaluate import predict
from pipelines.label import run_label
from pipelines.label_settings import LabelSettings
from pipelines.pose_table import PairsSource, load_table
from pipelines.stages import label_stage
from pipelines.stages.pose_critic import CAMERA, PLAUSIBILITY
from pipelines.train import TrainSettings, run_train
from pipelines.train_unpaired import CRITIC_FILE, TrainUnpairedSettings, run_train_unpaired
from pipelines.trained_lifter import load_trained_lifter
from poses.batch import PoseBatch
from storage.manifest import publish_manifest
from storage.object_store import open_store
from storage.reader import Dataset
from storage.row_checks import LABEL_COLUMN
from storage.verify import verify_dataset
from storage.writer import UnitWriter
from tests.unit.pipelines.cases import context, make_detections

LIFTERS: dict[str, dict[str, Any]] = {
    "pose": {"kind": "simple_baseline", "width": 64},
    "9 frames": {"kind": "videopose", "channels": 16, "kernel_widths": [3, 3]},
}


def trained(source: Path, out: Path, lifter: dict[str, Any]) -> str:
    """File of a lifter."""
    values = {
        "data": [{"url": str(source), "parts": ["source_train"]}],
        "validation": [{"url": str(source), "parts": ["source_valid"], "rigs": ["h36m_like"]}],
        "lifter": lifter,
        "trainer": {"learning_rate": 3e-3, "loss": "l2"},
        "batch_rows": 64,
        "steps": 150,
        "validate_every": 150,
    }
    return str(out / run_train(TrainSettings.model_validate(values), context(out)).lifter_path)


@pytest.fixture(scope="module")
def lifters(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Files of two lifters that have seen enough to give bodies of a human size."""
    return {name: trained(source, tmp_path_factory.mktemp("lifter"), LIFTERS[name]) for name in LIFTERS}


@pytest.fixture(scope="module")
def critic(source: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("repnet")
    values = {
        "poses": [{"url": str(source), "parts": ["source_train"]}],
        "keypoints": [{"url": str(source), "parts": ["target_subject"]}],
        "validation": [{"url": str(source), "parts": ["source_valid"]}],
        "network": {"width": 16},
        "trainer": {"critic": {"pose_width": 8, "chain_width": 16, "joined_width": 8}},
        "batch_rows": 16,
        "steps": 4,
    }
    run_train_unpaired(TrainUnpairedSettings.model_validate(values), context(out))
    return str(out / CRITIC_FILE)


def label(source: Path, lifter: str, out: Path, **changes: Any) -> PoseBatch:
    """Labels in the order of the rows that they are made from."""
    run_label(LabelSettings(source=str(source), lifter=lifter, **changes), context(out))
    made = Dataset.open(out).read_pairs()
    return made.take(np.argsort(made.source_id))


@pytest.mark.parametrize("name", list(LIFTERS))
def test_labels_are_the_lifters_poses_whole_and_sound(
    source: Path, lifters: dict[str, str], tmp_path: Path, name: str
) -> None:
    made = label(source, lifters[name], tmp_path / "one", flip=False)
    dataset = Dataset.open(tmp_path / "one")
    assert verify_dataset(dataset).is_sound
    rows = Dataset.open(source).read_pairs()
    refused = sum(dataset.manifest.rejected.values())
    assert len(made) + refused == len(rows)
    assert len(made) > 0.3 * len(rows)
    lifter = load_trained_lifter(lifters[name])
    predicted = predict(lifter, load_table([PairsSource(url=str(source))])).numpy()
    at = {number: row for row, number in enumerate(rows.sample_id.tolist())}
    wanted = predicted[[at[number] for number in made.source_id.tolist()]]
    np.testing.assert_allclose(made.joints_root_m, wanted, atol=1e-4)
    in_small_units = label(source, lifters[name], tmp_path / "many", flip=False, rows_per_unit=97)
    np.testing.assert_array_equal(in_small_units.sample_id, made.sample_id)
    np.testing.assert_allclose(in_small_units.joints_camera_m, made.joints_camera_m, atol=1e-4)


def test_the_root_stands_where_its_image_fits(source: Path, lifters: dict[str, str], tmp_path: Path) -> None:
    made = label(source, lifters["pose"], tmp_path)
    rows = Dataset.open(source).read_pairs()
    at = {number: row for row, number in enumerate(rows.sample_id.tolist())}
    true = rows.take(np.array([at[number] for number in made.source_id.tolist()]))
    root = made.skeleton.root_index
    away_m = np.linalg.norm(made.joints_camera_m[:, root] - true.joints_camera_m[:, root], axis=-1)
    depth_m = true.joints_camera_m[:, root, 2]
    assert np.median(away_m / depth_m) < 0.15
    assert not np.array_equal(made.joints_camera_m, true.joints_camera_m)
    assert set(made.extra["part"]) == set(rows.extra["part"])


def test_verify_holds_labels_to_what_they_say(source: Path, lifters: dict[str, str], tmp_path: Path) -> None:
    made = label(source, lifters["pose"], tmp_path / "labels")
    better = replace(made, extra={**made.extra, LABEL_COLUMN: made.extra[LABEL_COLUMN] * 0.5})
    store = open_store(tmp_path / "boast")
    with UnitWriter(store, "run", "unit", made.skeleton) as writer:
        writer.add_pairs(better)
        commit = writer.commit()
    publish_manifest(store, "run", [commit], made.skeleton)
    assert {one.check for one in verify_dataset(Dataset.open(tmp_path / "boast")).findings} == {"projection"}


def test_labels_that_do_not_fit_are_refused_and_counted(
    source: Path, lifters: dict[str, str], critic: str, tmp_path: Path
) -> None:
    every = label(source, lifters["pose"], tmp_path / "all", critic=critic)
    assert every.extra[CAMERA].shape == (len(every), 2, 4)
    error_px = label_stage.mean_reprojection_px(every)
    limit_px, limit = float(np.median(error_px)), float(np.median(every.extra[PLAUSIBILITY]))
    few = label(
        source,
        lifters["pose"],
        tmp_path / "few",
        critic=critic,
        max_reprojection_px=limit_px,
        max_implausibility=limit,
    )
    kept = (error_px <= limit_px) & (every.extra[PLAUSIBILITY] <= limit)
    np.testing.assert_array_equal(few.source_id, every.source_id[kept])
    rejected = Dataset.open(tmp_path / "few").manifest.rejected
    assert rejected["reprojection"] == (error_px > limit_px).sum()
    assert rejected["implausible"] == ((error_px <= limit_px) & ~kept).sum()


def test_a_row_with_nan_goes_to_quarantine_and_few_keypoints_are_counted(
    source: Path, lifters: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = label_stage.LabelStage._read

    def damaged(self: Any, unit: Any) -> PoseBatch:
        whole = read(self, unit)
        keypoints, confidence = whole.keypoints_px.copy(), whole.keypoint_confidence.copy()
        keypoints[3, 5] = np.nan
        confidence[4, 2:] = 0.0
        return replace(whole, keypoints_px=keypoints, keypoint_confidence=confidence)

    monkeypatch.setattr(label_stage.LabelStage, "_read", damaged)
    made = label(source, lifters["pose"], tmp_path, bad_rows={"max_bad_rows": 10})
    dataset = Dataset.open(tmp_path)
    quarantined = list(dataset.quarantined_rows())
    n_files = len(Dataset.open(source).pair_files)
    assert [row.row for row in quarantined] == [3] * n_files
    assert "LifterInputError" in quarantined[0].reason
    assert dataset.manifest.rejected["too_few_keypoints"] == n_files
    everything = len(made) + len(quarantined) + sum(dataset.manifest.rejected.values())
    assert everything == Dataset.open(source).n_pairs


def test_parts_are_chosen(source: Path, lifters: dict[str, str], tmp_path: Path) -> None:
    made = label(source, lifters["pose"], tmp_path, parts=("target_subject",))
    assert set(made.extra["part"]) == {"target_subject"}


def test_an_implausibility_without_a_critic_is_refused(source: Path, lifters: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="there is no critic to say it"):
        LabelSettings(source=str(source), lifter=lifters["pose"], max_implausibility=3.0)


def test_keypoints_in_coco_order_are_refused_by_name(
    source: Path, lifters: dict[str, str], tmp_path: Path
) -> None:
    folder = make_detections(tmp_path / "coco", source)
    with pytest.raises(LifterInputError, match="coco_17"):
        run_label(LabelSettings(source=str(folder), lifter=lifters["pose"]), context(tmp_path / "out"))
    assert not (tmp_path / "out" / "manifests").exists()


def test_detections_in_coco_order_are_labelled_by_a_lifter_of_them(source: Path, tmp_path: Path) -> None:
    folder = make_detections(tmp_path / "coco", source)
    lifter = {"kind": "simple_baseline", "width": 64, "keypoint_skeleton": "coco_17"}
    made = label(folder, trained(folder, tmp_path / "lifter", lifter), tmp_path / "labels")
    assert made.keypoints_of.name == "coco_17"
    assert made.skeleton == Dataset.open(source).skeleton
    assert verify_dataset(Dataset.open(tmp_path / "labels")).is_sound
    face = made.keypoints_of.index("nose")
    assert not made.extra[LABEL_COLUMN][:, face].any()
    assert made.extra[LABEL_COLUMN][:, made.keypoints_of.index("left_knee")].all()


def test_a_critic_of_other_keypoints_is_refused(
    source: Path, lifters: dict[str, str], critic: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_detections(tmp_path / "coco", source)
    monkeypatch.setattr("pipelines.label.check_keypoints_fit", lambda *_: None)
    with pytest.raises(SettingsError, match="2D and 3D of the same joints"):
        run_label(
            LabelSettings(source=str(folder), lifter=lifters["pose"], critic=critic), context(tmp_path / "o")
        )


def test_labelling_again_does_nothing_and_after_a_kill_only_the_rest(
    source: Path, lifters: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = LabelSettings(source=str(source), lifter=lifters["9 frames"], rows_per_unit=200)
    run_label(settings, context(tmp_path / "whole"))
    run, done = label_stage.LabelStage.run, []

    def dies_at_the_third(self: Any, unit: Any, bad_rows: Any = ()) -> Any:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(unit.unit_id)
        return run(self, unit, bad_rows)

    with monkeypatch.context() as patch:
        patch.setattr(label_stage.LabelStage, "run", dies_at_the_third)
        with pytest.raises(KeyboardInterrupt):
            run_label(settings, context(tmp_path / "cut"))
    resumed = run_label(settings, context(tmp_path / "cut"))
    assert len(resumed.report.commits) == len(list(resumed.commits)) - 2
    whole, cut = (
        {one.path: one.sha256 for one in Dataset.open(tmp_path / name).pair_files}
        for name in ("whole", "cut")
    )
    assert whole == cut
    moved = shutil.move(tmp_path / "cut", tmp_path / "moved")
    assert verify_dataset(Dataset.open(moved)).is_sound
