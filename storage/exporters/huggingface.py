"""A Hugging Face dataset folder: Parquet files by part, and a card whose front matter names them.

`datasets.load_dataset(FOLDER)` gives one split per part (`source_train`, ...), arrays as nested fixed-size
lists, which `with_format("numpy")` stacks. The package is not needed to write the folder.
"""

import re
from collections.abc import Iterator

from poses.batch import PoseBatch
from storage.errors import ExportError
from storage.exporters.huggingface_card import dataset_card
from storage.exporters.parquet_lists import ROW_GROUP_ROWS, ListsFile
from storage.exporters.selection import PairsSelection
from storage.exporters.settings import ExportSettings
from storage.exporters.target import ExportTarget

SHARD_ROWS = 262_144
FOLDER = "data"
CARD = "README.md"
DEFAULT_SPLIT = "train"
MAX_SPLITS = 32
"""Every split holds a row group in memory while it is written."""


def write_huggingface(selection: PairsSelection, target: ExportTarget, settings: ExportSettings) -> None:
    """`data/SPLIT-00000.parquet` and so on, and `README.md`."""
    splits: dict[str, SplitFiles] = {}
    try:
        for batch in selection.batches():
            for part, rows in _by_part(batch):
                if part not in splits:
                    _check_room(splits, selection)
                    name = _split_name(part, {split.name for split in splits.values()})
                    splits[part] = SplitFiles(name, selection, target, settings.shard_rows or SHARD_ROWS)
                splits[part].add(rows)
        for split in splits.values():
            split.close()
    finally:
        for split in splits.values():
            split.discard()
    counts = {split.name: split.rows for split in splits.values()}
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
    parts = batch.extra.get("part")
    if parts is None or parts.dtype != object:
        yield "", batch
        return
    for part in dict.fromkeys(parts.tolist()):
        where = parts == part
        yield part, batch if where.all() else batch.take(where)


def _split_name(part: str, taken: set[str]) -> str:
    """A name that `datasets` takes for a split: letters, digits and underscores, not "all"."""
    name = re.sub(r"[^A-Za-z0-9_]+", "_", part).strip("_") or DEFAULT_SPLIT
    name = f"{name}_part" if name == "all" else name
    while name in taken:
        name += "_2"
    return name


def _check_room(splits: dict[str, SplitFiles], selection: PairsSelection) -> None:
    if len(splits) >= MAX_SPLITS:
        raise ExportError(
            f"{selection.dataset.store.url}: more than {MAX_SPLITS} parts, and each would be a split; export"
            " some of them at a time with --parts"
        )
