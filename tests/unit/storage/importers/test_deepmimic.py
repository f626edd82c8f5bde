"""DeepMimic clips: kinematics against an independent computation, the character beside, damage."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from storage.errors import ImporterError
from storage.importers.deepmimic import read_deepmimic
from storage.importers.discover import discover, format_of
from storage.importers.options import ImportOptions
from storage.importers.skeletal_motion import world_positions

JOINTS = (
    ("root", "none", -1, (0.0, 0.0, 0.0)),
    ("neck", "spherical", 0, (0.0, 0.5, 0.1)),
    ("hip", "fixed", 0, (0.0, 0.0, 0.1)),
    ("knee", "revolute", 2, (0.0, -0.4, 0.0)),
    ("ankle", "fixed", 3, (0.0, -0.3, 0.2)),
)


def write_clip(folder: Path, frames: list[list[float]]) -> Path:
    joints = [
        {"Name": name, "Type": kind, "Parent": parent, "AttachX": at[0], "AttachY": at[1], "AttachZ": at[2]}
        for name, kind, parent, at in JOINTS
    ]
    (folder / "humanoid3d_character.txt").write_text(json.dumps({"Skeleton": {"Joints": joints}}))
    path = folder / "humanoid3d_walk.txt"
    path.write_text(json.dumps({"Loop": "wrap", "Frames": frames}))
    return path


def frame(duration_s: float, root_wxyz: tuple, neck_wxyz: tuple, knee_rad: float) -> list[float]:
    return [duration_s, 1.0, 2.0, 3.0, *root_wxyz, *neck_wxyz, knee_rad]


TURNED = frame(1 / 30, (0.9, 0.1, -0.3, 0.2), (0.7, 0.0, 0.5, 0.1), 0.8)


def test_positions_equal_scipys(tmp_path: Path) -> None:
    motion = read_deepmimic(write_clip(tmp_path, [TURNED, frame(0.0, (1, 0, 0, 0), (2, 0, 0, 0), 0.0)]))
    assert motion.rate_hz == 30.0
    got = world_positions(motion, ("neck", "ankle", "head_top"))
    root = Rotation.from_quat([0.1, -0.3, 0.2, 0.9])
    neck = root * Rotation.from_quat([0.0, 0.5, 0.1, 0.7])
    knee = root * Rotation.from_euler("z", 0.8)
    at_neck = np.array([1.0, 2.0, 3.0]) + root.apply([0.0, 0.5, 0.1])
    at_knee = np.array([1.0, 2.0, 3.0]) + root.apply([0.0, -0.4, 0.1])
    wanted = [at_neck, at_knee + knee.apply([0.0, -0.3, 0.2]), at_neck + neck.apply([0.0, 0.26, 0.0])]
    np.testing.assert_allclose(got[0], wanted, atol=1e-12)
    np.testing.assert_allclose(got[1], [[1, 2.5, 3.1], [1, 1.3, 3.3], [1, 2.76, 3.1]], atol=1e-12)


def test_a_zero_quaternion_gives_nan_for_cleaning_to_find(tmp_path: Path) -> None:
    motion = read_deepmimic(write_clip(tmp_path, [TURNED, frame(1 / 30, (0, 0, 0, 0), (1, 0, 0, 0), 0.0)]))
    got = world_positions(motion, ("root", "ankle"))
    assert np.isfinite(got[0]).all()
    assert np.isnan(got[1, 1]).all()


def test_clips_are_told_from_other_text_files(tmp_path: Path) -> None:
    path = write_clip(tmp_path, [TURNED])
    (tmp_path / "labels.txt").write_text("1 2 3\n")
    (tmp_path / "settings.json").write_text("{}")
    assert discover(tmp_path, ImportOptions()) == [path]
    with pytest.raises(ImporterError, match="cannot tell the format"):
        format_of(tmp_path / "labels.txt")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"Frames"', '"Frame"', "Frames wants rows of numbers"),
        ("0.8]", "0.8, 1.0]", "14 numbers per frame, wanted 13"),
        ("0.8]", '"x"]', "Frames wants rows of numbers"),
        ("0.8]", "0.8], [1.0]", "Frames wants rows of numbers of one length"),
        ("0.8]]}", "0.8", "no valid JSON, or truncated"),
        ("0.033", "0.000000033", "give the true rate in rate_overrides"),
    ],
)
def test_damaged_clips_are_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = write_clip(tmp_path, [TURNED])
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(ImporterError, match=message) as caught:
        read_deepmimic(path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"Skeleton"', '"Bones"', "it is no character file"),
        ('"revolute"', '"hinge"', "got parent 2 and type 'hinge'"),
        ('"Parent": 3', '"Parent": 7', "wants an earlier joint as parent"),
        ('"AttachY": 0.5', '"AttachY": "high"', "joint 1 lacks a value or has a wrong one"),
    ],
)
def test_damaged_character_files_are_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = write_clip(tmp_path, [TURNED])
    character = tmp_path / "humanoid3d_character.txt"
    assert old in character.read_text()
    character.write_text(character.read_text().replace(old, new, 1))
    with pytest.raises(ImporterError, match=message):
        read_deepmimic(path)


def test_a_clip_without_its_character_says_so(tmp_path: Path) -> None:
    path = write_clip(tmp_path, [TURNED])
    (tmp_path / "humanoid3d_character.txt").unlink()
    with pytest.raises(ImporterError, match=r"wanted one character file .* beside it, found none"):
        read_deepmimic(path)
