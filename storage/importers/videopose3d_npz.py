"""npz files in VideoPose3D's arrangement as posemill writes them; nothing in them is unpickled.

Members must be stored as they are (`numpy.savez`, not `savez_compressed`), so that no archive can grow when
it is read, and may not overlap.
"""

import zipfile
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from poses.batch import PoseBatch
from storage.errors import ImporterError
from storage.exporters.columns import ColumnSpec, batch_of
from storage.exporters.index import ExportedFile
from storage.exporters.videopose3d import MEMBERS_2D, MEMBERS_3D, MEMBERS_ROWS, METADATA
from storage.importers.exported import ExportFolder
from storage.importers.json_rows import json_objects, parse_json
from storage.importers.plain_npy import checked_array, npy_array

NAMES = ("subject", "action", "clip", "camera_name")
MAX_MEMBERS = 5_000_000


def read_videopose3d(folder: ExportFolder) -> Iterator[PoseBatch]:
    """The pairs of every sequence of every shard."""
    for rows_file, others in _shards(folder):
        file_2d, file_3d = others
        with (
            folder.open_file(rows_file) as source_rows,
            folder.open_file(file_2d) as source_2d,
            folder.open_file(file_3d) as source_3d,
        ):
            archives = (
                _Archive(source_2d, folder.where(file_2d), MEMBERS_2D),
                _Archive(source_3d, folder.where(file_3d), MEMBERS_3D),
                _Archive(source_rows, folder.where(rows_file), MEMBERS_ROWS),
            )
            total = 0
            for number in range(len(archives[2].sequences)):
                pairs = _sequence(number, archives, folder)
                total += len(pairs)
                yield pairs
            if total != rows_file.rows:
                raise ImporterError(
                    f"{folder.where(rows_file)}: wanted {rows_file.rows:,} pairs, got {total:,}"
                )


def _shards(folder: ExportFolder) -> Iterator[tuple[ExportedFile, tuple[ExportedFile, ExportedFile]]]:
    """The three files of each shard."""
    files = {file.path: file for file in folder.index.files}
    for path, file in files.items():
        if not path.startswith("data_rows_"):
            continue
        stem = path.removeprefix("data_rows_")
        partners = [files.get(f"data_{kind}_{stem}") for kind in ("2d", "3d")]
        if partners[0] is None or partners[1] is None:
            raise ImporterError(
                f"{folder.store.url}: {path} wants data_2d_{stem} and data_3d_{stem} beside it"
            )
        yield file, (partners[0], partners[1])


class _Archive:
    """One npz file and what its metadata says about the sequences in it."""

    def __init__(self, source: Any, where: str, members: dict[str, str]) -> None:
        self.where, self.members = where, members
        try:
            self._zip = zipfile.ZipFile(source)
        except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
            raise ImporterError(f"{where}: no npz file, or truncated: {error}") from error
        _check_members(self._zip, where, source.size())
        described = self.array(METADATA)
        if described.dtype.kind != "U" or described.shape != ():
            raise ImporterError(
                f"{where}: wanted {METADATA} as JSON text, got {described.dtype} {described.shape}"
            )
        values = parse_json(str(described[()]).encode(), f"{where}: {METADATA}")
        listed = values.get("sequences") if isinstance(values, dict) else None
        self.sequences: list[dict[str, Any]] = json_objects(listed, f"{where}: {METADATA}: sequences")

    def array(self, name: str) -> np.ndarray:
        """A member by its name."""
        try:
            data = self._zip.read(f"{name}.npy")
        except KeyError as error:
            raise ImporterError(f"{self.where}: no array {name!r}") from error
        except (
            zipfile.BadZipFile,
            NotImplementedError,
            ValueError,
            OSError,
            EOFError,
            RuntimeError,
        ) as error:
            raise ImporterError(f"{self.where}: {name}: damaged: {error}") from error
        return npy_array(data, f"{self.where}: {name}")


def _check_members(archive: zipfile.ZipFile, where: str, size_bytes: int) -> None:
    """Refuses archives that could grow when they are read."""
    listed = archive.infolist()
    if len(listed) > MAX_MEMBERS:
        raise ImporterError(f"{where}: {len(listed):,} members, more than the {MAX_MEMBERS:,} allowed")
    for member in listed:
        if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
            raise ImporterError(
                f"{where}: {member.filename} is compressed; a few bytes can then ask for any memory. Save it"
                " with numpy.savez"
            )
    total = sum(member.file_size for member in listed)
    if total > size_bytes:
        raise ImporterError(
            f"{where}: its members ask for {total:,} bytes, the file has {size_bytes:,} bytes; refused"
        )


def _sequence(number: int, archives: Sequence[_Archive], folder: ExportFolder) -> PoseBatch:
    last = archives[2]
    described = last.sequences[number]
    frames = described.get("frames")
    if not isinstance(frames, int) or isinstance(frames, bool) or frames < 0:
        raise ImporterError(f"{last.where}: sequence {number}: wanted its number of frames, got {frames!r}")
    specs = {spec.name: spec for spec in folder.index.columns}
    found: dict[str, np.ndarray] = {}
    for archive in archives:
        for member, name in archive.members.items():
            spec, path = specs[name], f"{member}/{number:06d}"
            shape = (frames, *spec.shape)
            found[name] = checked_array(
                archive.array(path), spec.numpy_dtype, shape, f"{archive.where}: {path}"
            )
    names = described.get("names")
    for name in NAMES:
        text = names.get(name) if isinstance(names, dict) else None
        if not isinstance(text, str):
            raise ImporterError(
                f"{last.where}: sequence {number}: wanted the name {name!r} as text, got {text!r}"
            )
        found[name] = np.asarray([text] * frames, object)  # np.full would cut NULs off the end
    extras = folder.index.columns[len(found) :]
    for column, spec in enumerate(extras):
        found[spec.name] = _extra(last, number, column, spec, frames)
    return batch_of(found, folder.skeleton)


def _extra(archive: _Archive, number: int, column: int, spec: ColumnSpec, frames: int) -> np.ndarray:
    path = f"extra_{column:03d}/{number:06d}"
    values, where = archive.array(path), f"{archive.where}: {path}"
    if spec.dtype != "string":
        return checked_array(values, spec.numpy_dtype, (frames, *spec.shape), where)
    codes = checked_array(values, np.dtype(np.int32), (frames,), where)
    texts = archive.sequences[number].get("texts")
    names = texts.get(spec.name) if isinstance(texts, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ImporterError(f"{where}: wanted the names of column {spec.name!r}, got {type(names).__name__}")
    if frames and not (int(codes.min()) >= 0 and int(codes.max()) < len(names)):
        raise ImporterError(
            f"{where}: wanted codes of {len(names)} names, got {codes.min()} to {codes.max()}"
        )
    table = np.empty(len(names), object)
    table[:] = names
    return table[codes]
