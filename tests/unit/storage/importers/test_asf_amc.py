"""ASF/AMC pairs: kinematics against an independent computation, finding the ASF, damage."""

import contextlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from storage.errors import ImporterError
from storage.importers.amc import asf_named_in, read_amc
from storage.importers.asf import read_asf
from storage.importers.asf_amc import find_asf, join_skeleton_and_motion, read_asf_amc
from storage.importers.skeletal_motion import world_positions
from tests.unit.storage.importers.motion_files import (
    ASF_BONES,
    ASF_CHAINS,
    ASF_COUNTS,
    amc_text,
    asf_text,
    smooth_values,
    write_amc_pair,
)

PARENT_OF = {child: chain.split()[0] for chain in ASF_CHAINS for child in chain.split()[1:]}


def values_for(n_frames: int, seed: int = 3) -> np.ndarray:
    return smooth_values(n_frames, seed, sum(ASF_COUNTS.values()))


def slow_positions(row: np.ndarray) -> dict[str, np.ndarray]:
    """One frame, with scipy: global rotation of a bone = parent's @ C M C^-1; its end = start + rotation * bone."""
    columns, at = {}, 0
    for name, count in ASF_COUNTS.items():
        columns[name] = row[at : at + count]
        at += count
    rotations = {"root": Rotation.from_euler("xyz", columns["root"][3:], degrees=True)}
    ends = {"root": columns["root"][:3]}
    for name, direction, length, axis, dof in ASF_BONES:
        angles = dict(zip(dof.replace("r", "").split(), columns.get(name, ()), strict=True))
        motion = Rotation.from_euler("xyz", [angles.get(a, 0.0) for a in "xyz"], degrees=True)
        own = Rotation.from_euler("xyz", axis, degrees=True)
        rotations[name] = rotations[PARENT_OF[name]] * own * motion * own.inv()
        ends[name] = ends[PARENT_OF[name]] + rotations[name].apply(np.array(direction) * length)
    return ends


def test_bone_ends_equal_a_slow_independent_computation(tmp_path: Path) -> None:
    values = values_for(4) * 4.0
    (tmp_path / "02.asf").write_text(asf_text())
    (tmp_path / "02_01.amc").write_bytes(amc_text(values).encode("latin-1", errors="surrogateescape"))
    motion = read_asf_amc(tmp_path / "02_01.amc")
    names = [name for name, *_ in ASF_BONES]
    got = world_positions(motion, names)
    for frame, row in enumerate(values):
        wanted = slow_positions(row)
        np.testing.assert_allclose(
            got[frame], [wanted[name] for name in names], atol=2e-4
        )  # 6 digits in the file


def test_the_unit_is_an_inch_over_the_files_length(tmp_path: Path) -> None:
    amc, _ = write_amc_pair(tmp_path)
    assert read_asf_amc(amc).unit_m == pytest.approx(0.0254 / 0.45)


def test_radians_and_degrees_give_one_motion() -> None:
    values = values_for(3)
    in_radians = values.copy()
    in_radians[:, 3:] = np.radians(values[:, 3:])
    degrees = read_amc(amc_text(values).encode("utf-8", "replace"), ASF_COUNTS, "a.amc")
    radians = read_amc(amc_text(in_radians, ":RADIANS").encode("utf-8", "replace"), ASF_COUNTS, "a.amc")
    skeleton = read_asf(asf_text(), "a.asf")
    moved = [
        world_positions(join_skeleton_and_motion(skeleton, motion, "a", 120.0), ("head", "rradius"))
        for motion in (degrees, radians)
    ]
    np.testing.assert_allclose(moved[0], moved[1], atol=1e-3)


def test_a_file_whose_frames_change_their_order_is_read_line_by_line_to_the_same_values() -> None:
    text = amc_text(values_for(3))
    lines = text.splitlines()
    last = lines.index("3")
    shuffled = "\n".join([*lines[: last + 1], *reversed(lines[last + 1 :])]).encode("utf-8", "replace")
    wanted = read_amc(text.encode("utf-8", "replace"), ASF_COUNTS, "a.amc")
    got = read_amc(shuffled, ASF_COUNTS, "a.amc")
    np.testing.assert_array_equal(got.values, wanted.values)
    assert got.columns == wanted.columns


def test_the_asf_is_found_by_name_by_comment_and_alone(tmp_path: Path) -> None:
    for name in ("HDM_bd.asf", "HDM_b.asf", "other.ASF"):
        (tmp_path / name).write_text("x")
    assert find_asf(tmp_path / "HDM_bd_walk_001.amc").name == "HDM_bd.asf"
    assert find_asf(tmp_path / "take1.amc", "OTHER.asf").name == "other.ASF"
    assert find_asf(tmp_path / "sub" / "HDM_bd_walk_001.amc").name == "HDM_bd.asf"
    with pytest.raises(
        ImporterError, match=r"AMC without its ASF.*found HDM_b\.asf, HDM_bd\.asf, other\.ASF"
    ):
        find_asf(tmp_path / "take1.amc")
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone" / "skeleton.asf").write_text("x")
    assert find_asf(tmp_path / "alone" / "take1.amc").name == "skeleton.asf"
    assert asf_named_in(b"#!OML:ASF X:\\f\xfcr\\Bastian.ASF\r\n") == "Bastian.ASF"


def test_an_amc_without_its_asf_says_so_and_an_explicit_one_helps(tmp_path: Path) -> None:
    amc, values = write_amc_pair(tmp_path / "a" / "b")
    asf = (tmp_path / "a" / "b" / "02.asf").rename(tmp_path / "skeleton.asf")
    with pytest.raises(
        ImporterError, match=r"02_01\.amc: AMC without its ASF.*no \.asf file at all; put 02\.asf beside it"
    ):
        read_asf_amc(amc)
    assert read_asf_amc(amc, asf).n_frames == len(values)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("lfemur ", "lfemurr ", r"line 6: bone 'lfemurr' is not in the ASF"),
        ("\n2\n", "\n2 7\n", "a.amc: line"),
        ("head ", "head 1 ", "bone 'head' wants 3 numbers .*, got 4"),
        ("1\nroot", "root", r"line 4: wanted a frame number before 'root"),
    ],
)
def test_damaged_amc_files_are_refused(old: str, new: str, message: str) -> None:
    text = amc_text(values_for(3)).replace(old, new, 1).replace("\udcfc", "u")
    with pytest.raises(ImporterError, match=message):
        read_amc(text.encode(), ASF_COUNTS, "a.amc")


def test_a_truncated_amc_names_the_frame_and_what_it_lacks() -> None:
    text = amc_text(values_for(3)).replace("\udcfc", "u")
    cut = text[: text.rindex("\nlhumerus")].encode()
    with pytest.raises(
        ImporterError, match=r"frame 3 of the file lacks lhumerus, lradius, rclavicle, rhumerus, rradius"
    ):
        read_amc(cut, ASF_COUNTS, "a.amc")
    with pytest.raises(ImporterError, match=r"wanted a number, got '1\.x'"):
        read_amc(_first_root_value_replaced(text), ASF_COUNTS, "a.amc")


def _first_root_value_replaced(text: str) -> bytes:
    lines = text.splitlines()
    row = lines.index("2") + 1
    words = lines[row].split()
    lines[row] = " ".join([words[0], "1.x", *words[2:]])
    return "\n".join(lines).encode()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name lfemur", "name ltibia", "wants a name of its own, got 'ltibia'"),
        ("length 7.6", "length long", r"line \d+: length wants 1 number, got 'long'"),
        ("direction 0.342 -0.94 0", "direction 0.342 -0.94", "direction wants 3 numbers"),
        ("axis 0 0 20  XYZ", "axis 0 0 20  XYX", "wants an order of X, Y and Z, got 'XYX'"),
        ("dof rx ry rz", "dof rx rx rz", "dof: wants different names"),
        ("length 0.45", "length 0", ":units length wants a number above 0"),
        (":hierarchy", ":hierarchie", "no :hierarchy section"),
        ("lhipjoint lfemur", "lhipjoint", r"bones lfemur, ltibia do not hang on the root"),
        ("lfemur ltibia", "lfemur tibia", "names the unknown bone 'tibia'"),
        ("rfemur rtibia", "rfemur rtibia ltibia", "bone 'ltibia' has two parents"),
        ("  end\n:hierarchy", ":hierarchy", "bone 'rradius' has no 'end'"),
    ],
)
def test_damaged_asf_files_are_refused(old: str, new: str, message: str) -> None:
    assert old in asf_text()
    with pytest.raises(ImporterError, match=message) as caught:
        read_asf(asf_text().replace(old, new, 1), "a.asf")
    assert str(caught.value).startswith("a.asf: ")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_cut_or_changed_byte_gives_a_motion_or_our_error(data: st.DataObject) -> None:
    asf, amc = bytearray(asf_text().encode()), bytearray(amc_text(values_for(2)).encode("utf-8", "replace"))
    target = data.draw(st.sampled_from([asf, amc]))
    if data.draw(st.booleans()):
        del target[data.draw(st.integers(0, len(target) - 1)) :]
    else:
        target[data.draw(st.integers(0, len(target) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ImporterError):
        skeleton = read_asf(asf.decode("latin-1"), "a.asf")
        counts = {bone.name: len(bone.dof) for bone in skeleton.bones}
        motion = join_skeleton_and_motion(skeleton, read_amc(bytes(amc), counts, "a.amc"), "a.amc", 120.0)
        assert motion.n_frames >= 1
