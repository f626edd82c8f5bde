"""Reading pairs files by row groups, with a clear error for a file that is not what the manifest says."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from poses.skeleton import Skeleton
from storage.commit import FileEntry
from storage.errors import DAMAGED, DatasetError, ShardError, StoreError
from storage.object_store import ObjectStore
from storage.schema import CORE_COLUMNS, NAME_COLUMNS, check_schema, to_numpy


class PairsReader:
    """One open pairs file.

    Args:
        store: The dataset's root.
        entry: The file as its manifest has it; size and row count are compared at once, pages as they are
            read.
        skeleton: The dataset's skeleton.
        keypoint_skeleton: Of its keypoints, where they have other joints.

    Raises:
        ShardError: if the file is missing, truncated, of another schema, or no Parquet.
    """

    def __init__(
        self,
        store: ObjectStore,
        entry: FileEntry,
        skeleton: Skeleton,
        keypoint_skeleton: Skeleton | None = None,
    ) -> None:
        self.entry, self.skeleton = entry, skeleton
        self._where = f"{store.url}/{entry.path}"
        self._check_size(store)
        with self._as_shard_error():
            self._file = pq.ParquetFile(
                store.open_input(entry.path),
                read_dictionary=list(NAME_COLUMNS),
                page_checksum_verification=True,
                pre_buffer=False,
            )
        check_schema(self._file.schema_arrow, skeleton, self._where, keypoint_skeleton)
        metadata = self._file.metadata
        if metadata.num_rows != entry.rows:
            raise ShardError(
                f"{self._where}: {entry.rows:,} rows in the manifest, {metadata.num_rows:,} in the file;"
                f" {DAMAGED}"
            )
        sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        self.group_starts: np.ndarray = np.cumsum([0, *sizes])
        """(G+1,) first row of every row group, and the row count."""

    def _check_size(self, store: ObjectStore) -> None:
        try:
            size_bytes = store.size_bytes(self.entry.path)
        except StoreError as error:
            raise ShardError(
                f"{self._where}: the manifest has this file, but the store cannot give it: {error}; restore"
                " it,"
                " or run `posemill verify` to see what else is wrong"
            ) from error
        if size_bytes != self.entry.bytes:
            raise ShardError(
                f"{self._where}: {self.entry.bytes:,} bytes in the manifest, {size_bytes:,} in the file;"
                f" {DAMAGED}"
            )

    @contextmanager
    def _as_shard_error(self) -> Iterator[None]:
        """Turns what Arrow raises on damaged bytes into a ShardError."""
        try:
            yield
        except (pa.ArrowException, OSError) as error:
            raise ShardError(
                f"{self._where}: wanted Parquet pages that fit their checksums, got: {error}; {DAMAGED}"
            ) from error

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns in the file."""
        return tuple(self._file.schema_arrow.names)

    @property
    def n_groups(self) -> int:
        """Number of row groups."""
        return len(self.group_starts) - 1

    def read_group(self, group: int, columns: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """The columns of one row group; arrays are views on Arrow's memory and read-only."""
        names = self._selected(columns)
        with self._as_shard_error():
            table = self._file.read_row_group(group, columns=names, use_threads=True)
        return {name: to_numpy(table.column(name)) for name in names}

    def read_rows(self, start: int, stop: int, columns: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """The rows [start, stop) of the file; decodes the row groups that they lie in."""
        if not 0 <= start <= stop <= self.entry.rows:
            raise DatasetError(
                f"{self._where}: wanted rows {start} to {stop} of {self.entry.rows:,}; they are not there"
            )
        first = min(int(np.searchsorted(self.group_starts, start, side="right")), self.n_groups) - 1
        last = max(int(np.searchsorted(self.group_starts, stop, side="left")), first + 1)
        offset = int(self.group_starts[first])
        groups = [self.read_group(group, columns) for group in range(first, min(last, self.n_groups))]
        part = slice(start - offset, stop - offset)
        return {
            name: concatenated([group[name] for group in groups])[part] for name in self._selected(columns)
        }

    def read_codes(self, columns: Sequence[str]) -> tuple[np.ndarray, ...]:
        """Whole columns as numbers: names become codes, equal where the names are; integers stay."""
        with self._as_shard_error():
            table = (
                self._file.read(columns=list(columns), use_threads=True).unify_dictionaries().combine_chunks()
            )
        return tuple(_codes(table.column(name)) for name in columns)

    def _selected(self, columns: Sequence[str] | None) -> list[str]:
        """The wanted columns in file order; None means all. `sample_id` always comes: it counts the rows."""
        if columns is None:
            return list(self.columns)
        missing = sorted(set(columns) - set(self.columns))
        if missing:
            raise DatasetError(
                f"{self._where}: no column {missing[0]!r}; its columns are {', '.join(self.columns)}"
                f" (always there: {', '.join(CORE_COLUMNS)})"
            )
        return [name for name in self.columns if name in columns or name == "sample_id"]


def concatenated(parts: Sequence[np.ndarray]) -> np.ndarray:
    """The parts end to end; a single part is not copied."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _codes(column: pa.ChunkedArray) -> np.ndarray:
    array = pa.concat_arrays(column.chunks) if column.num_chunks != 1 else column.chunk(0)
    return np.asarray(array.indices if isinstance(array, pa.DictionaryArray) else array)
