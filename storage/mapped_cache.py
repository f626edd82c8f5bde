"""A local, memory-mapped copy of the columns that training reads, for shuffling over the whole dataset.

Random rows of Parquet cost a row group each; random rows of a mapped array cost a page. The cache is made
once per dataset version (its name is a digest of the version's files), one `.npy` file per column, and shared
by all workers and later runs on the machine. Of several processes that want it one makes it and the others wait; a
file that a killed process or a full disk left unfinished has no column's name, and one that is damaged is made again.
It can be deleted at any time.
"""

import fcntl
import hashlib
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from storage.blocks import Block, BlockPool, BlockReader
from storage.digests import NAME_DIGITS
from storage.errors import DatasetError

if TYPE_CHECKING:
    from storage.reader import Dataset

CACHE_FORMAT = 2
"""Raise it when the cached columns are computed otherwise: older caches are not read then."""

BOUNDS = ("_first", "_last")
"""Columns of the cache that hold the bounds of every row's stream."""


class MappedPairs:
    """Columns of a dataset version as memory-mapped arrays.

    Args:
        dataset: The dataset version.
        folder: Where caches live on this machine; made if it is not there.
        columns: Columns to have in the cache.
        stored_columns: What must be read to make them.
        in_streams: Rows in stream order, for windows, instead of file order.
        compute: Makes the columns from the stored ones, as `TorchPairs` does.

    Raises:
        DatasetError: if the folder cannot be written, or its disk has no room.
    """

    def __init__(
        self,
        dataset: "Dataset",
        folder: Path,
        columns: Sequence[str],
        stored_columns: Sequence[str],
        in_streams: bool,
        compute: Callable[[BlockPool], BlockPool],
    ) -> None:
        self._dataset, self._columns, self._in_streams = dataset, tuple(columns), in_streams
        self._folder = folder / self._version_name()
        if not dataset.n_pairs or not self._missing():
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with _only_one_process(self._folder / "lock"):
                if missing := self._missing():  # nobody made it while this process waited
                    self._build(stored_columns, compute, missing)
        except OSError as error:
            raise DatasetError(
                f"{self._folder}: wanted a cache of {dataset.n_pairs:,} pairs here, got: {error}; free some space, or"
                " choose another cache_folder on a local disk"
            ) from error

    def _missing(self) -> list[str]:
        """Columns that are not there, or not whole."""
        return [name for name in (*self._columns, *BOUNDS) if not self._is_whole(name)]

    def _is_whole(self, column: str) -> bool:
        try:
            return len(np.load(self._file(column), mmap_mode="r")) == self._dataset.n_pairs
        except (OSError, ValueError, EOFError):
            return False

    def pool(self) -> BlockPool:
        """All rows, to draw from; nothing is read before it is drawn."""
        rows = self._dataset.n_pairs
        if not rows:
            none = np.zeros(0, np.int64)
            return BlockPool({}, none, none, none)
        columns = {name: np.load(self._file(name), mmap_mode="r") for name in self._columns}
        first, last = (np.load(self._file(name), mmap_mode="r") for name in BOUNDS)
        return BlockPool(columns, np.arange(rows), first, last)

    def _version_name(self) -> str:
        files = "\n".join(f"{entry.path} {entry.rows} {entry.sha256}" for entry in self._dataset.pair_files)
        digest = hashlib.sha256(f"{CACHE_FORMAT}\n{files}".encode()).hexdigest()[:NAME_DIGITS]
        return f"{digest}-{'streams' if self._in_streams else 'files'}"

    def _file(self, column: str) -> Path:
        return self._folder / f"{column}.npy"

    def _build(
        self, stored_columns: Sequence[str], compute: Callable[[BlockPool], BlockPool], missing: Sequence[str]
    ) -> None:
        """Writes the missing columns under temporary names, file by file, then names them."""
        suffix = f".{uuid.uuid4().hex}.tmp"
        reader = BlockReader(self._dataset, stored_columns, self._in_streams)
        arrays: dict[str, np.memmap] = {}
        start = 0
        try:
            for entry in self._dataset.pair_files:
                pool = compute(reader.load([Block(entry, 0, entry.rows)], half_window=0))
                made = {**pool.columns, BOUNDS[0]: pool.first + start, BOUNDS[1]: pool.last + start}
                for name in missing:
                    if name not in arrays:
                        arrays[name] = self._room(self._file(name + suffix), made[name])
                    arrays[name][start : start + entry.rows] = made[name]
                start += entry.rows
            for name, array in arrays.items():
                array.flush()
                os.replace(self._file(name + suffix), self._file(name))
        finally:
            for name in missing:
                self._file(name + suffix).unlink(missing_ok=True)

    def _room(self, path: Path, model: np.ndarray) -> np.memmap:
        """An array for all rows of the dataset, on disk; its room is taken now, because a mapped page that finds no
        room later ends the process.

        Raises:
            OSError: if the disk is full.
        """
        shape = (self._dataset.n_pairs, *model.shape[1:])
        array = np.lib.format.open_memmap(path, mode="w+", dtype=model.dtype, shape=shape)
        with open(path, "rb+") as file:
            os.posix_fallocate(file.fileno(), 0, array.offset + array.nbytes)
        return array


@contextmanager
def _only_one_process(lock: Path) -> Iterator[None]:
    """Waits for a lock, which a process that dies gives back."""
    with open(lock, "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
