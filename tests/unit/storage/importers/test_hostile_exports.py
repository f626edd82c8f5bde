"""Exports from outside that are damaged or made to harm: refused with our errors, before they cost anything."""

import hashlib
import io
import json
import os
import pickle
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.errors import ImporterError
from storage.exporters.export import export_dataset
from storage.exporters.plain_npz import npz_writer
from storage.exporters.registry import FORMATS
from storage.exporters.ustar import TarWriter, tar_member
from storage.importers.coco_json import read_coco_file
from storage.importers.exported import open_export
from storage.importers.plain_npy import npy_array
from storage.importers.ustar_reader import tar_members
from tests.unit.storage.exporters.datasets import mixed_pairs, publish

Index = dict[str, object]
FIRST_FILE = {
    "coco": "annotations/posemill-00000.json",
    "videopose3d": "data_rows_posemill-00000.npz",
    "webdataset": "posemill-000000.tar",
    "huggingface": "data/source_train-00000.parquet",
    "delta": "posemill-00000.parquet",
}


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One sound export of each format; tests copy what they change."""
    folder = tmp_path_factory.mktemp("exports")
    dataset = publish(folder / "dataset", mixed_pairs(12))
    for to in FORMATS:
        export_dataset(dataset, to, folder / to)
    return folder


def altered(
    source: Path, folder: Path, path: str, data: bytes, change: Callable[[Index], None] | None = None
) -> Path:
    """A copy of an export with one file replaced and an index that fits it, as an attacker would make it."""
    index = json.loads((source / "posemill-export.json").read_text())
    for entry in index["files"]:
        target = folder / entry["path"]
        target.parent.mkdir(parents=True, exist_ok=True)
        content = data if entry["path"] == path else (source / entry["path"]).read_bytes()
        target.write_bytes(content)
        entry |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    if change is not None:
        change(index)
    (folder / "posemill-export.json").write_text(json.dumps(index))
    return folder


def refused(source: Path, folder: Path, path: str, data: bytes, words: str) -> None:
    with pytest.raises(ImporterError, match=words) as caught:
        open_export(altered(source, folder, path, data)).read_pairs()
    assert path.rpartition("/")[2] in str(caught.value)


@pytest.mark.parametrize("to", sorted(FORMATS))
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_cut_or_changed_bytes_give_pairs_or_our_error(
    to: str, data: st.DataObject, exports: Path
) -> None:
    content = bytearray((exports / to / FIRST_FILE[to]).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        match data.draw(st.sampled_from(["cut", "flip", "insert", "swap"])):
            case "cut":
                del content[at : at + data.draw(st.integers(1, 4_000))]
            case "flip":
                content[at] ^= 1 << data.draw(st.integers(0, 7))
            case "insert":
                content[at:at] = data.draw(st.binary(min_size=1, max_size=64))
            case _:
                content[at : at + 3] = data.draw(st.sampled_from([b"999", b"nul", b"-1,", b"[[[", b"\0\0\0"]))
        content = content or bytearray(b"x")
    with tempfile.TemporaryDirectory() as folder:
        try:
            pairs = open_export(
                altered(exports / to, Path(folder), FIRST_FILE[to], bytes(content))
            ).read_pairs()
        except ImporterError:
            return
        assert len(pairs) == 12


def test_a_changed_byte_is_found_by_its_digest(exports: Path, tmp_path: Path) -> None:
    for to in FORMATS:
        folder = altered(exports / to, tmp_path / to, "", b"")
        assert len(open_export(folder).read_pairs()) == 12
        victim = folder / FIRST_FILE[to]
        content = bytearray(victim.read_bytes())
        content[len(content) // 2] ^= 1
        victim.write_bytes(bytes(content))
        with pytest.raises(ImporterError, match=r"wanted sha256 .* changed or damaged"):
            open_export(folder).read_pairs()
        victim.write_bytes(bytes(content[:-1]))
        with pytest.raises(ImporterError, match="bytes as in the index"):
            open_export(folder).read_pairs()


def _first(index: Index) -> dict[str, object]:
    return index["files"][0]  # pyright: ignore[reportIndexIssue]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda index: _first(index).update(path="../../etc/passwd"), "an empty part, '.' or '..'"),
        (lambda index: _first(index).update(path="/etc/passwd"), "it is absolute"),
        (lambda index: _first(index).update(sha256="x"), "files.0.sha256"),
        (lambda index: _first(index).update(rows=-1), "files.0.rows"),
        (lambda index: index.update(format="pickle"), "unknown format 'pickle'"),
        (lambda index: index.update(layout=99), "layout"),
        (lambda index: index.update(rows=13), "wanted 13 pairs as in its index, got 12"),
        (lambda index: index.update(skeleton={"joints": "?"}), "skeleton"),
        (lambda index: index.update(files=[_first(index)] * 2), "names a file twice"),
        (lambda index: index.update(columns=[]), "its columns are not those of pairs"),
        (
            lambda index: index["columns"].append({"name": "big", "dtype": "int8", "shape": [60000, 60000]}),
            "at most 65,535",
        ),
        (lambda index: index["columns"].append({"name": "o", "dtype": "object"}), "dtype"),
        (lambda index: index.update(surprise=1), "surprise"),
    ],
)
def test_an_index_that_lies_is_refused(
    change: Callable[[Index], None], words: str, exports: Path, tmp_path: Path
) -> None:
    with pytest.raises(ImporterError, match=words):
        open_export(altered(exports / "coco", tmp_path, "", b"", change)).read_pairs()


def test_an_index_that_is_none_is_refused(tmp_path: Path) -> None:
    index = tmp_path / "posemill-export.json"
    for text in ("", "[]", "{}", "[" * 100_000, '{"format": "coco"}'):
        index.write_text(text)
        with pytest.raises(ImporterError, match="not an index that this posemill can read"):
            open_export(tmp_path)
    with index.open("wb") as file:
        file.truncate(300 << 20)
    with pytest.raises(ImporterError, match="this is no index"):
        open_export(tmp_path)
    with pytest.raises(ImporterError, match="found no posemill-export"):
        open_export(tmp_path / "nothing")


def test_a_link_in_an_export_is_not_followed(exports: Path, tmp_path: Path) -> None:
    folder = altered(exports / "coco", tmp_path / "x", "", b"")
    secret = tmp_path / "secret.json"
    (folder / FIRST_FILE["coco"]).rename(secret)
    (folder / FIRST_FILE["coco"]).symlink_to(secret)
    with pytest.raises(ImporterError, match="a link stands on this path"):
        open_export(folder).read_pairs()


def tar_of(*members: tarfile.TarInfo, form: int = tarfile.USTAR_FORMAT) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as archive:
        for member in members:
            archive.addfile(member, io.BytesIO(b"x" * member.size))
    return stream.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, size
    return info


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (tar_of(member("../../etc/cron.d/x.json")), "an empty part, '.' or '..'"),
        (tar_of(member("/etc/passwd")), "it is absolute"),
        (tar_of(member("a.json", tarfile.SYMTYPE, "/etc/passwd")), "a symbolic link; only regular files"),
        (tar_of(member("a.json", tarfile.LNKTYPE, "b")), "a hard link; only regular files"),
        (tar_of(member("dev", tarfile.CHRTYPE)), "a device; only regular files"),
        (tar_of(member("pipe", tarfile.FIFOTYPE)), "a pipe; only regular files"),
        (tar_of(member("folder", tarfile.DIRTYPE)), "a folder; only regular files"),
        (tar_of(member("n" * 150), form=tarfile.GNU_FORMAT), "a long GNU name; only regular"),
        (tar_of(member("ü.json"), form=tarfile.PAX_FORMAT), "a pax header; only regular"),
        (tar_of(member("sparse", tarfile.GNUTYPE_SPARSE)), "a sparse file"),
        (tar_of(member("a.json", size=17 << 20)), "more than the 16,777,216 allowed"),
        (tar_of(member("a.json", size=600))[:700], "it is truncated"),
        (tar_of(member("a.txt")), "wanted the member KEY.joints_camera_m.npy, got 'a.txt'"),
        (b"\x1f\x8b" + bytes(1022), "a compressed archive"),
        (b"\xff" * 1024, "octal digits|checksum is wrong"),
        (bytes(1024), "wanted 12 samples as in the index, got 0"),
    ],
)
def test_hostile_tar_files_are_refused(data: bytes, words: str, exports: Path, tmp_path: Path) -> None:
    refused(exports / "webdataset", tmp_path, FIRST_FILE["webdataset"], data, words)


def test_a_tar_file_that_ends_too_early_is_refused(exports: Path, tmp_path: Path) -> None:
    whole = (exports / "webdataset" / FIRST_FILE["webdataset"]).read_bytes()
    refused(exports / "webdataset", tmp_path, FIRST_FILE["webdataset"], whole[:-1024], "without its end mark")


def test_a_tar_header_with_a_size_out_of_this_world_is_refused() -> None:
    header = bytearray(tar_member(b"a.json", b"")[:512])
    header[124:136] = b"\x80" + b"\xff" * 11  # binary size, and a negative one
    header[148:156] = b"%06o\0 " % (sum(header) - sum(header[148:156]) + 256)
    with pytest.raises(ImporterError, match="wanted octal digits"):
        next(tar_members(io.BytesIO(bytes(header)), "x.tar", 1 << 20))


class Evil:
    """Runs a command when it is unpickled by anything that trusts pickles."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple:
        return (os.system, (f"touch {self.trace}",))


def pickled_npy(trace: Path) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([Evil(trace)], dtype=object), allow_pickle=True)
    return stream.getvalue()


def test_pickles_are_refused_wherever_they_hide(exports: Path, tmp_path: Path) -> None:
    trace, stream = tmp_path / "ran", io.BytesIO()
    writer = TarWriter(stream)
    with tarfile.open(exports / "webdataset" / FIRST_FILE["webdataset"]) as sound:
        for one in sound:
            content = sound.extractfile(one).read()  # pyright: ignore[reportOptionalMemberAccess]
            writer.add(one.name.encode(), pickled_npy(trace) if one.name.endswith("px.npy") else content)
    writer.close()
    data = stream.getvalue()
    index = altered(exports / "webdataset", tmp_path / "a", FIRST_FILE["webdataset"], data)
    with pytest.raises(ImporterError, match=r"would have to be unpickled"):
        open_export(index).read_pairs()
    for name in ("metadata", "sample_id/000000"):
        content = rewritten_npz(exports, {name: pickled_npy(trace)})
        refused(exports / "videopose3d", tmp_path / name[:1], FIRST_FILE["videopose3d"], content, "unpickled")
    raw = pickle.dumps(Evil(trace))
    for to in FORMATS:
        with pytest.raises(ImporterError):
            open_export(altered(exports / to, tmp_path / f"raw-{to}", FIRST_FILE[to], raw)).read_pairs()
    assert not trace.exists()


def rewritten_npz(exports: Path, changes: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with (
        zipfile.ZipFile(exports / "videopose3d" / FIRST_FILE["videopose3d"]) as source,
        zipfile.ZipFile(stream, "w", compression) as target,
    ):
        for name in source.namelist():
            target.writestr(name, changes.get(name.removesuffix(".npy"), source.read(name)))
    return stream.getvalue()


def test_zip_bombs_are_refused_before_they_are_read(exports: Path, tmp_path: Path) -> None:
    bomb = rewritten_npz(exports, {"frame/000000": bytes(50 << 20)}, zipfile.ZIP_DEFLATED)
    assert len(bomb) < 1 << 20
    refused(
        exports / "videopose3d", tmp_path / "a", FIRST_FILE["videopose3d"], bomb, "is compressed; a few bytes"
    )
    overlapping = rewritten_npz(exports, {})
    lying = overlapping.replace(b"PK\x01\x02", b"PK\x01\x02", 1)
    with zipfile.ZipFile(io.BytesIO(lying)) as archive:
        first = archive.infolist()[0]
    at = lying.index(b"PK\x01\x02")
    huge = lying[: at + 20] + (3 << 30).to_bytes(4, "little") * 2 + lying[at + 28 :]
    assert first.file_size < 3 << 30
    refused(
        exports / "videopose3d",
        tmp_path / "b",
        FIRST_FILE["videopose3d"],
        huge,
        "the file has .* bytes; refused",
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"frames": 10**12}, r"wanted float32 \(1000000000000, 17, 2\)"),
        ({"frames": -1}, "wanted its number of frames"),
        ({"frames": True}, "wanted its number of frames"),
        ({"names": {"clip": 3}}, "wanted the name 'subject' as text"),
        ({"texts": {}}, "wanted the names of column"),
        ({"texts": {"part": [], "rig": []}}, "wanted codes of 0 names"),
    ],
)
def test_metadata_that_lies_is_refused(change: dict, words: str, exports: Path, tmp_path: Path) -> None:
    with np.load(exports / "videopose3d" / FIRST_FILE["videopose3d"]) as source:
        arrays = {name: source[name] for name in source.files}
    metadata = json.loads(arrays["metadata"].item())
    for sequence in metadata["sequences"]:
        sequence |= change
    stream = io.BytesIO()
    with npz_writer(stream) as writer:
        for name, values in arrays.items():
            writer.add(name, np.asarray(json.dumps(metadata)) if name == "metadata" else values)
    folder = altered(exports / "videopose3d", tmp_path, FIRST_FILE["videopose3d"], stream.getvalue())
    with pytest.raises(ImporterError, match=words):
        open_export(folder).read_pairs()


def test_npy_headers_that_ask_for_terabytes_are_refused_before_memory_is() -> None:
    def npy(head: str) -> bytes:
        text = head.encode().ljust(118) + b"\n"
        return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(64)

    for shape, words in (
        ("(1000000000000, 17)", "it has 64 bytes"),
        ("(-1, -16)", "it has 64 bytes|no npy header"),
        ("(16,)", None),
    ):
        data = npy(f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}")
        if words is None:
            assert npy_array(data, "x").shape == (16,)
            continue
        with pytest.raises(ImporterError, match=words):
            npy_array(data, "x")
    for head in ("__import__('os').system('true')", "{'descr': '|O'", "", "(" * 5_000):
        with pytest.raises(ImporterError, match="no npy header"):
            npy_array(npy(head), "x")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda one: one.pop("joints_camera_m"), "row 0 has no 'joints_camera_m'"),
        (lambda one: one.update(joints_camera_m=[1.0]), "wanted float32 with the same count in every row"),
        (lambda one: one.update(joints_camera_m=["x"] * 51), "wanted float32|got text"),
        (lambda one: one.update(sample_id=1.5), "wanted int64, got float64"),
        (lambda one: one.update(sample_id=2**70), "wanted int64"),
        (lambda one: one.update(copy=2**40), "values that do not fit"),
        (lambda one: one.update(clip=["x"]), "'clip': wanted text, got list"),
        (lambda one: one.update(extra=[]), "wanted a list of JSON objects"),
        (lambda one: one.update(keypoints=[0] * 51 + [1]), "'keypoints': wanted"),
        (lambda one: one.update(frame=[[[0]]]), "'frame': wanted"),
    ],
)
def test_annotations_that_do_not_fit_are_refused(
    change: Callable[[dict], object], words: str, exports: Path, tmp_path: Path
) -> None:
    document = json.loads((exports / "coco" / FIRST_FILE["coco"]).read_text())
    change(document["annotations"][0])
    refused(exports / "coco", tmp_path, FIRST_FILE["coco"], json.dumps(document).encode(), words)


def test_coco_files_of_other_makers_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "person_keypoints.json"
    for text, words in (
        ('{"images": [], "annotations": [], "categories": []}', "plain COCO files have 2D only"),
        ('{"info": {"posemill": {"skeleton": {}, "columns": []}}}', "its info cannot be read"),
        ("[" * 200_000, "wanted JSON"),
        ("nonsense", "wanted JSON"),
        ("[]", "plain COCO files"),
    ):
        path.write_text(text)
        with pytest.raises(ImporterError, match=words):
            read_coco_file(path)
    with pytest.raises(ImporterError, match="cannot be read"):
        read_coco_file(tmp_path / "none.json")


def test_parquet_of_another_shape_is_refused(exports: Path, tmp_path: Path) -> None:
    for to in ("huggingface", "delta"):
        table = pq.read_table(exports / to / FIRST_FILE[to])
        cases = {
            "no column 'score'": table.drop_columns(["score"]),
            "wanted .* rows as in the index": table.slice(0, 3),
            "wanted int64, got int32": table.set_column(0, "sample_id", table["sample_id"].cast("int32")),
            "cannot reshape|wanted 51 values": table.set_column(8, "joints_camera_m", table["keypoints_px"]),
        }
        for number, (words, other) in enumerate(cases.items()):
            stream = io.BytesIO()
            pq.write_table(other, stream)
            refused(exports / to, tmp_path / f"{to}{number}", FIRST_FILE[to], stream.getvalue(), words)
