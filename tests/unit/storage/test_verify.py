import dataclasses
from pathlib import Path

import numpy as np
import pytest

from poses.batch import PoseBatch
from poses.skeleton import load_skeleton, skeleton_names
from storage.bone_ranges import bone_limits_m
from storage.manifest import publish_manifest
from storage.object_store import open_store
from storage.quarantine import QuarantinedRow
from storage.reader import Dataset
from storage.verify import Finding, VerificationReport, VerifySettings, verify_dataset
from storage.writer import UnitWriter
from tests.unit.storage.samples import SKELETON, make_clip, make_joints_m, make_pairs


def write(root: Path, *batches: PoseBatch, clips: bool = False) -> Dataset:
    store = open_store(root)
    commits = []
    for number, batch in enumerate(batches):
        with UnitWriter(store, "run", f"u{number}", SKELETON, row_group_rows=64) as writer:
            writer.add_pairs(batch)
            if clips:
                writer.add_clips([make_clip(30, key=f"clip{number}", seed=number)])
                writer.quarantine([QuarantinedRow("a.bvh", number, "jump", "clean")])
            commits.append(writer.commit())
    publish_manifest(store, "run", commits, SKELETON)
    return Dataset.open(root)


def changed(batch: PoseBatch, column: str, index: object, value: float) -> PoseBatch:
    values = getattr(batch, column).copy()
    values[index] = value
    return dataclasses.replace(batch, **{column: values})


def checks(report: VerificationReport) -> list[tuple[str, int | None]]:
    return [(finding.check, finding.row) for finding in report.findings]


def test_a_sound_dataset_has_no_findings(tmp_path: Path) -> None:
    dataset = write(tmp_path, make_pairs(150, seed=1), make_pairs(70, seed=2), clips=True)
    seen: list[str] = []
    report = verify_dataset(dataset, on_file=lambda entry: seen.append(entry.path))
    assert report.findings == ()
    assert report.is_sound
    assert (report.files, report.rows, report.frames) == (6, 220, 60)
    assert seen == [file.path for file in dataset.manifest.files]


@pytest.mark.parametrize(
    ("column", "index", "value", "check"),
    [
        ("joints_camera_m", (100, 3, 1), np.nan, "finite"),
        ("keypoints_px", (100, 5, 0), np.inf, "finite"),
        ("keypoint_confidence", (100, 0), np.nan, "finite"),
        ("keypoint_confidence", (100, 0), 1.5, "confidence"),
        ("camera_px", (100, 9), 0, "camera"),
        ("sample_id", 100, -7, "id"),
        ("keypoints_px", (100, 5, 0), 0, "projection"),
    ],
)
def test_a_wrong_value_is_found_with_its_row(
    tmp_path: Path, column: str, index: object, value: float, check: str
) -> None:
    report = verify_dataset(write(tmp_path, changed(make_pairs(150), column, index, value)))
    assert (check, 100) in checks(report)
    assert {finding.row for finding in report.findings} == {100}


def test_a_long_bone_and_a_joint_behind_the_camera_are_found(tmp_path: Path) -> None:
    batch = changed(make_pairs(150), "joints_camera_m", (70, SKELETON.index("left_wrist"), 0), 3.0)
    batch = changed(batch, "joints_camera_m", (71, SKELETON.index("head"), 2), -1.0)
    found = {
        finding.check: finding
        for finding in verify_dataset(write(tmp_path, batch)).findings
        if finding.row == 70
    }
    assert "bone left_wrist: wanted 0.100 to 0.480 m, got" in found["bones"].message
    assert "at left_wrist" in found["projection"].message
    assert ("depth", 71) in checks(verify_dataset(Dataset.open(tmp_path)))


def test_many_bad_rows_are_counted_not_listed(tmp_path: Path) -> None:
    batch = make_pairs(150)
    batch = dataclasses.replace(batch, keypoints_px=batch.keypoints_px + np.float32(5))
    report = verify_dataset(write(tmp_path, batch), VerifySettings(max_rows_per_check=3))
    assert checks(report) == [("projection", 0), ("projection", 1), ("projection", 2), ("projection", None)]
    assert report.findings[-1].count == 147
    assert verify_dataset(Dataset.open(tmp_path), VerifySettings(projection_tolerance_px=8)).is_sound


def test_missing_keypoints_and_recorded_noise_need_not_project(tmp_path: Path) -> None:
    batch = make_pairs(60)
    noise = np.random.default_rng(0).normal(0, 20, batch.keypoints_px.shape).astype(np.float32)
    noisy = dataclasses.replace(batch, keypoints_px=batch.keypoints_px + noise)
    missing = dataclasses.replace(noisy, keypoint_confidence=np.zeros_like(batch.keypoint_confidence))
    offset = dataclasses.replace(noisy, extra={"augment_noise_px": noise})
    sizes = dataclasses.replace(noisy, extra={"augment_noise_px": np.linalg.norm(noise, axis=-1)})
    for name, rows in {"missing": missing, "offset": offset, "sizes": sizes}.items():
        assert verify_dataset(write(tmp_path / name, rows)).findings == ()
    for name, recorded in {
        "offset": noise + np.float32(9),
        "size": np.linalg.norm(noise, axis=-1) - 9,
    }.items():
        wrong = dataclasses.replace(noisy, extra={"augment_noise_px": recorded})
        assert len(verify_dataset(write(tmp_path / f"wrong {name}", wrong)).findings) >= 20


def test_ids_that_repeat_across_files_are_found(tmp_path: Path) -> None:
    dataset = write(tmp_path, make_pairs(100, seed=1, first_id=0), make_pairs(100, seed=2, first_id=95))
    report = verify_dataset(dataset)
    assert [finding.check for finding in report.findings] == ["duplicate"] * 5
    assert len({finding.path for finding in report.findings}) == 1
    path = report.findings[0].path
    for finding in report.findings:
        number = dataset.read_rows(path, finding.row or 0, (finding.row or 0) + 1).sample_id[0]
        assert f"sample_id {number} " in finding.message
        assert 95 <= number < 100


@pytest.mark.parametrize("kind", ["pairs", "sequences", "quarantine"])
@pytest.mark.parametrize("place", [0.05, 0.5, 0.97])
def test_one_changed_byte_anywhere_is_found_in_its_file(tmp_path: Path, kind: str, place: float) -> None:
    dataset = write(tmp_path, make_pairs(100, seed=1), make_pairs(100, seed=2), clips=True)
    path = dataset.manifest.files_of(kind)[0].path
    file = tmp_path / path
    if file.is_dir():
        file = next(file.rglob("c/0/0/0"))
    data = bytearray(file.read_bytes())
    data[int(len(data) * place)] ^= 64
    file.write_bytes(data)
    report = verify_dataset(dataset)
    assert "digest" in [finding.check for finding in report.findings]
    assert {finding.path for finding in report.findings} == {path}


def test_missing_and_truncated_files_do_not_stop_it(tmp_path: Path) -> None:
    bad = changed(make_pairs(100, seed=3), "keypoints_px", (9, 5, 0), 0)
    dataset = write(tmp_path, make_pairs(100, seed=1), make_pairs(100, seed=2), bad)
    paths = [file.path for file in dataset.pair_files]
    of_bad = next(p for p in paths if dataset.read_rows(p, 0, 1).sample_id[0] == bad.sample_id[0])
    gone, short = (path for path in paths if path != of_bad)
    (tmp_path / gone).unlink()
    (tmp_path / short).write_bytes((tmp_path / short).read_bytes()[:-20])
    found = {(finding.path, finding.check) for finding in verify_dataset(dataset).findings}
    assert {
        (gone, "store"),
        (short, "size"),
        (short, "digest"),
        (short, "unreadable"),
        (of_bad, "projection"),
    } <= found


def test_a_missing_commit_is_found(tmp_path: Path) -> None:
    dataset = write(tmp_path, make_pairs(10))
    (tmp_path / "commits" / "run" / "u0.json").unlink()
    (finding,) = verify_dataset(dataset).findings
    assert "commits/run/u0.json is missing" in finding.message


def test_bad_frames_of_clips_are_found(tmp_path: Path) -> None:
    clip = make_clip(40)
    clip.joints_world_m[7, 3, 0] = np.nan
    clip.joints_world_m[9] *= 10
    with UnitWriter(open_store(tmp_path), "run", "u", SKELETON) as writer:
        writer.add_clips([make_clip(5, key="first"), clip])
        publish_manifest(open_store(tmp_path), "run", [writer.commit()], SKELETON)
    assert checks(verify_dataset(Dataset.open(tmp_path))) == [("finite", 12), ("bones", 14)]


def test_a_finding_reads_as_one_line() -> None:
    finding = Finding(path="pairs/a.parquet", row=1234, check="bones", message="too long")
    assert str(finding) == "pairs/a.parquet, row 1,234: bones: too long"


@pytest.mark.parametrize("name", skeleton_names())
def test_every_skeleton_has_limits_for_its_bones(name: str) -> None:
    skeleton = load_skeleton(name)
    limits = bone_limits_m(skeleton)
    assert limits.shape == (skeleton.n_bones, 2)
    assert (limits[:, 0] > 0).all()
    assert (limits[:, 1] > limits[:, 0]).all()
    thigh = skeleton.bones.index("left_knee")
    assert limits[thigh].tolist() == pytest.approx([0.18, 0.72])


def test_the_sample_bodies_are_human() -> None:
    joints = make_joints_m(20)
    bones = np.linalg.norm(
        joints[:, SKELETON.bone_child_index] - joints[:, SKELETON.bone_parent_index], axis=-1
    )
    limits = bone_limits_m(SKELETON)
    assert ((bones > limits[:, 0]) & (bones < limits[:, 1])).all()
