"""All of data/mocap through the importers, against the reference clips that the domain split is defined on.

The reference (h36m17_30fps) is rounded to 0.1 mm. Skipped where the shared data is absent.
"""

import csv
from pathlib import Path

import numpy as np
import pytest

from storage.importers.options import ImportOptions
from storage.importers.read_motion import ImportedMotion, read_motion
from tests.shared_data import shared_path

ROUNDING_M = 0.0001
PAIRS = ("02/02_01", "05/05_13", "35/35_01", "49/49_18")
# 17.9 and 19.6 m/s at their own 60 Hz, just below the limit that makes a glitch
NEARLY_GLITCHES = {"cmu_daz_avatar/60/salsa_04", "cmu_daz_avatar/60/salsa_11"}


@pytest.fixture(scope="module")
def mocap() -> Path:
    return shared_path("data", "mocap")


@pytest.fixture(scope="module")
def index(mocap: Path) -> dict[str, dict[str, str]]:
    with (mocap / "index.csv").open(newline="", encoding="utf-8") as stream:
        return {row["key"]: row for row in csv.DictReader(stream)}


@pytest.fixture(scope="module")
def imported(mocap: Path) -> ImportedMotion:
    options = ImportOptions(
        index_csv=mocap / "index.csv",
        exclude=("h36m17_30fps/*",),
        rate_overrides={"cmu_daz_bvh/salsa/*": 60.0},
    )
    return read_motion(mocap, options)


def test_every_raw_file_is_read_and_every_frame_accounted_for(imported: ImportedMotion, mocap: Path) -> None:
    files = {str(path) for pattern in ("*.bvh", "*.amc", "humanoid3d_*.txt") for path in mocap.rglob(pattern)}
    assert {clip.source_file for clip in imported.clips} == {
        file for file in files if "character" not in file
    }
    counts = imported.counts
    assert counts.read == counts.inserted_pose + counts.kept + counts.quarantined
    assert sum(part.n_frames for part in imported.quarantined) == counts.quarantined
    assert not [part for part in imported.quarantined if part.reason == "unreadable"]


def test_clips_equal_the_reference_frame_by_frame(imported: ImportedMotion, mocap: Path, index: dict) -> None:
    archives = {path.stem: np.load(path) for path in (mocap / "h36m17_30fps").glob("*.npz")}
    compared = set()
    for clip in imported.clips:
        key = clip.key.split("@")[0]
        if key not in index or float(index[key]["fps"]) < 30:  # the reference left slower clips at their rate
            continue
        source, name = key.split("/", 1)
        reference = archives[source][name]
        first = int(index[key]["usable_from_frame"])
        row = (clip.source_frame - first) * 30 / float(index[key]["fps"])
        np.testing.assert_array_equal(row, np.round(row), err_msg=clip.key)
        difference_m = clip.joints_world_m - reference[row.astype(int)]
        assert np.linalg.norm(difference_m, axis=-1).max() < ROUNDING_M, clip.key
        assert (clip.subject, clip.action) == (index[key]["subject"], index[key]["action_class"])
        compared.add(key)
    assert compared == {key for key, row in index.items() if row["file"] and float(row["fps"]) >= 30}


def test_the_raw_glitches_are_found_and_nothing_else(imported: ImportedMotion, index: dict) -> None:
    wanted = {key for key, row in index.items() if row["glitch"] and row["file"]}
    assert len(wanted) == 11
    assert {part.key for part in imported.quarantined if part.key in index} == wanted


def test_clips_without_a_glitch_are_whole(imported: ImportedMotion, index: dict) -> None:
    whole = {clip.key: len(clip) for clip in imported.clips if "@" not in clip.key}
    wanted = {
        key: int(row["frames_30fps"])
        for key, row in index.items()
        if row["file"] and row["glitch"] != "yes" and float(row["fps"]) >= 30
    }
    assert {key: whole[key] for key in wanted} == wanted


def test_all_nineteen_glitches_are_found_at_30_hz_too(mocap: Path, index: dict) -> None:
    slower = {
        key: float(row["fps"])
        for key, row in index.items()
        if row["frames"] == row["frames_30fps"] and float(row["fps"]) < 30
    }
    options = ImportOptions(index_csv=mocap / "index.csv", rate_overrides=slower)
    result = read_motion(mocap / "h36m17_30fps", options)
    glitches = {key for key, row in index.items() if row["glitch"]}
    assert len(glitches) == 19
    assert {part.key for part in result.quarantined} == glitches | NEARLY_GLITCHES
    assert len({clip.key.split("@")[0] for clip in result.clips} | glitches) == len(index)


@pytest.mark.parametrize("take", PAIRS)
def test_two_formats_of_one_take_agree(take: str, mocap: Path) -> None:
    options = ImportOptions(rate_hz=120.0)
    bvh = read_motion(mocap / "cmu_bvh" / f"{take}.bvh", options).clips[0]
    amc = read_motion(mocap / "cmu_asfamc" / f"{take}.amc", options).clips[0]
    n_frames = min(len(bvh), len(amc))
    error_mm = 1000 * np.linalg.norm(bvh.joints_world_m[:n_frames] - amc.joints_world_m[:n_frames], axis=-1)
    below = bvh.skeleton.indices(
        [joint for joint in bvh.skeleton.joints if joint.endswith(("hip", "knee", "ankle"))]
    )
    assert error_mm[:, below].max() < 0.01
    assert error_mm.mean() < 3.5  # the guessed thorax bone: the same offset for everything above it
    assert error_mm.std(axis=0).max() < 0.05


def test_the_same_take_as_daz_and_motionbuilder_moves_alike(mocap: Path) -> None:
    """Two conversions with other joint positions: the hips turn alike frame by frame, the legs nearly so."""
    folder = mocap / "cmu_daz_bvh" / "same_take_two_formats"
    options = ImportOptions(rate_hz=120.0, max_speed_mps=1000.0)  # knees that flip are no matter here
    daz, motionbuilder = (
        read_motion(folder / f"05_20-{name}.bvh", options).clips[0] for name in ("daz", "mb")
    )
    skeleton = daz.skeleton

    def directions(joints_m: np.ndarray) -> np.ndarray:
        bones = joints_m[:, skeleton.bone_child_index] - joints_m[:, skeleton.bone_parent_index]
        return bones / np.linalg.norm(bones, axis=-1, keepdims=True)

    same = np.isin(motionbuilder.source_frame, daz.source_frame)
    cosine = (
        directions(motionbuilder.joints_world_m[same]) * directions(daz.joints_world_m[: int(same.sum())])
    ).sum(axis=-1)
    angle_deg = dict(
        zip(skeleton.bones, np.median(np.degrees(np.arccos(np.clip(cosine, -1, 1))), axis=0), strict=True)
    )
    assert max(angle_deg["left_hip"], angle_deg["right_hip"]) < 0.1
    assert (
        max(
            angle_deg[f"{side}_{joint}"] for side in ("left", "right") for joint in ("knee", "ankle", "elbow")
        )
        < 8.0
    )
