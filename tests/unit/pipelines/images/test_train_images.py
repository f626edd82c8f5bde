"""The job train_images: drawn or from files, resumed to the same bytes, bad rows told, its network evaluated."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from estimators.errors import CheckpointError
from estimators.images.trainer import GraphPoseTrainer
from pipelines.errors import BadRowError, PlanMismatchError, SettingsError, TooManyBadRowsError
from pipelines.evaluate import EvaluateSettings, run_evaluate
from pipelines.images.trained_graph_pose import load_trained_graph_pose
from pipelines.progress import RecordingProgress
from pipelines.train_images import run_train_images
from poses.batch import PoseBatch
from poses.skeleton import joint_map, load_skeleton
from storage.images import decode_image, encode_image
from tests.unit.pipelines.cases import context, make_source
from tests.unit.pipelines.images.picture_cases import (
    NETWORK,
    few_pairs,
    train_settings,
    with_images,
    write_dataset,
)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> tuple[PoseBatch, PoseBatch]:
    """Training and validation pairs."""
    source = tmp_path_factory.mktemp("source")
    make_source(source)
    return few_pairs(source, "source_train", 12), few_pairs(source, "source_valid", 5)


@pytest.fixture(scope="module")
def dataset(pairs: tuple[PoseBatch, PoseBatch], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both, with image files below the dataset's own folder."""
    url = tmp_path_factory.mktemp("pictures")
    named = [with_images(batch, url / "images") for batch in pairs]
    return write_dataset(url, [relative(batch, "images") for batch in named])


def relative(pairs: PoseBatch, folder: str) -> PoseBatch:
    names = np.asarray([f"{folder}/{name}" for name in pairs.extra["image"]], object)
    return replace(pairs, extra={**pairs.extra, "image": names})


@pytest.fixture(scope="module")
def trained(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained")
    run_train_images(train_settings(dataset), context(out))
    return out


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


def test_a_killed_run_goes_on_to_the_same_file(
    dataset: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = GraphPoseTrainer.step

    def dies_at_five(self: GraphPoseTrainer, *arguments: Any) -> Any:
        if self.steps == 5:
            raise Killed
        return step(self, *arguments)

    monkeypatch.setattr(GraphPoseTrainer, "step", dies_at_five)
    with pytest.raises(Killed):
        run_train_images(train_settings(dataset), context(tmp_path))
    monkeypatch.undo()
    result = run_train_images(train_settings(dataset), context(tmp_path))
    assert [entry["step"] for entry in result.history] == [3, 6]
    assert result.selected_on == "validation"
    assert all(entry["keypoint_error_px"] > 0 and entry["mean_pose_mpjpe_mm"] > 0 for entry in result.history)
    assert (tmp_path / result.network_path).read_bytes() == (trained / result.network_path).read_bytes()


def test_image_files_train_as_well(dataset: Path, tmp_path: Path) -> None:
    """From the dataset's own folder, and from one that is named; the same bytes."""
    first = run_train_images(train_settings(dataset, images=None), context(tmp_path / "own"))
    assert first.bad_rows == 0
    second = run_train_images(train_settings(dataset, images=str(dataset)), context(tmp_path / "named"))
    networks = [
        load_trained_graph_pose(str(tmp_path / name / first.network_path)) for name in ("own", "named")
    ]
    assert first.history == second.history
    assert networks[0].crop == networks[1].crop
    assert networks[0].metadata["pictures"] == ["None"]


@pytest.mark.long
def test_it_learns_what_it_sees(pairs: tuple[PoseBatch, PoseBatch], tmp_path: Path) -> None:
    """Eight pictures again and again: poses come out nearer than the mean pose, keypoints nearer than at first."""
    few = pairs[0].take(np.arange(8))
    url = write_dataset(tmp_path / "data", [few])
    seen = [{"url": str(url), "images": "drawn"}]
    still = {"scale": 0, "shift": 0, "turn_deg": 0, "turned_share": 0, "mirrored_share": 0, "colour": 0}
    network = {**NETWORK, "backbone": {"depth": 18, "width": 8}, "graph": {"channels": 16, "blocks": 1}}
    wanted = train_settings(
        url, data=seen, validation=seen, augmentation=still, network=network, trainer={"learning_rate": 3e-3},
        batch_rows=8, steps=100, validate_every=25, checkpoint_every=100,
    )  # fmt: skip
    history = run_train_images(wanted, context(tmp_path / "out")).history
    assert history[-1]["mpjpe_mm"] < 0.8 * history[-1]["mean_pose_mpjpe_mm"]
    assert history[-1]["keypoint_error_px"] < 0.7 * history[0]["keypoint_error_px"]


def test_another_recipe_is_refused(dataset: Path, tmp_path: Path) -> None:
    run_train_images(train_settings(dataset, steps=1), context(tmp_path))
    with pytest.raises(PlanMismatchError, match="crop"):
        run_train_images(train_settings(dataset, steps=1, crop={"size": 64}), context(tmp_path))


def test_evaluate_takes_its_network(dataset: Path, trained: Path, tmp_path: Path) -> None:
    wanted = {
        "checkpoint": str(trained / "graph_pose.safetensors"),
        "data": [{"url": str(dataset), "images": "drawn"}],
        "protocols": ["frame_mean_with_root", "action_mean_with_root"],
    }
    rows = run_evaluate(EvaluateSettings.model_validate(wanted), context(tmp_path))
    assert [(row.part, row.result.n_poses) for row in rows[::2]] == [
        ("source_train", 12),
        ("source_valid", 5),
    ]
    document = json.loads((tmp_path / "evaluation.json").read_text())
    assert document["left_out"] == []
    sheet = decode_image((tmp_path / "crops.png").read_bytes(), "crops.png")
    assert sheet.shape == (3 * 128, 8 * 128, 3)
    assert (sheet == 255).all(-1).sum() > 500  # true keypoints
    assert (sheet == (255, 60, 40)).all(-1).any()  # left limbs that were found
    assert document["selected_on"] == "validation"
    metrics = document["rows"][2]["metrics"]
    assert {"mpjpe_mm", "keypoint_error_px", "keypoint_pck_05", "mean_pose_mpjpe_mm"} <= set(metrics)
    assert 0 <= metrics["keypoint_pck_05"] <= 1
    flipped = run_evaluate(EvaluateSettings.model_validate({**wanted, "flip": True}), context(tmp_path))
    assert flipped[2].result.metrics["mpjpe_mm"] != metrics["mpjpe_mm"]
    assert flipped[2].result.metrics["mean_pose_mpjpe_mm"] == metrics["mean_pose_mpjpe_mm"]


def test_lifters_and_image_networks_are_not_mistaken(dataset: Path, trained: Path, tmp_path: Path) -> None:
    from pipelines.train import TrainSettings, run_train
    from pipelines.trained_lifter import load_trained_lifter

    with pytest.raises(CheckpointError, match="holds 'graph_pose', wanted a lifter"):
        load_trained_lifter(str(trained / "graph_pose.safetensors"))
    data = [{"url": str(dataset), "parts": ["source_train"]}]
    lifter = {"kind": "simple_baseline", "width": 8, "stages": 1}
    valid = [{"url": str(dataset), "parts": ["source_valid"]}]
    plain = {"data": data, "validation": valid, "lifter": lifter, "steps": 1, "batch_rows": 4}
    run_train(TrainSettings.model_validate(plain), context(tmp_path))
    checkpoint = str(tmp_path / "lifter.safetensors")
    with pytest.raises(CheckpointError, match="holds 'lifter', wanted an image network"):
        load_trained_graph_pose(checkpoint)
    wanted = {"checkpoint": checkpoint, "data": [{**data[0], "images": "drawn"}]}
    with pytest.raises(SettingsError, match="is a lifter, which reads keypoints"):
        run_evaluate(EvaluateSettings.model_validate(wanted), context(tmp_path))


def damaged(pairs: tuple[PoseBatch, PoseBatch], url: Path) -> Path:
    """The same data with one image missing, one cut off, one of another shape and one that is not named."""
    named = [relative(with_images(batch, url / "images"), "images") for batch in pairs]
    names = named[0].extra["image"]
    (url / names[0]).unlink()
    (url / names[1]).write_bytes((url / names[1]).read_bytes()[:200])
    (url / names[2]).write_bytes(encode_image(np.zeros((50, 100, 3), np.uint8)))
    names[4] = ""
    return write_dataset(url, named)


def test_bad_images_are_left_out_told_and_listed(pairs: tuple[PoseBatch, PoseBatch], tmp_path: Path) -> None:
    url = damaged(pairs, tmp_path / "data")
    out = context(tmp_path / "out")
    result = run_train_images(train_settings(url, images=None), out)
    assert result.bad_rows == 4
    listed = (tmp_path / "out" / "runs" / result.run_id / "bad_rows.jsonl").read_text().splitlines()
    reasons = " ".join(json.loads(line)["reason"] for line in listed)
    assert len(listed) == 4
    for words in (
        "no such image that can be read",
        "cut off or damaged",
        "100 x 50 pixels, its camera has 100 x 100",
        "the column 'image' is empty",
    ):
        assert words in reasons
    assert isinstance(out.progress, RecordingProgress)
    told = [line for line in out.progress.messages if "left out" in line]
    assert len(told) == 4
    assert str(pairs[0].sample_id[0]) in " ".join(told)


def test_the_bad_row_policy_decides(pairs: tuple[PoseBatch, PoseBatch], tmp_path: Path) -> None:
    url = damaged(pairs, tmp_path / "data")
    with pytest.raises(BadRowError, match=r"sample_id \d+: .*on_bad_row is 'fail'"):
        run_train_images(
            train_settings(url, images=None, bad_rows={"on_bad_row": "fail"}), context(tmp_path / "a")
        )
    with pytest.raises(
        TooManyBadRowsError, match="2 rows cannot be used as pictures, wanted no more than max_bad_rows = 1"
    ):
        run_train_images(
            train_settings(url, images=None, bad_rows={"max_bad_rows": 1}), context(tmp_path / "b")
        )


def test_rows_without_a_box_are_left_out(pairs: tuple[PoseBatch, PoseBatch], tmp_path: Path) -> None:
    train = pairs[0]
    keypoints, confidence = train.keypoints_px.copy(), train.keypoint_confidence.copy()
    confidence[0] = 0.0
    keypoints[1] += 5000.0
    confidence[2, 4:] = 0.0
    url = write_dataset(
        tmp_path / "data", [replace(train, keypoints_px=keypoints, keypoint_confidence=confidence), pairs[1]]
    )
    out = context(tmp_path / "out")
    assert run_train_images(train_settings(url), out).bad_rows == 2
    told = " ".join(out.progress.messages)  # pyright: ignore[reportAttributeAccessIssue]
    assert "no box: wanted two keypoints" in told
    assert "its box lies outside the image" in told


def test_a_column_or_a_part_that_is_missing_is_told(
    pairs: tuple[PoseBatch, PoseBatch], tmp_path: Path
) -> None:
    url = write_dataset(tmp_path / "data", list(pairs))
    with pytest.raises(
        SettingsError, match="wanted a column 'image' with the path of every pair's image, the file has"
    ):
        run_train_images(train_settings(url, images=None), context(tmp_path / "a"))
    nothing = [{"url": str(url), "parts": ["nobody"], "images": "drawn"}]
    with pytest.raises(SettingsError, match="no pairs in parts nobody"):
        run_train_images(train_settings(url, data=nothing), context(tmp_path / "b"))


def test_another_skeleton_is_refused_by_name(
    pairs: tuple[PoseBatch, PoseBatch], dataset: Path, trained: Path, tmp_path: Path
) -> None:
    train = pairs[0]
    names = load_skeleton("h36m_17")
    mapped = joint_map(train.skeleton, names)
    other = write_dataset(
        tmp_path / "data",
        [
            replace(
                train,
                skeleton=names,
                joints_camera_m=mapped.apply(train.joints_camera_m).astype(np.float32),
                keypoints_px=mapped.apply(train.keypoints_px).astype(np.float32),
                keypoint_confidence=np.ones((len(train), names.n_joints), np.float32),
            )
        ],
    )
    mixed = [{"url": str(other), "images": "drawn"}]
    with pytest.raises(SettingsError, match=r"skeleton 'h36m_16', .* has 'h36m_17'"):
        run_train_images(train_settings(dataset, data=mixed), context(tmp_path / "out"))
    wanted = {"checkpoint": str(trained / "graph_pose.safetensors"), "data": mixed}
    with pytest.raises(CheckpointError, match=r"trained on skeleton 'h36m_16'.*'h36m_17'"):
        run_evaluate(EvaluateSettings.model_validate(wanted), context(tmp_path / "evaluated"))


def test_keypoints_of_other_joints_are_refused(pairs: tuple[PoseBatch, PoseBatch], tmp_path: Path) -> None:
    few, coco = pairs[0], load_skeleton("coco_17")
    detected = replace(
        few,
        keypoint_skeleton=coco,
        keypoints_px=np.zeros((len(few), coco.n_joints, 2), np.float32),
        keypoint_confidence=np.ones((len(few), coco.n_joints), np.float32),
    )
    url = write_dataset(tmp_path / "data", [detected])
    with pytest.raises(
        SettingsError, match=r"2D keypoints are of skeleton 'coco_17', its poses of 'h36m_16'"
    ):
        run_train_images(train_settings(url), context(tmp_path / "out"))


def test_a_test_part_chooses_nothing(pairs: tuple[PoseBatch, PoseBatch], tmp_path: Path) -> None:
    train, valid = pairs
    target = np.full(len(valid), "target_subject", object)
    url = write_dataset(tmp_path / "data", [train, replace(valid, extra={**valid.extra, "part": target})])
    validation = [{"url": str(url), "parts": ["target_*"], "images": "drawn"}]
    with pytest.raises(SettingsError, match=r"train_images\.validation: target_subject is a test split"):
        run_train_images(train_settings(url, validation=validation), context(tmp_path / "out"))
    insisted = train_settings(url, validation=validation, choose_on_test=True, steps=1)
    assert run_train_images(insisted, context(tmp_path / "insisted")).selected_on == "test"
