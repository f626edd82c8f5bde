"""A Hugging Face dataset folder: Parquet files by part, and a card whose front matter names them.

`datasets.load_dataset(FOLDER)` gives one split per part (`source_train`, ...), arrays as nested fixed-size
lists, which `with_format("numpy")` stacks. The package is not needed to write the folder.
"""

import re
from collections.abc import Iterator, Mapping

import numpy as np

from poses.batch import PoseBatch
from storage.errors import ExportError
from storage.exporters.huggingface_card import dataset_card
from storage.exporters.parquet_lists import ROW_GROUP_ROWS, ListsFile
from storage.exporters.selection import PairsSelection
from storage.exporters.settings import ExportSettings
from storage.exporters.target import ExportedFiles, ExportTarget

SHARD_ROWS = 262_144
FOLDER = "data"
CARD = "README.md"
DEFAULT_SPLIT = "train"
MAX_SPLITS = 32
"""Every split holds a row group in memory while it is written."""


def write_huggingface(selection: PairsSelection, target: ExportTarget, settings: ExportSettings) -> None:
    """`data/SPLIT-00000.parquet` and so on, and `README.md`."""
    splits: dict[str, SplitFiles] = {}
    names = SplitNames(selection)
    try:
        for batch in selection.batches():
            for part, rows in _by_part(batch):
                if part not in splits:
                    splits[part] = SplitFiles(
                        names.of(part), selection, target, settings.shard_rows or SHARD_ROWS
                    )
                splits[part].add(rows)
        for split in splits.values():
            split.close()
    finally:
        for split in splits.values():
            split.discard()
    write_card(selection, {split.name: split.rows for split in splits.values()}, target, settings)


def write_card(
    selection: PairsSelection, counts: Mapping[str, int], target: ExportedFiles, settings: ExportSettings
) -> None:
    """`README.md`, when the rows of every split are known."""
    with target.file(CARD) as sink:
        sink.write(dataset_card(settings.name, selection, counts, FOLDER).encode())


class SplitFiles:
    """The Parquet files of one split in the making; holds one row group and one open file."""

    def __init__(self, name: str, selection: PairsSelection, target: ExportTarget, shard_rows: int) -> None:
        self.name, self.rows = name, 0
        self._selection, self._target, self._shard_rows = selection, target, shard_rows
        self._held: list[PoseBatch] = []
        self._held_rows, self._files = 0, 0
        self._file: ListsFile | None = None

    def add(self, pairs: PoseBatch) -> None:
        """Rows of this split, in any portions."""
        start = 0
        while start < len(pairs):
            written = self._file.rows if self._file is not None else 0
            room = min(ROW_GROUP_ROWS, self._shard_rows - written) - self._held_rows
            portion = pairs.take(slice(start, start + room))
            start += len(portion)
            self._held.append(portion)
            self._held_rows += len(portion)
            if len(portion) == room:
                self._write_group()

    def close(self) -> None:
        """Writes what is left."""
        if self._held:
            self._write_group()
        self._finish()

    def discard(self) -> None:
        """Gives an unfinished file up."""
        if self._file is not None:
            self._file.discard()
            self._file = None

    def _write_group(self) -> None:
        if self._file is None:
            path = f"{FOLDER}/{self.name}-{self._files:05d}.parquet"
            self._file = ListsFile(self._target.begin(path), self._selection, "nested")
        self._file.write(PoseBatch.concat(self._held))
        self._held, self._held_rows = [], 0
        if self._file.rows >= self._shard_rows:
            self._finish()

    def _finish(self) -> None:
        if self._file is not None:
            self.rows += self._file.rows
            self._files += 1
            self._file.finish()
            self._file = None


def _by_part(batch: PoseBatch) -> Iterator[tuple[str, PoseBatch]]:
    """The rows of each part, in the order in which parts come."""
    parts = part_names(batch)
    for part in dict.fromkeys(parts.tolist()):
        where = parts == part
        yield part, batch if where.all() else batch.take(where)


def part_names(batch: PoseBatch) -> np.ndarray:
    """(B,) the part of every row; "" where there are none."""
    parts = batch.extra.get("part")
    return np.full(len(batch), "", object) if parts is None or parts.dtype != object else parts


class SplitNames:
    """Names of splits, in the order in which parts come."""

    def __init__(self, selection: PairsSelection) -> None:
        self._url = selection.dataset.store.url
        self._taken: set[str] = set()

    def of(self, part: str) -> str:
        """The name for a new part.

        Raises:
            ExportError: if there are too many.
        """
        if len(self._taken) >= MAX_SPLITS:
            raise ExportError(
                f"{self._url}: more than {MAX_SPLITS} parts, and each would be a split; export some of them at a time "
                "with --parts"
            )
        name = _split_name(part, self._taken)
        self._taken.add(name)
        return name


def _split_name(part: str, taken: set[str]) -> str:
    """A name that `datasets` takes for a split: letters, digits and underscores, not "all"."""
    name = re.sub(r"[^A-Za-z0-9_]+", "_", part).strip("_") or DEFAULT_SPLIT
    name = f"{name}_part" if name == "all" else name
    while name in taken:
        name += "_2"
    return name
