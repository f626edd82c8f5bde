"""Files and folders in, clips out: keys, subjects, rates, T-poses, cuts, and what a bad file among good ones costs."""

from pathlib import Path

import numpy as np
import pytest

from storage.errors import ImporterError
from storage.importers.options import ImportOptions
from storage.importers.read_motion import ImportedMotion, read_motion
from tests.unit.storage.importers.bodies import H36M_17, swaying_m
from tests.unit.storage.importers.motion_files import (
    CMU_MOTIONBUILDER,
    bvh_text,
    smooth_values,
    write_amc_pair,
    write_walk,
)

UNIT_M = 0.0254 / 0.45


def assert_counted(result: ImportedMotion) -> None:
    """Every source frame is accounted for."""
    counts = result.counts
    assert counts.read == counts.inserted_pose + counts.kept + counts.quarantined
    assert sum(part.n_frames for part in result.quarantined) == counts.quarantined


def test_a_bvh_becomes_a_clip_at_30_hz_without_its_t_pose(tmp_path: Path) -> None:
    write_walk(tmp_path / "07" / "07_01.bvh", 240)
    result = read_motion(tmp_path / "07" / "07_01.bvh", ImportOptions(root=tmp_path))
    (clip,) = result.clips
    assert (clip.key, clip.subject, clip.action, clip.rate_hz) == ("07/07_01", "07", "unknown", 30.0)
    assert clip.source_frame.tolist() == list(range(1, 241, 4))
    assert clip.joints_world_m.shape == (60, 17, 3)
    assert result.counts.inserted_pose == 1
    assert_counted(result)


def test_units_and_the_lost_thorax(tmp_path: Path) -> None:
    write_walk(tmp_path / "a.bvh")
    result = read_motion(tmp_path / "a.bvh")
    joints = result.clips[0].joints_world_m
    offsets = {name: np.array(offset) for name, _, offset in CMU_MOTIONBUILDER}

    def length_m(bone: str) -> np.ndarray:
        row = H36M_17.bone_index(bone)
        child, parent = H36M_17.bone_child_index[row], H36M_17.bone_parent_index[row]
        return np.linalg.norm(joints[:, child] - joints[:, parent], axis=-1)

    np.testing.assert_allclose(length_m("left_knee"), np.linalg.norm(offsets["LeftLeg"]) * UNIT_M, rtol=1e-5)
    # without the mended bone the spine joint and the thorax are one upperback apart, with it two
    assert length_m("thorax").mean() == pytest.approx(
        2 * np.linalg.norm(offsets["Spine1"]) * UNIT_M, rel=0.02
    )
    assert any(
        "lost bone: Neck, LeftShoulder, RightShoulder got the rest offset of Spine1" in n
        for n in result.notes
    )


def test_left_is_plus_x_when_facing_plus_z(tmp_path: Path) -> None:
    write_walk(tmp_path / "a.bvh")
    joints = read_motion(tmp_path / "a.bvh").clips[0].joints_world_m
    across = joints[:, H36M_17.index("left_hip")] - joints[:, H36M_17.index("right_hip")]
    assert (across[:, 0] > 0.1).all()
    assert (joints[:, H36M_17.index("head"), 1] > joints[:, H36M_17.index("pelvis"), 1] + 0.3).all()


def test_a_file_without_its_t_pose_loses_no_frame_and_says_so(tmp_path: Path) -> None:
    write_walk(tmp_path / "a.bvh", 120, t_pose=False)
    result = read_motion(tmp_path / "a.bvh")
    assert result.counts.inserted_pose == 0
    assert result.clips[0].source_frame[0] == 0
    assert any("no inserted pose" in note for note in result.notes)
    assert read_motion(tmp_path / "a.bvh", ImportOptions(skip_frames=8)).clips[0].source_frame[0] == 8


def test_a_z_up_file_is_turned_and_odd_postures_are_noted(tmp_path: Path) -> None:
    joints = swaying_m(30, 30.0)
    z_up = np.stack([joints[..., 0], -joints[..., 2], joints[..., 1]], axis=-1)
    np.savez(tmp_path / "a.npz", walk=z_up)
    result = read_motion(tmp_path / "a.npz", ImportOptions(up_axis="z"))
    np.testing.assert_allclose(result.clips[0].joints_world_m, joints, atol=1e-6)
    assert not result.notes
    assert any("up_axis: z" in note for note in read_motion(tmp_path / "a.npz").notes)


def test_an_amc_pair_and_a_bvh_lie_in_one_folder(tmp_path: Path) -> None:
    write_walk(tmp_path / "07" / "07_01.bvh")
    write_amc_pair(tmp_path / "02")
    result = read_motion(tmp_path)
    assert [(clip.key, clip.subject) for clip in result.clips] == [("02/02_01", "02"), ("07/07_01", "07")]
    assert_counted(result)


def test_hdm05_subjects_and_subject_patterns(tmp_path: Path) -> None:
    write_amc_pair(tmp_path / "x")
    (tmp_path / "x" / "02_01.amc").rename(tmp_path / "x" / "HDM_bk_walk_001_120.amc")
    assert read_motion(tmp_path).clips[0].subject == "bk"
    options = ImportOptions(subject_pattern=r"bk_([a-z]+)_\d+")
    assert read_motion(tmp_path, options).clips[0].subject == "walk"
    with pytest.raises(ValueError, match="wants a group in parentheses"):
        ImportOptions(subject_pattern="abc")


def test_an_index_gives_key_subject_and_action(tmp_path: Path) -> None:
    write_walk(tmp_path / "salsa" / "01.bvh")
    np.savez(tmp_path / "clips.npz", **{"60/b": swaying_m(10, 30.0)})
    (tmp_path / "index.csv").write_text(
        "key,file,subject,action_class\navatar/60/01,salsa/01.bvh,60,dance\nclips/60/b,,60,walk\n"
    )
    result = read_motion(tmp_path, ImportOptions(index_csv=tmp_path / "index.csv"))
    assert [(clip.key, clip.subject, clip.action) for clip in result.clips] == [
        ("clips/60/b", "60", "walk"),
        ("avatar/60/01", "60", "dance"),
    ]
    (tmp_path / "short.csv").write_text("key,subject\na,b\n")
    with pytest.raises(ImporterError, match=r"short\.csv: .*missing: action_class"):
        read_motion(tmp_path, ImportOptions(index_csv=tmp_path / "short.csv"))


def test_a_wrong_frame_rate_is_overridden_by_glob(tmp_path: Path) -> None:
    write_walk(tmp_path / "salsa" / "01.bvh", 240)
    result = read_motion(tmp_path, ImportOptions(rate_overrides={"salsa/*": 60.0}))
    assert len(result.clips[0]) == 120
    (tmp_path / "salsa" / "01.bvh").write_text(bvh_text(smooth_values(40), frame_time_s="0"))
    with pytest.raises(ImporterError, match="rate_overrides"):
        read_motion(tmp_path / "salsa" / "01.bvh")
    options = ImportOptions(rate_overrides={"salsa/*": 120.0}, root=tmp_path)
    assert len(read_motion(tmp_path / "salsa" / "01.bvh", options).clips[0]) == 10


def test_a_jump_cuts_the_clip_and_both_parts_keep_the_frame_grid(tmp_path: Path) -> None:
    values = smooth_values(400)
    values[200, 3] += 120.0
    (tmp_path / "a.bvh").write_text(bvh_text(values))
    result = read_motion(tmp_path / "a.bvh")
    assert [clip.key for clip in result.clips] == ["a@000000", "a@000202"]
    assert [(part.first_frame, part.last_frame, part.reason) for part in result.quarantined] == [
        (199, 201, "jump")
    ]
    assert all((clip.source_frame % 4 == 0).all() for clip in result.clips)
    assert_counted(result)
    whole = read_motion(tmp_path / "a.bvh", ImportOptions(on_jump="clip"))
    assert not whole.clips
    assert [part.reason for part in whole.quarantined] == ["clip_with_jump"]
    assert_counted(whole)


def test_nan_frames_of_a_bvh_are_quarantined(tmp_path: Path) -> None:
    values = smooth_values(400)
    values[100:110, 20] = np.nan
    (tmp_path / "a.bvh").write_text(bvh_text(values))
    result = read_motion(tmp_path / "a.bvh")
    assert [(part.first_frame, part.last_frame, part.reason) for part in result.quarantined] == [
        (100, 109, "not_finite")
    ]
    assert all(np.isfinite(clip.joints_world_m).all() for clip in result.clips)
    assert_counted(result)


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e300, -1e30, 1e12])
def test_absurd_numbers_are_quarantined_without_a_warning(tmp_path: Path, value: float) -> None:
    for column in (0, 4, 20):
        values = smooth_values(200)
        values[100, column] = value
        (tmp_path / "a.bvh").write_text(bvh_text(values))
        result = read_motion(tmp_path / "a.bvh")
        assert_counted(result)
        assert all(np.isfinite(clip.joints_world_m).all() for clip in result.clips)
        if column == 0 or np.isinf(value):
            assert any(part.first_frame <= 100 <= part.last_frame for part in result.quarantined)


def test_zero_length_bones_of_a_bvh_are_quarantined(tmp_path: Path) -> None:
    joints = [
        (name, parent, (0, 0, 0) if name == "LeftLeg" else offset)
        for name, parent, offset in CMU_MOTIONBUILDER
    ]
    (tmp_path / "a.bvh").write_text(bvh_text(smooth_values(50), joints=joints))
    result = read_motion(tmp_path / "a.bvh")
    assert not result.clips
    assert [(part.reason, part.n_frames) for part in result.quarantined] == [("zero_length_bone", 50)]
    assert "left_knee" in result.quarantined[0].detail


def test_a_wrong_unit_is_refused(tmp_path: Path) -> None:
    write_walk(tmp_path / "a.bvh")
    with pytest.raises(ImporterError, match=r"the body is .* m tall .* set unit_m"):
        read_motion(tmp_path / "a.bvh", ImportOptions(unit_m=1.0))


def test_a_bad_file_in_a_folder_is_quarantined_and_alone_it_is_an_error(tmp_path: Path) -> None:
    write_walk(tmp_path / "good.bvh")
    (tmp_path / "bad.bvh").write_text((tmp_path / "good.bvh").read_text()[:5000])
    result = read_motion(tmp_path)
    assert [clip.key for clip in result.clips] == ["good"]
    (bad,) = result.quarantined
    assert (bad.key, bad.reason, bad.first_frame, bad.n_frames) == ("bad", "unreadable", -1, 0)
    assert "truncated" in bad.detail
    assert_counted(result)
    with pytest.raises(ImporterError, match="truncated"):
        read_motion(tmp_path / "bad.bvh")


def test_empty_folders_missing_paths_and_other_files_say_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(
        ImporterError, match=r"nothing to import: wanted files ending in \.bvh, \.amc, \.npz.*no files"
    ):
        read_motion(tmp_path)
    (tmp_path / "video.mp4").write_text("x")
    with pytest.raises(ImporterError, match=r"nothing to import.*found video\.mp4"):
        read_motion(tmp_path)
    with pytest.raises(ImporterError, match="no such file or folder; the path exists up to"):
        read_motion(tmp_path / "none" / "such")
    with pytest.raises(ImporterError, match="cannot tell the format"):
        read_motion(tmp_path / "video.mp4")


def test_include_and_exclude(tmp_path: Path) -> None:
    for name in ("a/1.bvh", "a/2.bvh", "b/1.bvh"):
        write_walk(tmp_path / name, 60)
    assert [c.key for c in read_motion(tmp_path, ImportOptions(include=("a/*",))).clips] == ["a/1", "a/2"]
    assert [c.key for c in read_motion(tmp_path, ImportOptions(exclude=("*/1",))).clips] == ["a/2"]
    with pytest.raises(ImporterError, match="3 files were left out by include and exclude"):
        read_motion(tmp_path, ImportOptions(include=("c/*",)))


def test_another_rate_than_a_whole_fraction_is_interpolated(tmp_path: Path) -> None:
    write_walk(tmp_path / "a.bvh", 241)
    fine = read_motion(tmp_path / "a.bvh", ImportOptions(rate_hz=120)).clips[0]
    coarse = read_motion(tmp_path / "a.bvh", ImportOptions(rate_hz=50)).clips[0]
    assert len(coarse) == 101
    at = np.arange(101) * 2.4
    wanted = [np.interp(at, np.arange(241), fine.joints_world_m[:, 10, axis]) for axis in range(3)]
    np.testing.assert_allclose(coarse.joints_world_m[:, 10], np.stack(wanted, axis=-1), atol=1e-5)
