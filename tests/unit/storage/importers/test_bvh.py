"""BVH: what is read, checked against an independent way to compute it, and what is refused."""

import contextlib
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from storage.errors import ImporterError
from storage.importers.bvh import read_bvh, snap_rate_hz
from storage.importers.skeletal_motion import world_positions
from tests.unit.storage.importers.motion_files import (
    CHANNELS_PER_FRAME,
    CMU_MOTIONBUILDER,
    bvh_text,
    hierarchy_text,
    smooth_values,
)

SMALL = """HIERARCHY
ROOT hip
{
  OFFSET 0 1 0
  CHANNELS 6 Zposition Xposition Yposition Yrotation Xrotation Zrotation
  JOINT left knee
  {
    OFFSET 1 -2 3
    CHANNELS 5 Xrotation Yposition Zrotation Xposition Yrotation
    End Site
    {
      OFFSET 0 -4 0
    }
  }
}
MOTION
Frames: 2
Frame Time: 0.04
3 1 2 10 20 30 40 -5 50 6 70
3 1 2 -10 25 35 45 -6 55 7 75
"""


def slow_positions(order: str, values: np.ndarray) -> dict[str, np.ndarray]:
    """Joint positions, one frame and one joint at a time, with scipy's rotations."""
    placed: dict[str, list[np.ndarray]] = {}
    for row in values:
        rotations, positions = {}, {}
        for at, (name, parent, offset) in enumerate(CMU_MOTIONBUILDER):
            turn = Rotation.from_euler(order, row[3 + 3 * at : 6 + 3 * at], degrees=True)
            if parent is None:
                rotations[name], positions[name] = turn, row[0:3]
            else:
                rotations[name] = rotations[parent] * turn
                positions[name] = positions[parent] + rotations[parent].apply(offset)
            placed.setdefault(name, []).append(positions[name])
    return {name: np.array(rows) for name, rows in placed.items()}


@pytest.mark.parametrize("order", ["ZYX", "ZXY", "XYZ", "YXZ", "YZX", "XZY"])
def test_positions_equal_a_slow_independent_computation(order: str) -> None:
    values = smooth_values(5)
    values[:, 3:] *= 8.0
    text = bvh_text(values).replace(hierarchy_text(), hierarchy_text(order=order))
    names = [name for name, *_ in CMU_MOTIONBUILDER]
    got = world_positions(read_bvh(text.encode()), names)
    wanted = slow_positions(order, np.round(values, 6))
    for slot, name in enumerate(names):
        np.testing.assert_allclose(got[:, slot], wanted[name], atol=1e-9, err_msg=name)


def test_channels_in_any_order_positions_on_any_joint_and_names_with_spaces() -> None:
    motion = read_bvh(SMALL.encode())
    assert motion.joints == ("hip", "left knee", "left knee_end")
    assert motion.rate_hz == 25.0
    got = world_positions(motion, motion.joints)
    root = Rotation.from_euler("YXZ", [10, 20, 30], degrees=True)
    knee = Rotation.from_euler("XZY", [40, 50, 70], degrees=True)
    hip = np.array([1.0, 2.0, 3.0])  # position channels replace the OFFSET
    at_knee = hip + root.apply([6.0, -5.0, 3.0])  # z has no channel and keeps its OFFSET
    np.testing.assert_allclose(got[0], [hip, at_knee, at_knee + (root * knee).apply([0, -4, 0])], atol=1e-12)


def test_braces_on_the_joints_line_tabs_and_windows_line_ends_are_read() -> None:
    text = re.sub(r"\n\s*\{", " {", SMALL).replace("\n", "\r\n").replace("Frames: 2", "Frames:\t2")
    np.testing.assert_array_equal(read_bvh(text.encode()).values, read_bvh(SMALL.encode()).values)


def test_names_that_are_not_utf8_are_read_as_latin1() -> None:
    content = SMALL.encode().replace(b"left knee", b"kn\xe4ckis")
    assert read_bvh(content).joints[1] == "knäckis"


def test_numbers_that_old_microsoft_libraries_print_for_nan_become_nan() -> None:
    values = read_bvh(SMALL.replace("3 1 2 -10", "-1.#IND00 1.#INF nan -10").encode()).values
    assert np.isnan(values[1, [0, 2]]).all()
    assert np.isinf(values[1, 1])


@pytest.mark.parametrize(
    ("frame_time_s", "rate_hz"),
    [(0.0083333, 120.0), (0.00833333, 120.0), (0.033332, 30.0), (0.0166667, 60.0)],
)
def test_rounded_frame_times_give_whole_rates(frame_time_s: float, rate_hz: float) -> None:
    assert snap_rate_hz(frame_time_s) == rate_hz


def test_broadcast_rates_stay_what_they_are() -> None:
    assert snap_rate_hz(1001 / 30000) == pytest.approx(29.97, abs=0.001)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            ("70\n3", "70\n"),
            r"promises 2 frames of 11 numbers, the file holds 1 whole frames and 10 numbers.*line 20 has 10",
        ),
        (("-10 25 35 45 -6 55 7 75", ""), "the file holds 1 whole frames and 3 numbers"),
        (("Frames: 2", "Frames: 99999999999999999999999"), "promises 99999999999999999999 frames"),
        (("Frames: 2", "Frames: 0"), "Frames wants a whole number"),
        (("Frames: 2", "Frames: -2"), "Frames wants a whole number"),
        (("Frames: 2\n", ""), "wanted 'Frames: <count>'"),
        (("Frame Time: 0.04\n", ""), "wanted 'Frame Time: <seconds>'"),
        (("0.04", "0"), r"Frame Time wants seconds.*got '0'.*rate_overrides"),
        (("0.04", "nan"), "Frame Time wants seconds"),
        (("0.04", "-0.04"), "Frame Time wants seconds"),
        (("0.04", "x"), "Frame Time wants seconds"),
        (("-10 25", "-1O 25"), r"line 20: wanted a number, got '-1O'"),
        (("-10 25", "-1_0 25"), r"line 20: wanted a number, got '-1_0'"),
        (("-10 25", "-1\udcff 25"), r"line 20: wanted a number, got '-1\\xff'"),
        (("CHANNELS 5", "CHANNELS 4"), r"line 9: CHANNELS of 'left knee' wants a count"),
        (("CHANNELS 5", "CHANNELS 999999999999"), r"line 9: CHANNELS of 'left knee' wants a count"),
        (("Xrotation Yposition", "Wrotation Yposition"), "names like Xrotation"),
        (("OFFSET 1 -2 3", "OFFSET 1 -2"), r"line 8: OFFSET of 'left knee' wants 3 numbers, got '1 -2'"),
        (("OFFSET 1 -2 3", "OFFSET 1 inf 3"), "wants 3 numbers"),
        (("OFFSET 1 -2 3", ""), "joint 'left knee' has no OFFSET"),
        (("JOINT left knee\n  {", "JOINT left knee"), r"no place in a BVH hierarchy|wanted '\{'"),
        (("}\nMOTION", "MOTION"), "not closed before MOTION"),
        (("}\nMOTION", "}\n}\nMOTION"), "closes no joint"),
        (("}\nMOTION", "}\nROOT other\n{\n}\nMOTION"), "a second ROOT 'other'"),
        (("left knee", "hip"), "joint names must be unique, 'hip'"),
        (("HIERARCHY", "HIERARCHIE"), "line 1: wanted HIERARCHY"),
        (("MOTION\n", ""), "no MOTION line"),
    ],
)
def test_damaged_files_are_refused_with_what_is_wrong(damage: tuple[str, str], message: str) -> None:
    assert damage[0] in SMALL
    content = SMALL.replace(damage[0], damage[1], 1).encode(errors="surrogateescape")
    with pytest.raises(ImporterError, match=message) as caught:
        read_bvh(content, name="walk.bvh")
    assert str(caught.value).startswith("walk.bvh: ")


def test_a_given_rate_replaces_a_zero_frame_time() -> None:
    assert read_bvh(SMALL.replace("0.04", "0").encode(), rate_hz=60.0).rate_hz == 60.0


def test_endless_hierarchies_are_refused() -> None:
    joints = [("a0", None, (0, 0, 0))] + [(f"a{i}", "a0", (0, 1, 0)) for i in range(1, 1200)]
    with pytest.raises(ImporterError, match="more than 2000 joints"):
        read_bvh((hierarchy_text(joints) + "MOTION\n").encode())


def test_a_missing_or_empty_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(ImporterError, match=r"none\.bvh: cannot be read: No such file"):
        read_bvh(tmp_path / "none.bvh")
    (tmp_path / "empty.bvh").write_text(" \n")
    with pytest.raises(ImporterError, match="the file is empty"):
        read_bvh(tmp_path / "empty.bvh")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_cut_or_changed_byte_gives_a_motion_or_our_error(data: st.DataObject) -> None:
    content = bytearray(bvh_text(smooth_values(2)).encode())
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ImporterError):
        motion = read_bvh(bytes(content))
        assert motion.values.shape[1] >= 1
        assert motion.n_frames >= 1


def test_the_last_digits_cut_off_cannot_be_told() -> None:
    text = bvh_text(smooth_values(3))
    assert read_bvh(text[:-4].encode()).values.shape == (3, CHANNELS_PER_FRAME)
