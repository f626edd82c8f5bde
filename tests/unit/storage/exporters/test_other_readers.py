"""Exports as the programs they are for read them."""

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from poses.batch import PoseBatch
from storage.exporters.export import export_dataset
from storage.exporters.settings import ExportSettings
from storage.importers.coco_json import read_coco_file
from storage.importers.h36m_npz import read_h36m_npz
from storage.reader import Dataset
from tests.unit.storage.exporters.datasets import by_id, mixed_pairs, publish
from tests.unit.storage.samples import SKELETON, assert_same_pairs

ROWS = 90


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return publish(tmp_path_factory.mktemp("source") / "dataset", mixed_pairs(ROWS))


@pytest.fixture(scope="module")
def pairs(dataset: Dataset) -> PoseBatch:
    return dataset.read_pairs()


def export(dataset: Dataset, to: str, folder: Path, **settings: object) -> Path:
    export_dataset(dataset, to, folder, ExportSettings.model_validate({"shard_rows": 40, **settings}))
    return folder


def run_python(code: str, *arguments: object) -> str:
    """Another package in a process of its own: it is slow to load, and warns of things that are not ours."""
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(arguments[-1])}
    command = [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=250, env=env)
    assert done.returncode == 0, done.stderr[-2_000:]
    return done.stdout.splitlines()[-1]


def test_pycocotools_loads_every_file(dataset: Dataset, pairs: PoseBatch, tmp_path: Path) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    files = sorted(export(dataset, "coco", tmp_path / "x").glob("annotations/*.json"))
    assert len(files) == 3
    row = 0
    for path in files:
        loaded = coco.COCO(str(path))
        assert loaded.getCatIds(catNms=["person"]) == [1]
        (category,) = loaded.loadCats([1])
        assert category["keypoints"] == list(SKELETON.joints)
        bones = [(SKELETON.joints[a - 1], SKELETON.joints[b - 1]) for a, b in category["skeleton"]]
        assert bones == [
            (SKELETON.joints[SKELETON.parents[SKELETON.index(bone)]], bone) for bone in SKELETON.bones
        ]
        for one in loaded.loadAnns(loaded.getAnnIds()):
            assert one["id"] == row + 1
            keypoints = np.float32(one["keypoints"]).reshape(-1, 3)
            seen = pairs.keypoint_confidence[row] > 0
            np.testing.assert_array_equal(keypoints[:, 2], np.where(seen, 2, 0))
            np.testing.assert_array_equal(
                keypoints[:, :2], np.where(seen[:, None], pairs.keypoints_px[row], 0)
            )
            low, high = pairs.keypoints_px[row][seen].min(0), pairs.keypoints_px[row][seen].max(0)
            np.testing.assert_allclose(one["bbox"], [*low, *(high - low)], rtol=1e-6)
            assert one["area"] == pytest.approx(one["bbox"][2] * one["bbox"][3], rel=1e-6)
            assert one["num_keypoints"] == seen.sum()
            image = loaded.loadImgs([one["image_id"]])[0]
            assert (image["width"], image["height"]) == (1000, 1002)
            row += 1
    assert row == ROWS


def test_a_coco_file_can_be_read_by_itself(dataset: Dataset, pairs: PoseBatch, tmp_path: Path) -> None:
    folder = export(dataset, "coco", tmp_path / "x")
    got = read_coco_file(folder / "annotations/posemill-00001.json")
    assert_same_pairs(got, pairs.take(slice(40, 80)))


def test_nobody_seen_gives_an_empty_box(tmp_path: Path) -> None:
    hidden = mixed_pairs(3)
    hidden.keypoint_confidence[:] = 0
    folder = export(publish(tmp_path / "dataset", hidden), "coco", tmp_path / "x")
    for one in json.loads((folder / "annotations/posemill-00000.json").read_text())["annotations"]:
        assert (one["bbox"], one["area"], one["num_keypoints"]) == ([0, 0, 0, 0], 0, 0)
        assert not any(one["keypoints"])


def test_numpy_loads_videopose3d_files_without_pickle(
    dataset: Dataset, pairs: PoseBatch, tmp_path: Path
) -> None:
    """The lines of docs/formats.md."""
    folder = export(dataset, "videopose3d", tmp_path / "x")
    positions_2d, positions_3d, rows = {}, {}, 0
    for path in sorted(folder.glob("data_2d_*.npz")):
        data_2d = np.load(path)
        data_3d = np.load(path.with_name(path.name.replace("data_2d_", "data_3d_")))
        metadata = json.loads(data_2d["metadata"].item())
        assert metadata["num_joints"] == 17
        left, right = metadata["keypoints_symmetry"]
        assert [SKELETON.joints[i].replace("left", "right") for i in left] == [
            SKELETON.joints[i] for i in right
        ]
        for one, other in zip(
            metadata["sequences"], json.loads(data_3d["metadata"].item())["sequences"], strict=True
        ):
            group = (one["subject"], one["action"])
            positions_2d.setdefault(group, []).append(data_2d[one["positions_2d"]])
            positions_3d.setdefault(group, []).append(data_3d[other["positions_3d"]])
            assert positions_2d[group][-1].shape == (one["frames"], 17, 2)
            assert positions_3d[group][-1].shape == (one["frames"], 17, 3)
            rows += one["frames"]
    assert rows == ROWS
    wanted = set(zip(pairs.subject, pairs.action, pairs.clip, pairs.extra["part"], strict=True))
    assert set(positions_2d) == {(s, f"{action} {clip} ({part})") for s, action, clip, part in wanted}
    everything = np.concatenate([array for group in positions_2d.values() for array in group])
    np.testing.assert_array_equal(np.sort(everything.ravel()), np.sort(pairs.keypoints_px.ravel()))


def test_frames_of_a_sequence_are_in_order_and_cameras_of_a_clip_together(tmp_path: Path) -> None:
    from storage.importers.exported import open_export

    first = mixed_pairs(200, 1)
    folder = export(publish(tmp_path / "dataset", first), "videopose3d", tmp_path / "x", shard_rows=30)
    seen: dict[tuple[str, str, int], int] = {}
    for number, batch in enumerate(open_export(folder).iter_batches()):
        assert (np.diff(batch.frame) > 0).all()
        for names in (batch.clip, batch.subject, batch.camera_name, batch.extra["part"], batch.extra["rig"]):
            assert len(set(names)) == 1
        seen[batch.clip[0], batch.extra["part"][0] + batch.extra["rig"][0], number] = len(batch)
    assert sum(seen.values()) == 200
    assert len(list(folder.glob("data_2d_*"))) > 3


def test_the_pickled_files_are_what_the_published_loader_asks_for(
    dataset: Dataset, pairs: PoseBatch, tmp_path: Path
) -> None:
    plain = export(dataset, "videopose3d", tmp_path / "plain")
    assert not (plain / "pickled").exists()
    folder = export(dataset, "videopose3d", tmp_path / "x", pickled=True, shard_rows=1_000)
    path = folder / "pickled/data_2d_posemill-00000.npz"
    keypoints = np.load(path, allow_pickle=True)  # as the published run.py opens it; this test wrote the file
    assert len(keypoints["metadata"].item()["keypoints_symmetry"]) == 2
    positions = keypoints["positions_2d"].item()
    assert set(positions) == set(pairs.subject)
    assert sum(len(cameras[0]) for actions in positions.values() for cameras in actions.values()) == ROWS
    clips = list(read_h36m_npz(folder / "pickled/data_3d_posemill-00000.npz"))
    assert {f"{subject}/{action}" for subject in positions for action in positions[subject]} == {
        clip.name for clip in clips
    }
    assert sum(len(clip.joints_world_m) for clip in clips) == ROWS


def test_no_file_of_any_other_export_holds_a_pickle(dataset: Dataset, tmp_path: Path) -> None:
    folder = export(dataset, "videopose3d", tmp_path / "x")
    for path in folder.glob("*.npz"):
        with np.load(path, allow_pickle=False) as archive:
            assert all(archive[name].dtype != object for name in archive.files)
        with zipfile.ZipFile(path) as members:
            assert {member.compress_type for member in members.infolist()} == {zipfile.ZIP_STORED}
            assert {member.date_time for member in members.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_tar_files_are_plain_and_timeless(dataset: Dataset, pairs: PoseBatch, tmp_path: Path) -> None:
    folder = export(dataset, "webdataset", tmp_path / "x")
    names: list[str] = []
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                assert (member.mtime, member.uid, member.gid, member.mode) == (0, 0, 0, 0o644)
                assert member.isreg()
                names.append(member.name)
    endings = ("joints_camera_m.npy", "json", "keypoints_px.npy")
    assert names == [f"{one:019d}.{ending}" for one in pairs.sample_id.tolist() for ending in endings]
    index = json.loads((folder / "index.json").read_text())
    assert [shard["nsamples"] for shard in index["shardlist"]] == [40, 40, 10]
    assert [shard["filesize"] for shard in index["shardlist"]] == [
        (folder / shard["url"]).stat().st_size for shard in index["shardlist"]
    ]


def test_webdataset_streams_the_samples(dataset: Dataset, pairs: PoseBatch, tmp_path: Path) -> None:
    pytest.importorskip("webdataset")
    folder = export(dataset, "webdataset", tmp_path / "x")
    code = (
        "import sys, glob, webdataset, numpy\n"
        "found = webdataset.WebDataset(sorted(glob.glob(sys.argv[1] + '/*.tar')), shardshuffle=False).decode()\n"
        "rows = list(found)\n"
        "assert rows[0]['joints_camera_m.npy'].shape == (17, 3)\n"
        "ids = [row['json']['sample_id'] for row in rows]\n"
        "total = sum(float(row['keypoints_px.npy'].astype('f8').sum()) for row in rows)\n"
        "print(len(rows), sum(ids), round(total, 3))\n"
    )
    total = float(sum(row.astype("f8").sum() for row in pairs.keypoints_px))
    assert run_python(code, folder, tmp_path) == f"{ROWS} {pairs.sample_id.sum()} {round(total, 3)}"


def test_datasets_loads_the_folder_with_a_split_per_part(
    dataset: Dataset, pairs: PoseBatch, tmp_path: Path
) -> None:
    pytest.importorskip("datasets", exc_type=ImportError)
    folder = export(dataset, "huggingface", tmp_path / "x")
    code = (
        "import sys, datasets\n"
        "found = datasets.load_dataset(sys.argv[1], cache_dir=sys.argv[2] + '/cache')\n"
        "rows = found['source_train'].with_format('numpy')[:]\n"
        "shape, kind = rows['joints_camera_m'].shape, rows['joints_camera_m'].dtype\n"
        "counts = {name: split.num_rows for name, split in found.items()}\n"
        "print(counts, shape, kind, int(rows['sample_id'].sum()), rows['keypoints_px'].astype('f8').sum().round(3))\n"
    )
    train = pairs.take(pairs.extra["part"] == "source_train")
    total = train.keypoints_px.astype("f8").sum().round(3)
    assert run_python(code, folder, tmp_path) == (
        f"{ {'source_train': 45, 'source_valid': 45} } (45, 17, 3) float32 {train.sample_id.sum()} {total}"
    )


def test_the_card_names_the_files_and_escapes_what_came_from_data(tmp_path: Path) -> None:
    import yaml

    part = np.asarray(["a|b <script>`", "all", "source train"] * 2, object)
    pairs = mixed_pairs(6)
    odd = PoseBatch(**{**vars(pairs), "extra": {**pairs.extra, "part": part}})
    folder = export(publish(tmp_path / "dataset", odd), "huggingface", tmp_path / "x")
    _, front, words = (folder / "README.md").read_text().split("---\n", 2)
    (config,) = yaml.safe_load(front)["configs"]
    splits = [entry["split"] for entry in config["data_files"]]
    assert splits == ["a_b_script", "all_part", "source_train"]
    for entry in config["data_files"]:
        assert len(list(folder.glob(entry["path"]))) == 1
    assert "<script>" not in words


def test_a_delta_copy_is_read_by_deltalake_and_polars(
    dataset: Dataset, pairs: PoseBatch, tmp_path: Path
) -> None:
    deltalake = pytest.importorskip("deltalake")
    import polars

    folder = export(dataset, "delta", tmp_path / "x")
    table = deltalake.DeltaTable(str(folder))
    assert len(table.file_uris()) == 3
    rows = polars.scan_delta(str(folder)).sort("sample_id").collect()
    got = np.stack(rows["joints_camera_m"].to_list()).astype(np.float32).reshape(-1, 17, 3)
    np.testing.assert_array_equal(got, by_id(pairs).joints_camera_m)
