"""Datasets whose 2D is of another skeleton than their 3D say so, and old ones are written and read as before."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from poses.batch import PoseBatch
from poses.errors import PoseShapeError
from poses.skeleton import load_skeleton
from storage.errors import DatasetError, ExportError, ManifestError, ShardError
from storage.exporters.selection import PairsSelection
from storage.manifest import publish_manifest
from storage.object_store import open_store
from storage.pairs_reader import PairsReader
from storage.reader import Dataset
from storage.verify import verify_dataset
from storage.writer import UnitWriter
from tests.unit.augment.pose_samples import sample_batch

COCO = load_skeleton("coco_17")
SHARED = [name for name in sample_batch().skeleton.joints if name in COCO.joints]


def detected(rows: int = 60) -> PoseBatch:
    """Poses of 17 H36M joints with 17 COCO keypoints; what both have is where it projects."""
    batch = sample_batch(rows)
    keypoints_px = np.full((rows, COCO.n_joints, 2), 500.0, np.float32)
    for name in SHARED:
        keypoints_px[:, COCO.index(name)] = batch.keypoints_px[:, batch.skeleton.index(name)]
    confidence = np.ones((rows, COCO.n_joints), np.float32)
    return replace(batch, keypoints_px=keypoints_px, keypoint_confidence=confidence, keypoint_skeleton=COCO)


def written(url: Path, batch: PoseBatch) -> Dataset:
    store = open_store(url)
    keypoints = batch.keypoint_skeleton
    with UnitWriter(store, "run", "unit", batch.skeleton, keypoint_skeleton=keypoints) as writer:
        writer.add_pairs(batch)
        commit = writer.commit()
    publish_manifest(store, "run", [commit], batch.skeleton, keypoint_skeleton=keypoints)
    return Dataset.open(url)


def test_a_batch_carries_whose_its_keypoints_are() -> None:
    batch = detected()
    assert batch.keypoints_of is COCO
    assert batch.take(slice(3, 9)).keypoints_of is COCO
    both = PoseBatch.concat([batch.take(slice(0, 3)), batch.take(slice(3, 9))])
    assert (both.keypoint_skeleton, len(both)) == (COCO, 9)
    assert PoseBatch.empty(batch.skeleton, COCO).keypoints_px.shape == (0, 17, 2)
    with pytest.raises(PoseShapeError, match="keypoints of one skeleton, got 'coco_17' and 'h36m_17'"):
        PoseBatch.concat([batch, sample_batch(60)])
    with pytest.raises(PoseShapeError, match=r"keypoints_px wants float32 \(60, 26, 2\).*'halpe_26'"):
        replace(batch, keypoint_skeleton=load_skeleton("halpe_26"))
    own = replace(sample_batch(60), keypoint_skeleton=load_skeleton("h36m_17"))
    assert own.keypoint_skeleton is None


def test_what_was_written_is_read_with_its_skeletons(tmp_path: Path) -> None:
    batch = detected()
    dataset = written(tmp_path, batch)
    read = dataset.read_pairs()
    assert (read.skeleton.name, read.keypoints_of.name) == ("h36m_17", "coco_17")
    np.testing.assert_array_equal(read.keypoints_px, batch.keypoints_px)
    assert next(dataset.iter_batches(columns=["frame"])).keypoints_px.shape == (60, 17, 2)
    assert dataset.read_rows(dataset.pair_files[0].path, 3, 5).keypoints_of.joints == COCO.joints
    tensors = next(iter(dataset.to_torch(columns=("keypoints_screen",), batch_rows=60)))
    np.testing.assert_array_equal(tensors["keypoints_screen"].numpy(), batch.keypoints_screen)
    assert "keypoints are of skeleton `coco_17`" in (tmp_path / "README.md").read_text()


def test_only_joints_of_both_are_projected(tmp_path: Path) -> None:
    assert 10 < len(SHARED) < 17
    assert verify_dataset(written(tmp_path / "good", detected())).is_sound
    batch = detected()
    batch.keypoints_px[7, COCO.index("left_wrist")] += 40.0
    findings = verify_dataset(written(tmp_path / "bad", batch)).findings
    assert [(finding.check, finding.row) for finding in findings] == [("projection", 7)]
    assert "left_wrist" in findings[0].message


def test_ordinary_datasets_are_of_the_old_layout(tmp_path: Path) -> None:
    dataset = written(tmp_path / "plain", sample_batch(60))
    text = json.loads((tmp_path / "plain/manifests/v000001.json").read_text())
    assert text["schema_version"] == 1
    assert "keypoint_skeleton" not in text
    schema = pq.read_schema(tmp_path / "plain" / dataset.pair_files[0].path)
    assert schema.metadata[b"posemill.schema_version"] == b"1"
    other = json.loads(
        (written(tmp_path / "other", detected()).store.read_bytes("manifests/v000001.json")).decode()
    )
    assert (other["schema_version"], other["keypoint_skeleton"]["name"]) == (2, "coco_17")


def test_keypoints_that_are_not_the_datasets_are_refused(tmp_path: Path) -> None:
    dataset = written(tmp_path, detected())
    plain = sample_batch(60)
    with UnitWriter(dataset.store, "run", "second", plain.skeleton) as writer:
        with pytest.raises(DatasetError, match="wanted rows with keypoints of 'h36m_17', got 'coco_17'"):
            writer.add_pairs(detected())
        writer.add_pairs(plain)
        commit = writer.commit()
    with pytest.raises(DatasetError, match="keypoints are of 'coco_17', the new rows' of 'h36m_17'"):
        publish_manifest(dataset.store, "run", [commit], plain.skeleton)
    with pytest.raises(ShardError, match="skeleton of the file's keypoints"):
        PairsReader(dataset.store, dataset.pair_files[0], plain.skeleton, load_skeleton("halpe_26"))
    with pytest.raises(ExportError, match="2D keypoints are of 'coco_17'"):
        PairsSelection(dataset)


def test_a_manifest_of_the_old_layout_has_no_such_field(tmp_path: Path) -> None:
    written(tmp_path, detected())
    path = tmp_path / "manifests/v000001.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values | {"schema_version": 1}))
    with pytest.raises(ManifestError, match="layout 1 has none"):
        Dataset.open(tmp_path)
