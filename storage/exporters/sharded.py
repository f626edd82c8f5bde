"""Exports whose files can be made one by one, in any order, by anyone: WebDataset's tars, Hugging Face's Parquet files.

A `Shard` says which rows of the dataset a file holds, so that a file is a function of the dataset's version, the
settings and its shard. Files are those of the streaming writers, byte for byte. What joins them (indexes, cards) is
written at the end by one process.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from poses.batch import PoseBatch
from storage.exporters.columns import same_extra
from storage.exporters.huggingface import FOLDER, SplitNames, part_names, write_card
from storage.exporters.huggingface import SHARD_ROWS as SPLIT_ROWS
from storage.exporters.parquet_lists import write_lists_file
from storage.exporters.selection import PairsSelection
from storage.exporters.settings import ExportSettings
from storage.exporters.target import ExportedFiles
from storage.exporters.webdataset import SHARD_ROWS, shard_name, write_index, write_shard

Piece = tuple[str, Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]]
"""A pairs file, and the rows [start, stop) of it among which are the shard's."""


class Shard(BaseModel):
    """The rows of one file of an export.

    Attributes:
        path: Of the file, below the export's folder.
        split: It belongs to; "" where the format has none.
        part: Only rows of this part; None takes those of all parts that are selected.
        pieces: Where the rows are.
        rows: How many there are.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    split: str = ""
    part: str | None = None
    pieces: tuple[Piece, ...]
    rows: int


@dataclass(frozen=True)
class ShardedFormat:
    """How a format is made file by file: planned, written one at a time, joined."""

    plan: Callable[[PairsSelection, ExportSettings], Iterator[Shard]]
    write: Callable[[PairsSelection, Shard, ExportedFiles], None]
    join: Callable[[PairsSelection, Sequence[Shard], ExportedFiles, ExportSettings], None]


def read_shard(selection: PairsSelection, shard: Shard) -> PoseBatch:
    """The shard's rows, in order."""
    portions: list[PoseBatch] = []
    for file, start, stop in shard.pieces:
        rows = selection.same_columns(selection.dataset.read_rows(file, start, stop))
        keep = selection.mask(rows)
        if shard.part is not None:
            keep &= part_names(rows) == shard.part
        portions.append(rows if keep.all() else rows.take(keep))
    return portions[0] if len(portions) == 1 else PoseBatch.concat(portions)


class _Cutter:
    """Cuts rows that come file by file into shards of so many."""

    def __init__(self, rows: int, part: str | None, split: str, path: Callable[[int], str]) -> None:
        self._rows, self._part, self._split, self._path = rows, part, split, path
        self._pieces: list[Piece] = []
        self._filled, self._made = 0, 0

    def add(self, file: str, numbers: np.ndarray) -> Iterator[Shard]:
        """Rows of one file, by number; gives the shards that are full."""
        start = 0
        while start < len(numbers):
            stop = min(start + self._rows - self._filled, len(numbers))
            self._pieces.append((file, int(numbers[start]), int(numbers[stop - 1]) + 1))
            self._filled += stop - start
            start = stop
            if self._filled == self._rows:
                yield from self.close()

    def close(self) -> Iterator[Shard]:
        """The last shard, unless nothing is left."""
        if self._pieces:
            yield Shard(
                path=self._path(self._made),
                split=self._split,
                part=self._part,
                pieces=tuple(self._pieces),
                rows=self._filled,
            )
            self._pieces, self._filled = [], 0
            self._made += 1


def _selected(selection: PairsSelection) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Of every file: the numbers of its selected rows, and the part of each ("" without parts)."""
    named = [spec for spec in selection.extras if spec.name in ("part", "rig")]
    dataset = selection.dataset
    for entry in dataset.pair_files:
        there = set(dataset.open_pairs(entry.path).columns)
        columns = [spec.name for spec in named if spec.name in there]
        keep, parts = [np.zeros(0, bool)], [np.zeros(0, object)]
        for batch in dataset.iter_batches(columns=columns, files=[entry.path]):
            rows = same_extra(batch, named)
            keep.append(selection.mask(rows))
            parts.append(part_names(rows))
        numbers = np.flatnonzero(np.concatenate(keep))
        yield entry.path, numbers, np.concatenate(parts)[numbers]


def _plan_webdataset(selection: PairsSelection, settings: ExportSettings) -> Iterator[Shard]:
    cutter = _Cutter(settings.shard_rows or SHARD_ROWS, None, "", lambda n: shard_name(settings, n))
    for file, numbers, _ in _selected(selection):
        yield from cutter.add(file, numbers)
    yield from cutter.close()


def _write_webdataset(selection: PairsSelection, shard: Shard, files: ExportedFiles) -> None:
    write_shard(read_shard(selection, shard), shard.path, files)


def _join_webdataset(
    selection: PairsSelection, shards: Sequence[Shard], files: ExportedFiles, settings: ExportSettings
) -> None:
    del selection, shards
    write_index(files, settings)


def _plan_huggingface(selection: PairsSelection, settings: ExportSettings) -> Iterator[Shard]:
    cutters: dict[str, _Cutter] = {}
    names = SplitNames(selection)
    for file, numbers, parts in _selected(selection):
        for part in dict.fromkeys(parts.tolist()):
            if part not in cutters:
                split = names.of(part)
                path = f"{FOLDER}/{split}-{{:05d}}.parquet"
                cutters[part] = _Cutter(settings.shard_rows or SPLIT_ROWS, part, split, path.format)
            yield from cutters[part].add(file, numbers[parts == part])
    for cutter in cutters.values():
        yield from cutter.close()


def _write_huggingface(selection: PairsSelection, shard: Shard, files: ExportedFiles) -> None:
    write_lists_file(files.begin(shard.path), selection, "nested", read_shard(selection, shard))


def _join_huggingface(
    selection: PairsSelection, shards: Sequence[Shard], files: ExportedFiles, settings: ExportSettings
) -> None:
    counts: dict[str, int] = {}
    for shard in shards:
        counts[shard.split] = counts.get(shard.split, 0) + shard.rows
    write_card(selection, counts, files, settings)


SHARDED: dict[str, ShardedFormat] = {
    "webdataset": ShardedFormat(_plan_webdataset, _write_webdataset, _join_webdataset),
    "huggingface": ShardedFormat(_plan_huggingface, _write_huggingface, _join_huggingface),
}
"""Formats that can be made file by file; the others are one stream through one process."""
