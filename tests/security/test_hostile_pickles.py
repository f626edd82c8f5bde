"""Pickles where a file from outside may hold one: nothing in them is run, and none may ask for more than its size."""

import io
import os
import pickle
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from augment.poseaug.trained import import_augmentor
from estimators.checkpoints import checkpoint_from_bytes, load_checkpoint
from pipelines.trained_lifter import load_trained_lifter
from poses.errors import PosemillError
from storage.errors import ImporterError
from storage.importers import safe_npz
from storage.importers.read_motion import read_motion
from storage.importers.safe_npz import NpzArchive
from storage.importers.safe_pickle import unpickle_arrays


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (self.folder,)


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A folder that is there once code of a pickle has run."""
    return tmp_path / "it_ran"


def npz_with(path: Path, member: str, value: object) -> Path:
    holder = np.empty((), dtype=object)
    holder[()] = value
    np.savez(path, allow_pickle=True, **{member: holder})
    return path


@pytest.mark.parametrize("member", ["positions_3d", "s1/take"])
def test_an_npz_is_read_without_running_its_pickle(tmp_path: Path, canary: Path, member: str) -> None:
    nested = {"S1": {"walk": Payload(canary)}}
    with pytest.raises(ImporterError, match=r"asks for posix\.mkdir.*could run any code"):
        read_motion(npz_with(tmp_path / "motion.npz", member, nested))
    assert not canary.exists()


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "call",
    [
        b"cos\nsystem\n",
        b"cbuiltins\neval\n",
        b"c__builtin__\ngetattr\n",
        b"cnumpy\nload\n",
        b"cnumpy.core.multiarray\nfromfile\n",
    ],
)
def test_names_beyond_arrays_are_refused(call: bytes, protocol: int) -> None:
    head = pickle.PROTO + bytes([protocol]) if protocol > 1 else b""
    with pytest.raises(ImporterError, match="could run any code"):
        unpickle_arrays(head + call + b"(S'true'\ntR.", "x")


@pytest.mark.parametrize("how", ["torch.save", "pickle", "safetensors with a pickle inside"])
def test_a_checkpoint_is_never_unpickled(tmp_path: Path, canary: Path, how: str) -> None:
    path = tmp_path / "lifter.safetensors"
    if how == "torch.save":
        torch.save({"weights": Payload(canary)}, path)
    else:
        path.write_bytes(b"\x10\0\0\0\0\0\0\0" * (how != "pickle") + pickle.dumps(Payload(canary)))
    for read in (load_checkpoint, load_trained_lifter):
        with pytest.raises(PosemillError):
            read(path)
    with pytest.raises(PosemillError):
        import_augmentor(checkpoint_from_bytes(path.read_bytes()))
    assert not canary.exists()


BOMBS = {
    "a table of two thousand million objects": b"\x80\x02Nr\xff\xff\xff\x7f.",
    "the same in text": b"Np2147483647\n.",
    "an integer without end": b"\x80\x02\x8b\x00\x00\x10\x00" + b"\x7f" * 2**20 + b".",
    "many digits": b"L" + b"9" * 4000 + b"L\n.",
    "a text longer than the file": b"\x80\x04\x8d" + b"\xff" * 7 + b"\x7f" + b"x.",
    "bytes longer than the file": b"\x80\x05\x96" + b"\xff" * 7 + b"\x0f" + b"x.",
    "a frame longer than the file": b"\x80\x04\x95" + b"\xff" * 7 + b"\x7f" + b"N.",
    "deep nesting": b"\x80\x02" + b"(" * 20_000 + b"N" + b"t" * 20_000 + b".",
    "nested doubles": b"\x80\x02]q\x00"
    + b"".join(
        b"]q" + bytes([i]) + b"(h" + bytes([i - 1]) * 1 + b"h" + bytes([i - 1]) + b"e" for i in range(1, 60)
    )
    + b".",
    "an array without content": b"\x80\x02cnumpy\nndarray\n)R.",
    "a persistent name": b"Pname\n.",
    "nothing": b"",
    "no end": b"\x80\x02N",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_pickle_costs_no_more_than_its_size(name: str) -> None:
    started_s = time.process_time()
    with pytest.raises(ImporterError, match=r"^motion\.npz"):
        unpickle_arrays(BOMBS[name], "motion.npz")
    assert time.process_time() - started_s < 5.0


def test_arrays_of_every_protocol_are_still_read() -> None:
    values = {"S1": {"walk": np.arange(6.0).reshape(2, 3), "n": 2**60, "name": "x" * 300}}
    for protocol in range(6):
        read = unpickle_arrays(pickle.dumps(values, protocol=protocol), "x")
        np.testing.assert_array_equal(read["S1"]["walk"], values["S1"]["walk"])
        assert read["S1"]["n"] == 2**60


def test_an_archive_that_unpacks_to_far_more_than_its_size_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(safe_npz, "FREE_BYTES", 2**20)
    np.savez_compressed(tmp_path / "bomb.npz", **{"s/take": np.zeros((20_000, 17, 3), np.float32)})
    with pytest.raises(ImporterError, match=r"unpacks to .* made to fill the memory"):
        NpzArchive(tmp_path / "bomb.npz")
    np.savez(tmp_path / "plain.npz", **{"s/take": np.zeros((20_000, 17, 3), np.float32)})
    with NpzArchive(tmp_path / "plain.npz") as archive:
        assert archive.read("s/take").shape == (20_000, 17, 3)


@pytest.mark.parametrize(
    "shape", ["(1000000000000, 17, 3)", "(-1, 17, 3)", "(4,) * 10**9", "__import__('os')"]
)
def test_an_array_header_that_lies_is_refused(tmp_path: Path, shape: str) -> None:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(
            "s1/take.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()
        )
    (tmp_path / "a.npz").write_bytes(stream.getvalue())
    with pytest.raises(ImporterError, match="damaged"):
        read_motion(tmp_path / "a.npz")
