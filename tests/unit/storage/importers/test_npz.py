"""npz files: both layouts, and that no pickle gets to run anything."""

import contextlib
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.errors import ImporterError
from storage.importers.clips_npz import read_clips_npz
from storage.importers.discover import format_of
from storage.importers.h36m_npz import read_h36m_npz
from storage.importers.joint_map import load_joint_map
from storage.importers.safe_npz import NpzArchive
from storage.importers.safe_pickle import unpickle_arrays
from tests.unit.storage.importers.bodies import H36M_17, swaying_m

NAMES_32 = load_joint_map("h36m_32").array_joints


class Evil:
    """Runs a command when it is unpickled by anything that trusts pickles."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple:
        return (os.system, (self.command,))


def write_h36m(path: Path, positions: object) -> Path:
    np.savez_compressed(path, positions_3d=np.array(positions, dtype=object))
    return path


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_of_every_pickle_protocol_come_out_equal(protocol: int) -> None:
    random = np.random.default_rng(0)
    wanted = {
        "plain": random.normal(size=(4, 3, 2)).astype(np.float32),
        "fortran": np.asfortranarray(random.normal(size=(5, 4))),
        "big_endian": random.normal(size=6).astype(">f8"),
        "integers": np.arange(6, dtype=np.int16).reshape(2, 3),
        "empty": np.zeros((0, 17, 3)),
    }
    content = pickle.dumps(
        np.array({"S1": wanted, b"S2": [np.float32(3.5)]}, dtype=object), protocol=protocol
    )
    got = unpickle_arrays(content, "x.npz")
    assert got["S1"].keys() == wanted.keys()
    for name, array in wanted.items():
        np.testing.assert_array_equal(got["S1"][name], array)
        assert got["S1"][name].shape == array.shape
    assert got["S2"] == [3.5]


def test_a_pickle_that_runs_code_is_refused_by_name_and_does_not_run(tmp_path: Path) -> None:
    trace = tmp_path / "ran"
    path = write_h36m(tmp_path / "evil.npz", {"S1": {"walk": Evil(f"touch {trace}")}})
    with pytest.raises(ImporterError, match=r"its pickle asks for (posix|nt)\.system.*refused"):
        list(read_h36m_npz(path))
    assert not trace.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"cnumpy\nload\n(S'x'\ntR.",
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"cnumpy.core.multiarray\nfromfile\n(S'/etc/passwd'\ntR.",
        b"c_codecs\ndecode\n(S'x'\ntR.",
        b"cnumpy\nndarray\n.",
        b"cnumpy\ndtype\n(S'O'\ntR.",
        b"(lp0\n" + b"g0\na" * 3 + b".",
        b"",
        b"junk",
    ],
)
def test_other_pickles_are_refused(content: bytes) -> None:
    with pytest.raises(ImporterError, match=r"^x\.npz: its pickle"):
        unpickle_arrays(content, "x.npz")


def test_nested_references_do_not_ask_for_endless_work() -> None:
    value: object = [np.zeros(2)]
    for _ in range(7):
        value = [value] * 1000
    with pytest.raises(ImporterError, match="nested deeper than"):
        unpickle_arrays(pickle.dumps([value]), "x.npz")
    assert len(unpickle_arrays(pickle.dumps(value[0]), "x.npz")) == 1000


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_any_cut_or_changed_byte_of_a_pickle_gives_values_or_our_error(data: st.DataObject) -> None:
    positions = {"S1": {"walk": np.ones((2, 17, 3), np.float32)}}
    content = bytearray(
        pickle.dumps(np.array(positions, dtype=object), protocol=data.draw(st.integers(0, 5)))
    )
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ImporterError):
        unpickle_arrays(bytes(content), "x.npz")


def test_human36m_joints_are_picked_by_name_and_z_up_becomes_y_up(tmp_path: Path) -> None:
    joints = np.random.default_rng(1).normal(size=(7, 32, 3)).astype(np.float32)
    path = write_h36m(tmp_path / "data_3d.npz", {"S1": {"Walking 1": joints, "Eating": joints[:3]}})
    assert format_of(path) == "h36m_npz"
    clips = list(read_h36m_npz(path))
    assert [(clip.name, clip.subject, clip.action, clip.rate_hz) for clip in clips] == [
        ("S1/Walking 1", "S1", "Walking 1", 50.0),
        ("S1/Eating", "S1", "Eating", 50.0),
    ]
    knee = joints[:, NAMES_32.index("LeftLeg")]
    got = clips[0].joints_world_m[:, H36M_17.index("left_knee")]
    np.testing.assert_array_equal(got, np.stack([knee[:, 0], knee[:, 2], -knee[:, 1]], axis=-1))
    # the published list of the 17 joints that move
    wanted = [0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27]
    y_up = np.stack([joints[..., 0], joints[..., 2], -joints[..., 1]], axis=-1)
    np.testing.assert_array_equal(clips[0].joints_world_m, y_up[:, wanted])


@pytest.mark.parametrize(
    ("positions", "message"),
    [
        ({"S1": {"walk": np.zeros((4, 16, 3))}}, r"positions_3d\[S1\]\[walk\]: wanted 32 joints .* got 16"),
        (
            {"S1": {"walk": np.zeros((4, 17, 2))}},
            r"wanted numbers of shape \(T, J, 3\), got float64 \(4, 17, 2\)",
        ),
        ({"S1": {"walk": np.zeros((0, 17, 3))}}, "the clip has no frames"),
        ({"S1": {"walk": "text"}}, "got str"),
        ({"S1": np.zeros((4, 17, 3))}, r"positions_3d\[S1\]: wanted a dictionary, got a ndarray"),
        ([1, 2], "wanted a dictionary, got a list"),
    ],
)
def test_other_content_is_refused(tmp_path: Path, positions: object, message: str) -> None:
    with pytest.raises(ImporterError, match=message):
        list(read_h36m_npz(write_h36m(tmp_path / "d.npz", positions)))


def test_clips_are_read_as_they_are(tmp_path: Path) -> None:
    joints = swaying_m(20, 30.0).astype(np.float32)
    np.savez(tmp_path / "clips.npz", **{"02/02_01": joints, "alone": joints[:5]})
    assert format_of(tmp_path / "clips.npz") == "clips_npz"
    first, second = read_clips_npz(tmp_path / "clips.npz")
    assert (first.name, first.subject, first.rate_hz) == ("02/02_01", "02", 30.0)
    assert (second.name, second.subject) == ("alone", "")
    np.testing.assert_array_equal(first.joints_world_m, joints)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((5, 16, 3)), r"a: wanted \(T, 17, 3\) for skeleton h36m_17, got \(5, 16, 3\)"),
        (np.zeros((5, 51)), r"wanted numbers of shape \(T, J, 3\)"),
        (np.array(["x"]), "wanted numbers"),
    ],
)
def test_arrays_that_are_no_clips_are_refused(tmp_path: Path, array: np.ndarray, message: str) -> None:
    np.savez(tmp_path / "clips.npz", a=array)
    with pytest.raises(ImporterError, match=message):
        list(read_clips_npz(tmp_path / "clips.npz"))


def test_damaged_archives_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "clips.npz"
    np.savez_compressed(path, a=np.random.default_rng(0).normal(size=(50, 17, 3)))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ImporterError, match="no npz file, or truncated"):
        NpzArchive(path)
    changed = bytearray(whole)
    changed[len(changed) // 2] ^= 0xFF
    path.write_bytes(changed)
    with pytest.raises(ImporterError, match=r"clips\.npz: a: damaged"), NpzArchive(path) as archive:
        archive.read("a")
    newer = bytearray(whole)
    newer[newer.index(b"PK\x01\x02") + 6] = 250  # wants version 25.0 of the zip format
    path.write_bytes(newer)
    with pytest.raises(ImporterError, match="no npz file, or truncated"):
        format_of(path)
    with pytest.raises(ImporterError, match="cannot be read"):
        NpzArchive(tmp_path / "none.npz")
    np.savez(path, a=np.zeros(3))
    with pytest.raises(ImporterError, match="no array 'b'; it has a"), NpzArchive(path) as archive:
        archive.read("b")


def test_a_header_that_asks_for_terabytes_is_refused_before_memory_is(tmp_path: Path) -> None:
    head = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 17, 3), }"
    head += b" " * (118 - len(head)) + b"\n"
    with zipfile.ZipFile(tmp_path / "big.npz", "w") as archive:
        archive.writestr("a.npy", b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + b"\0" * 64)
    with pytest.raises(ImporterError, match=r"its header asks for \(1000000000000, 17, 3\)"):
        list(read_clips_npz(tmp_path / "big.npz"))
