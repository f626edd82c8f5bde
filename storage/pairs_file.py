"""Writing pairs as Parquet: fixed row groups, one encoding, the same bytes for the same rows.

Measured on 262,144 pairs of real mocap (17 joints, 125 MB raw; one busy core of a shared 2-core machine, page
checksums on):

| compression, encoding          | size | write MB/s | read MB/s |
|--------------------------------|------|------------|-----------|
| none, plain                    | 1.01 | 220        | 381       |
| pyarrow defaults (snappy, dictionary) | 0.79 | 164 | 431       |
| snappy, plain                  | 0.75 | 217        | 390       |
| lz4, byte stream split         | 0.57 | 261        | 487       |
| zstd 1, plain                  | 0.66 | 222        | 298       |
| **zstd 1, byte stream split**  | 0.53 | 243        | 376       |
| zstd 3, byte stream split      | 0.52 | 193        | 445       |

Writing is bound by the levels of Parquet's list encoding, not by compression, so the smallest file that costs
nothing wins. Page checksums (CRC-32) cost less than the noise of the measurement and find a changed byte while
reading. Larger pages and write batches, and no minimum and maximum of tensor columns (nobody filters by them),
bring another fifth: 223 to 266 MB of rows per CPU second written, 442 to 462 read, at the same size.
"""

import queue
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from poses.skeleton import Skeleton
from storage.digests import DigestingFile
from storage.errors import DatasetError
from storage.schema import Columns, arrow_schema, to_arrow

COMPRESSION_LEVEL = 1
WRITE_BATCH_VALUES = 16_384
PAGE_BYTES = 8 << 20
MAX_BLOCKS = 2


class RowGroupBuffer:
    """Cuts rows that come in any portions into blocks of one size.

    Rows are copied in, so a caller may reuse its arrays. The columns and types of the first rows hold for
    all. There are two blocks at most: one is filled while the other is written, on another thread perhaps.
    """

    def __init__(self, block_rows: int) -> None:
        self._block_rows = block_rows
        self._columns: dict[str, np.ndarray] = {}
        self._kinds: dict[str, tuple[np.dtype, tuple[int, ...]]] = {}
        self._filled = 0
        self._free: queue.SimpleQueue[dict[str, np.ndarray]] = queue.SimpleQueue()
        self._blocks = 0

    def add(self, columns: Columns) -> Iterator[dict[str, np.ndarray]]:
        """Takes rows; yields every block that became full. Each must be given back (`give_back`) for the one after the
        next to begin: until then `add` waits."""
        self._check(columns)
        rows = len(next(iter(columns.values())))
        taken = 0
        while taken < rows:
            if not self._columns:
                self._columns = self._empty_block(columns)
            portion = min(rows - taken, self._block_rows - self._filled)
            for name, values in columns.items():
                self._columns[name][self._filled : self._filled + portion] = values[taken : taken + portion]
            self._filled += portion
            taken += portion
            if self._filled == self._block_rows:
                block, self._columns, self._filled = self._columns, {}, 0
                yield block

    def give_back(self, block: dict[str, np.ndarray]) -> None:
        """The block was written; from any thread."""
        self._free.put(block)

    def rest(self) -> dict[str, np.ndarray] | None:
        """The rows that filled no block; None without any."""
        if not self._filled:
            return None
        filled, self._filled = self._filled, 0
        return {name: values[:filled] for name, values in self._columns.items()}

    def _empty_block(self, columns: Columns) -> dict[str, np.ndarray]:
        """A new block, or, when there are two, the one that is given back next."""
        if self._blocks == MAX_BLOCKS:
            return self._free.get()
        self._blocks += 1
        return {
            name: np.empty((self._block_rows, *values.shape[1:]), dtype=values.dtype)
            for name, values in columns.items()
        }

    def _check(self, columns: Columns) -> None:
        got = {name: (values.dtype, values.shape[1:]) for name, values in columns.items()}
        wanted = self._kinds = self._kinds or got
        if wanted != got:
            differing = sorted(name for name in {*wanted, *got} if wanted.get(name) != got.get(name))
            raise DatasetError(
                f"rows of one unit differ in column {differing[0]!r}: wanted"
                f" {wanted.get(differing[0], 'no such column')},"
                f" got {got.get(differing[0], 'no such column')}; give every batch of a unit the same columns"
            )


class PairsFile:
    """One Parquet file in the making, in a scratch folder."""

    def __init__(
        self, path: Path, columns: Columns, skeleton: Skeleton, keypoint_skeleton: Skeleton | None = None
    ) -> None:
        self.path = path
        self.rows = 0
        self._schema = arrow_schema(columns, skeleton, keypoint_skeleton)
        self._sink = DigestingFile(path)
        self._writer = pq.ParquetWriter(
            pa.PythonFile(self._sink, mode="w"),
            self._schema,
            **parquet_options(self._schema),
        )

    def write_row_group(self, columns: Columns) -> None:
        """Appends the rows as one row group."""
        batch = to_arrow(columns, self._schema)
        self._writer.write_table(pa.Table.from_batches([batch]), row_group_size=batch.num_rows)
        self.rows += batch.num_rows

    def close(self) -> None:
        """Writes the footer. Digest and size are known after this."""
        self._writer.close()
        self._sink.close()

    def discard(self) -> None:
        """Gives the file up."""
        with suppress(OSError, pa.ArrowException):
            self._writer.close()
        with suppress(OSError):  # a full disk does not take what is still to be flushed
            self._sink.close()
        self.path.unlink(missing_ok=True)

    @property
    def sha256(self) -> str:
        """Digest of the closed file."""
        return self._sink.hexdigest()

    @property
    def size_bytes(self) -> int:
        """Size of the closed file."""
        return self._sink.size_bytes


def parquet_options(schema: pa.Schema) -> dict[str, Any]:
    """How every pairs file is encoded; part of what makes equal rows equal bytes."""
    return {
        "compression": "zstd",
        "compression_level": COMPRESSION_LEVEL,
        "use_dictionary": [field.name for field in schema if field.type == pa.string()],
        "use_byte_stream_split": _split_columns(schema),
        "write_page_checksum": True,
        "write_statistics": [field.name for field in schema if not _is_tensor(field.type)],
        "write_batch_size": WRITE_BATCH_VALUES,
        "data_page_size": PAGE_BYTES,
    }


def _split_columns(schema: pa.Schema) -> list[str]:
    """Parquet's paths of the float columns, whose bytes compress better when split by significance."""
    return [
        f"{field.name}.list.element" if _is_tensor(field.type) else field.name
        for field in schema
        if pa.types.is_floating(_value_type(field.type))
    ]


def _is_tensor(kind: pa.DataType) -> bool:
    return isinstance(kind, pa.FixedShapeTensorType)


def _value_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if _is_tensor(kind) else kind
