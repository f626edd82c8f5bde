"""Weight files from outside: nothing in them is run, imported or followed, and none may ask for more than its size."""

import copyreg
import io
import os
import pickle
import struct
import sys
import time
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from estimators.errors import CheckpointError
from estimators.weights_import import container, pickle_values, plain_files
from estimators.weights_import.importer import import_weights
from estimators.weights_import.pickle_values import read_pickle
from estimators.weights_import.read_weights import read_weights
from tests.unit.estimators.weights_import.official_files import Python2Pickle, torch_file

PROTO = b"\x80\x02"
STORAGE = b"(U\x07storagectorch\nFloatStorage\nU\x010U\x03cpuK\x04tQ"
"""A persistent id: four floats under the key '0'."""
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (self.folder,)


def zip_file(data_pickle: bytes, members: dict[str, bytes] | None = None, name: str = "archive") -> bytes:
    """A zip as `torch.save` writes it, around any pickle."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(f"{name}/data.pkl", data_pickle)
        for member, content in (members or {"data/0": b"\0" * 16}).items():
            archive.writestr(f"{name}/{member}", content)
    return stream.getvalue()


def legacy_file(data_pickle: bytes, keys: tuple[str, ...] = ("0",), storages: bytes | None = None) -> bytes:
    """The legacy container around any pickle."""
    heads = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
    raw = struct.pack("<q", 4) + b"\0" * 16 if storages is None else storages
    parts = [
        *(pickle.dumps(head, protocol=2) for head in heads),
        data_pickle,
        pickle.dumps(list(keys), protocol=2),
    ]
    return b"".join([*parts, raw])


def read_tensors(data: bytes, where: str) -> None:
    """Read a file of tensors by name, and every tensor of it."""
    opened = read_weights(data, where)
    for leaf in opened.tree.values():
        opened.tensor(leaf)


CONTAINERS = {"zip": zip_file, "legacy": legacy_file}


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_payload_in_a_checkpoint_is_refused(tmp_path: Path, legacy: bool, protocol: int) -> None:
    stream = io.BytesIO()
    torch.save(
        {"state_dict": {"w1.weight": torch.ones(2)}, "epoch": Payload(tmp_path / "it_ran")},
        stream,
        pickle_protocol=protocol,
        _use_new_zipfile_serialization=not legacy,
    )
    with pytest.raises(CheckpointError, match=r"asks for 'posix\.mkdir'.*could run any code"):
        import_weights(stream.getvalue(), "evil.pth")
    assert not (tmp_path / "it_ran").exists()


NAMES = [
    ("os", "system"), ("posix", "system"), ("nt", "system"), ("builtins", "eval"), ("__builtin__", "eval"),
    ("builtins", "exec"), ("builtins", "getattr"), ("__builtin__", "getattr"), ("builtins", "__import__"),
    ("builtins", "open"), ("builtins", "compile"), ("builtins", "globals"), ("operator", "attrgetter"),
    ("operator", "methodcaller"), ("functools", "partial"), ("subprocess", "Popen"), ("importlib", "import_module"),
    ("pickle", "loads"), ("_pickle", "loads"), ("marshal", "loads"), ("types", "FunctionType"), ("runpy", "run_path"),
    ("torch", "load"), ("torch.serialization", "load"), ("torch.hub", "load"), ("torch.jit", "load"),
    ("torch.storage", "_load_from_bytes"), ("torch._utils", "_rebuild_wrapper_subclass"),
    ("torch._tensor", "_rebuild_from_type_v2"), ("torch.nn.modules.linear", "Linear"), ("torch.fx", "Tracer"),
    ("numpy", "load"), ("numpy.core.multiarray", "fromfile"), ("numpy.f2py.crackfortran", "myeval"),
    ("numpy.testing._private.utils", "runstring"), ("codecs", "decode"), ("_codecs", "decode"),
    ("copyreg", "_reconstructor"), ("copy_reg", "_reconstructor"), ("copyreg", "__newobj__"),
    ("common.model", "TemporalModel"), ("models.sem_gcn", "SemGCN"), ("", ""),
    ("collections", "OrderedDict.__class__"), ("torch._utils", "_rebuild_tensor_v2.__globals__"),
    ("collections.OrderedDict", "__init__"), ("estimators.weights_import.stand_ins", "_tensor"),
]  # fmt: skip


def named(module: str, name: str, how: str) -> bytes:
    """A pickle that puts a name on the stack, in each way that pickles know."""
    short = [b"\x8c" + bytes([len(part)]) + part.encode() for part in (module, name)]
    return {
        "GLOBAL": PROTO + f"c{module}\n{name}\n".encode(),
        "STACK_GLOBAL": b"\x80\x04" + short[0] + short[1] + b"\x93",
        "memo": b"\x80\x04" + short[1] + b"\x940" + short[0] + b"\x94h\x00\x93",
        "INST": f"(i{module}\n{name}\n".encode(),
    }[how]


@pytest.mark.parametrize("how", ["GLOBAL", "STACK_GLOBAL", "memo", "INST"])
@pytest.mark.parametrize(("module", "name"), NAMES)
def test_names_beyond_the_short_list_are_refused(module: str, name: str, how: str) -> None:
    content = named(module, name, how)
    called = content + (b"." if how == "INST" else b"(U\x04truetR.")
    for wrapped in (called, content + b"0N."):  # called, or only named and dropped
        with pytest.raises(CheckpointError, match="could run any code and is refused"):
            read_pickle(io.BytesIO(wrapped), "x")


@pytest.mark.parametrize("wrap", CONTAINERS.values(), ids=CONTAINERS)
def test_no_module_is_imported_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrap: Callable[[bytes], bytes]
) -> None:
    (tmp_path / "canary_of_weights.py").write_text(
        "import pathlib\npathlib.Path(__file__).with_name('ran').touch()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for how in ("GLOBAL", "STACK_GLOBAL", "INST"):
        with pytest.raises(CheckpointError, match="canary_of_weights"):
            read_weights(wrap(named("canary_of_weights", "anything", how) + b"."), "x.pth")
    assert not (tmp_path / "ran").exists()
    assert "canary_of_weights" not in sys.modules


def tensor(arguments: bytes) -> bytes:
    return PROTO + b"}U\x01w" + REBUILD + b"(" + arguments + b"tRs."


HOSTILE = {
    "a tensor beyond its storage": (tensor(STORAGE + b"K\x00K\x05\x85K\x01\x85\x89N"), "on a storage of 4 elements"),
    "an offset beyond it": (tensor(STORAGE + b"K\x03K\x02\x85K\x01\x85\x89N"), "on a storage of 4 elements"),
    "a negative offset": (tensor(STORAGE + b"J\xff\xff\xff\xffK\x02\x85K\x01\x85\x89N"), "do not fit"),
    "a negative stride": (tensor(STORAGE + b"K\x03K\x04\x85J\xff\xff\xff\xff\x85\x89N"), "no counts"),
    "a negative size": (tensor(STORAGE + b"K\x00J\xff\xff\xff\xff\x85K\x01\x85\x89N"), "no counts"),
    "one element a million million times": (
        tensor(STORAGE + b"K\x00\x8a\x06\x00\x10\xa5\xd4\xe8\x00\x85K\x00\x85\x89N"), "on a storage of 4 elements"
    ),
    "sizes of text": (tensor(STORAGE + b"K\x00U\x04evilK\x01\x85\x89N"), "where sizes are wanted"),
    "sizes of floats": (tensor(STORAGE + b"K\x00G" + struct.pack(">d", 2.0) + b"\x85K\x01\x85\x89N"), "no counts"),
    "no storage": (tensor(b"U\x04evilK\x00K\x04\x85K\x01\x85\x89N"), "instead of a storage"),
    "no arguments": (PROTO + REBUILD + b")R.", "damaged"),
    "a parameter of text": (PROTO + b"ctorch._utils\n_rebuild_parameter\n(U\x01x\x89NtR.", "parameter from a str"),
    "an OrderedDict of text": (PROTO + b"ccollections\nOrderedDict\nU\x04evil\x85R.", "else than pairs"),
    "an OrderedDict of triples": (PROTO + b"ccollections\nOrderedDict\n]K\x01K\x02K\x03\x87a\x85R.", "else than pairs"),
    "another codec": (PROTO + b"c_codecs\nencode\n(X\x01\0\0\0xU\x04zlibtR.".replace(b"zlib", b"zlib"), "only latin1"),
    "a call of text": (PROTO + b"U\x04evil)R.", "calls a str"),
    "a call of a dictionary": (PROTO + b"})R.", "calls a dict"),
    "a call of a result": (PROTO + b"ccollections\nOrderedDict\n)R)R.", "calls a dict"),
    "a call of a storage type": (PROTO + b"ctorch\nFloatStorage\n)R.", "calls a StorageType"),
    "arguments that are a list": (PROTO + b"ccollections\nOrderedDict\n]R.", "with a list"),
    "keywords": (b"\x80\x04ccollections\nOrderedDict\n)}U\x01aK\x01s\x92.", "with keywords"),
    "the extension registry": (PROTO + b"\x82\x01)R.", "extension registry"),
    "the extension registry, two bytes": (PROTO + b"\x83\x01\x01)R.", "extension registry"),
    "the extension registry, four bytes": (PROTO + b"\x84\x01\0\0\0)R.", "extension registry"),
    "a buffer outside": (b"\x80\x05\x97.", "buffers outside"),
    "names that are no text": (b"\x80\x04K\x01K\x02\x93.", "something else than text"),
    "a persistent name": (b"Pstorage\n.", "persistent id of an odd kind"),
    "a persistent id of three parts": (PROTO + b"(U\x07storageK\x01K\x02tQ.", "persistent id of an odd kind"),
    "a persistent id of another kind": (
        PROTO + STORAGE.replace(b"U\x07storage", b"U\x06module") + b".", "persistent id of an odd kind"
    ),
    "a persistent id with a callable as type": (
        PROTO + STORAGE.replace(b"ctorch\nFloatStorage", b"ccollections\nOrderedDict") + b".",
        "persistent id of an odd kind",
    ),
    "a storage named by a number": (
        PROTO + STORAGE.replace(b"U\x010", b"K\x00") + b".", "persistent id of an odd kind"
    ),
    "a storage of negative length": (
        PROTO + STORAGE.replace(b"K\x04tQ", b"J\xff\xff\xff\xfftQ") + b".", "persistent id of an odd kind"
    ),
    "a storage of a million million elements": (
        PROTO + STORAGE.replace(b"K\x04tQ", b"\x8a\x06\x00\x10\xa5\xd4\xe8\x00tQ") + b".", "elements in a file of"
    ),
    "an integer without end": (PROTO + b"\x8b\x00\x00\x10\x00" + b"\x7f" * 2**20 + b".", "integer of 8,388,607 bits"),
    "many digits": (b"L" + b"9" * 4000 + b"L\n.", "integer of"),
    "more digits": (b"L" + b"9" * 40_000 + b"L\n.", "damaged"),
    "a text longer than the file": (b"\x80\x04\x8d" + b"\xff" * 7 + b"\x7f" + b"x.", "damaged"),
    "bytes longer than the file": (b"\x80\x05\x96" + b"\xff" * 7 + b"\x0f" + b"x.", "damaged"),
    "a memo that is not there": (PROTO + b"h\x07.", "damaged"),
    "a mark in the memo": (PROTO + b"(q\x00.", "damaged"),
    "a mark as value": (PROTO + b"(\x85.", "damaged"),
    "an open mark": (PROTO + b"N(.", "damaged"),
    "two values": (PROTO + b"NN.", "damaged"),
    "a dictionary of three": (PROTO + b"(NNNd.", "damaged"),
    "an unknown opcode": (PROTO + b"\xfe.", "damaged"),
    "an unknown protocol": (b"\x80\x09N.", "damaged"),
    "no end": (PROTO + b"N", "damaged"),
}  # fmt: skip


@pytest.mark.parametrize("wrap", CONTAINERS.values(), ids=CONTAINERS)
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles_are_refused_with_words(name: str, wrap: Callable[[bytes], bytes]) -> None:
    content, words = HOSTILE[name]
    started_s = time.process_time()
    with pytest.raises(CheckpointError, match=rf"^evil\.pth: (?s:.*){words}"):
        read_weights(wrap(content), "evil.pth")
    assert time.process_time() - started_s < 5.0


HARMLESS = {
    "a table of two thousand million objects": b"\x80\x02Nr\xff\xff\xff\x7f.",
    "a tuple of 50,000 levels as key": PROTO + b"})" + b"\x85" * 50_000 + b"Ns.",
    "a tuple of 20,000 levels in a set": b"\x80\x04\x8f()" + b"\x85" * 20_000 + b"\x90.",
    "lists that double": PROTO + b"]" + b"".join(b"q%c]h%ch%c\x86" % (i, i, i) for i in range(60)) + b".",
    "a list in itself": PROTO + b"]q\x00h\x00a.",
    "a dictionary in itself": PROTO + b"}q\x00U\x01ah\x00s.",
    "numbers of one hash": PROTO + b"}(" + b"".join(
        b"\x8a\x09" + (i * (2**61 - 1)).to_bytes(9, "little") + b"N" for i in range(1, 2000)
    ) + b"u.",
    "text with an odd escape": b"S'a\\u'\n.",
    "attributes of a name": PROTO + b"ccollections\nOrderedDict\n}U\x04makeU\x04evilsb.",
    "attributes of a dictionary": PROTO + b"}}U\x09__class__ccollections\nOrderedDict\nsb.",
    "a random state of many arguments": PROTO + b"cnumpy.random\n__RandomState_ctor\n(" + b"N" * 20_000 + b"tR.",
}  # fmt: skip


@pytest.mark.parametrize("name", HARMLESS)
def test_pickles_that_hurt_other_readers_cost_nothing(name: str) -> None:
    started_s = time.process_time()
    with pytest.raises(CheckpointError, match=r"^x\.pth: .{1,1000}$"):
        import_weights(zip_file(HARMLESS[name]), "x.pth")
    assert time.process_time() - started_s < 8.0


def test_a_registered_extension_is_not_used() -> None:
    copyreg.add_extension("os", "system", 0xF0)
    try:
        with pytest.raises(CheckpointError, match="extension registry"):
            read_pickle(io.BytesIO(b"\x80\x02\x82\xf0(U\x04truetR."), "x")
    finally:
        copyreg.remove_extension("os", "system", 0xF0)


def test_an_endless_pickle_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickle_values, "MAX_OPERATIONS", 1000)
    with pytest.raises(CheckpointError, match="more than 1,000 operations"):
        read_weights(zip_file(PROTO + b"N0" * 600 + b"N."), "x.pth")


def test_a_whole_model_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"asks for 'torch\.nn\.modules\.linear\.Linear'"):
        read_weights(torch_file(torch.nn.Linear(2, 2)), "model.pt")


def test_a_network_far_larger_than_the_file_is_not_built() -> None:
    """Wide first layers and nothing behind them: its square would fill the memory."""
    state = {key: torch.zeros(1) for key in ("linear_stages.0.w1.weight", "linear_stages.1.w1.weight")}
    state |= {"w1.weight": torch.zeros(30_000, 32), "w2.weight": torch.zeros(45, 30_000)}
    started_s = time.process_time()
    with pytest.raises(CheckpointError, match=r"has 3,602,310,000 numbers or more, the file 2,310,002"):
        import_weights(torch_file(state), "x.pth")
    assert time.process_time() - started_s < 5.0


def test_one_storage_read_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "FREE_BYTES", 0)
    monkeypatch.setattr("estimators.weights_import.torch_files.FREE_BYTES", 0)
    shared = torch.zeros(1000)
    with pytest.raises(CheckpointError, match="name the same ones again and again"):
        read_tensors(torch_file({f"w{index}": shared for index in range(50)}), "x.pth")


WHOLE = torch_file(OrderedDict(w=torch.arange(4.0)))


def test_zips_that_are_no_file_of_torch() -> None:
    cases = {
        "2 members named data.pkl": zip_file(PROTO + b"}.", {"b/data.pkl": PROTO + b"}."}),
        "0 members named data.pkl": _zip({"a.txt": b"x"}),
        "TorchScript": zip_file(PROTO + b"}.", {"constants.pkl": PROTO + b")."}),
        "big-endian": zip_file(PROTO + b"}.", {"byteorder": b"big"}),
        "compressed or encrypted": _zip({"a/data.pkl": PROTO + b"}."}, zipfile.ZIP_DEFLATED),
        "add up to": _zip({"a/data.pkl": PROTO + b"N0" * 100_000 + b"}."}, zipfile.ZIP_DEFLATED),
        "is missing": zip_file(tensor(STORAGE + b"K\x00K\x04\x85K\x01\x85\x89N"), {"data/1": b"x"}),
        "wants 16 bytes, got 12": zip_file(
            tensor(STORAGE + b"K\x00K\x04\x85K\x01\x85\x89N"), {"data/0": b"x" * 12}
        ),
    }
    for words, data in cases.items():
        with pytest.raises(CheckpointError, match=words):
            read_tensors(data, "x.pth")


def _zip(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


@pytest.mark.parametrize(
    "data", [WHOLE, torch_file({"w": torch.arange(4.0)}, legacy=True)], ids=["zip", "legacy"]
)
def test_a_file_cut_off_anywhere(data: bytes) -> None:
    for length in range(0, len(data) - 1, 13):
        with pytest.raises(CheckpointError, match=r"^cut\.pth"):
            read_tensors(data[:length], "cut.pth")


def test_a_flipped_bit_in_the_numbers_of_a_zip() -> None:
    place = WHOLE.index(torch.arange(4.0).numpy().tobytes())
    damaged = bytearray(WHOLE)
    damaged[place + 7] ^= 1
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_tensors(bytes(damaged), "x.pth")


LEGACY_TENSOR = tensor(STORAGE + b"K\x00K\x04\x85K\x01\x85\x89N")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (
            legacy_file(LEGACY_TENSOR, storages=struct.pack("<q", 2**60) + b"\0" * 16),
            "its place in the file says",
        ),
        (legacy_file(LEGACY_TENSOR, storages=struct.pack("<q", 4) + b"\0" * 15), "cut off"),
        (legacy_file(LEGACY_TENSOR, keys=("1",)), "cut off"),
        (legacy_file(LEGACY_TENSOR, keys=("0", "0")), "list of storages is damaged"),
        (
            legacy_file(LEGACY_TENSOR.replace(b"K\x04tQ", b"K\x04(K\x00K\x03K\x02ttQ")),
            "view outside its storage",
        ),
        (pickle.dumps({"w": 1}, protocol=2), "not of torch.save"),
        (
            b"".join(
                Python2Pickle().dump(v) for v in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": False})
            ),
            "endian",
        ),
    ],
)
def test_legacy_files_that_lie(data: bytes, words: str) -> None:
    with pytest.raises(CheckpointError, match=words):
        read_weights(data, "x.pth")


def npz(**members: Any) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=True, **members)
    return stream.getvalue()


def test_npz_files_that_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = np.empty((), dtype=object)
    objects[()] = Payload(tmp_path / "it_ran")
    with pytest.raises(CheckpointError, match="pickled objects are never read"):
        read_weights(npz(w=objects), "x.npz")
    assert not (tmp_path / "it_ran").exists()
    monkeypatch.setattr(plain_files, "FREE_BYTES", 2**16)
    with pytest.raises(CheckpointError, match="made to fill the memory"):
        read_weights(npz(w=np.zeros(2**20, np.float32)), "x.npz")
    for shape in ("(1000000000000,)", "(-1,)", "(4,) * 10**9", "__import__('os')"):
        header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
        member = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()
        with pytest.raises(CheckpointError):
            read_weights(_zip({"w.npy": member}), "x.npz")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"\x1f\x8b\x08" + b"\0" * 20, "packed by gzip"),
        (b"\0" * 257 + b"ustar" + b"\0" * 200, "a tar archive"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12", "Git LFS pointer"),
        (b"MZ\x90\0", "no known format"),
        (b"\x10\0\0\0\0\0\0\0{not json........", "safetensors"),
        (b"\xff\xff\xff\xff\xff\xff\xff\x7f{}", "safetensors"),
        (b"\x89HDF\r\n\x1a\n" + b"\0" * 100, "HDF5 file that cannot be read"),
    ],
)
def test_files_of_other_kinds(data: bytes, words: str) -> None:
    with pytest.raises(CheckpointError, match=rf"^x: .*{words}"):
        read_weights(data, "x")
