"""WebDataset tar files as posemill writes them: three members a pair."""

from collections.abc import Iterator

import numpy as np

from poses.batch import PoseBatch
from storage.errors import ImporterError
from storage.exporters.columns import ColumnSpec, batch_of
from storage.exporters.webdataset import ARRAYS, MEMBERS
from storage.importers.exported import ExportFolder
from storage.importers.json_rows import json_column, json_objects, parse_json
from storage.importers.plain_npy import checked_array, npy_array
from storage.importers.ustar_reader import tar_members
from storage.schema import CORE_COLUMNS

MAX_MEMBER_BYTES = 16 << 20
BATCH_ROWS = 8_192


def read_webdataset(folder: ExportFolder) -> Iterator[PoseBatch]:
    """The pairs of every tar file."""
    for entry in folder.index.files:
        where, rows = folder.where(entry), 0
        with folder.open_file(entry) as source:
            held: list[dict[str, bytes]] = []
            for sample in _samples(tar_members(source, where, MAX_MEMBER_BYTES), where):
                held.append(sample)
                rows += 1
                if len(held) == BATCH_ROWS:
                    yield _pairs(held, folder, where)
                    held = []
            if held:
                yield _pairs(held, folder, where)
        if rows != entry.rows:
            raise ImporterError(f"{where}: wanted {entry.rows:,} samples as in the index, got {rows:,}")


def _samples(members: Iterator[tuple[str, bytes]], where: str) -> Iterator[dict[str, bytes]]:
    """The members of each sample; all of `MEMBERS`, in their order, under one key."""
    while True:
        sample: dict[str, bytes] = {}
        key = ""
        for wanted in MEMBERS:
            name, data = next(members, ("", b""))
            if not name and not sample:
                return
            stem, _, ending = name.partition(".")
            if ending != wanted or (sample and stem != key):
                raise ImporterError(
                    f"{where}: wanted the member {key or 'KEY'}.{wanted}, got {name or 'the end'!r}; samples of"
                    f" pairs have {', '.join(MEMBERS)}"
                )
            key, sample[wanted] = stem, data
        yield sample


def _pairs(samples: list[dict[str, bytes]], folder: ExportFolder, where: str) -> PoseBatch:
    described = json_objects(
        [parse_json(sample["json"], f"{where}: json member") for sample in samples], where
    )
    extras = [one.get("extra", {}) for one in described]
    found: dict[str, np.ndarray] = {}
    for spec in folder.index.columns:
        if spec.name in ARRAYS:
            found[spec.name] = _stacked(samples, spec, where)
        elif spec.name in CORE_COLUMNS:
            found[spec.name] = json_column(described, spec.name, spec, where)
        else:
            rows = json_objects(extras, f"{where}: extra")
            found[spec.name] = json_column(rows, spec.name, spec, f"{where}: extra")
    return batch_of(found, folder.skeleton)


def _stacked(samples: list[dict[str, bytes]], spec: ColumnSpec, where: str) -> np.ndarray:
    place = f"{where}: {spec.name}.npy"
    arrays = [npy_array(sample[f"{spec.name}.npy"], place) for sample in samples]
    return np.stack([checked_array(array, spec.numpy_dtype, spec.shape, place) for array in arrays])
