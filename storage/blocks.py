"""Blocks of rows in memory, to draw single frames or temporal windows from."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from storage.commit import FileEntry
from storage.pairs_reader import PairsReader, concatenated
from storage.streams import StreamOrder, file_order, stream_order

if TYPE_CHECKING:
    from storage.reader import Dataset

OPEN_FILES = 16
"""Files whose footer and stream order a reader keeps."""


@dataclass(frozen=True)
class Block:
    """Positions [start, stop) of one file, in stream order."""

    entry: FileEntry
    start: int
    stop: int


def cut_blocks(entries: Sequence[FileEntry], block_rows: int) -> list[Block]:
    """Every file cut into blocks; the last of a file is smaller."""
    return [
        Block(entry, start, min(start + block_rows, entry.rows))
        for entry in entries
        for start in range(0, entry.rows, block_rows)
    ]


@dataclass(frozen=True)
class BlockPool:
    """Rows of several blocks, and the positions to draw, each with the bounds of its stream.

    Args:
        columns: Arrays of all loaded rows, in stream order, with the frames that windows need on either side.
        position: (N,) index of every row to draw in the arrays.
        first, last: (N,) bounds, inclusive, within which its window stays.
    """

    columns: dict[str, np.ndarray]
    position: np.ndarray
    first: np.ndarray
    last: np.ndarray

    def __len__(self) -> int:
        return len(self.position)

    def gather(self, drawn: np.ndarray, half_window: int) -> dict[str, np.ndarray]:
        """The drawn rows (B, ...), or with a half window above 0 their windows (B, W, ...), edge-padded."""
        index = self.position[drawn]
        if half_window:
            around = index[:, None] + np.arange(-half_window, half_window + 1)
            index = np.clip(around, self.first[drawn, None], self.last[drawn, None])
        return {name: np.take(values, index, axis=0) for name, values in self.columns.items()}


class BlockReader:
    """Loads blocks of a dataset's pairs files.

    Args:
        dataset: The dataset version.
        columns: Stored columns to load.
        in_streams: Whether positions follow streams (for windows) or the file.
    """

    def __init__(self, dataset: "Dataset", columns: Sequence[str], in_streams: bool) -> None:
        self._dataset, self._columns, self._in_streams = dataset, tuple(columns), in_streams
        self._open: OrderedDict[str, tuple[PairsReader, StreamOrder]] = OrderedDict()

    def load(self, blocks: Sequence[Block], half_window: int) -> BlockPool:
        """The blocks' rows, and what half a window reaches beyond them, end to end."""
        parts: list[dict[str, np.ndarray]] = []
        bounds: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        offset = 0
        for block in blocks:
            reader, order = self._opened(block.entry)
            low = max(int(order.first[block.start]), block.start - half_window)
            high = min(int(order.last[block.stop - 1]), block.stop - 1 + half_window) + 1
            parts.append(self._rows(reader, order.rows[low:high]))
            inside = slice(block.start, block.stop)
            bounds.append(
                (
                    np.arange(block.start, block.stop) - low + offset,
                    np.maximum(order.first[inside], low) - low + offset,
                    np.minimum(order.last[inside], high - 1) - low + offset,
                )
            )
            offset += high - low
        columns = {name: concatenated([part[name] for part in parts]) for name in self._columns}
        position, first, last = (concatenated([bound[axis] for bound in bounds]) for axis in range(3))
        return BlockPool(columns, position, first, last)

    def _rows(self, reader: PairsReader, rows: np.ndarray) -> dict[str, np.ndarray]:
        """The given file rows, in that order."""
        low, high = int(rows.min()), int(rows.max()) + 1
        read = reader.read_rows(low, high, self._columns)
        in_file_order = high - low == len(rows) and bool((np.diff(rows) == 1).all())
        return {name: read[name] if in_file_order else read[name][rows - low] for name in self._columns}

    def _opened(self, entry: FileEntry) -> tuple[PairsReader, StreamOrder]:
        """The file's reader and order; the files used last stay open."""
        if entry.path not in self._open:
            reader = self._dataset.open_pairs(entry.path)
            order = stream_order(reader) if self._in_streams else file_order(entry.rows)
            self._open[entry.path] = (reader, order)
            if len(self._open) > OPEN_FILES:
                self._open.popitem(last=False)
        self._open.move_to_end(entry.path)
        return self._open[entry.path]
