"""Parquet files with arrays as lists, as the Hugging Face and Delta exports have them."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from poses.batch import PoseBatch
from storage.errors import ImporterError
from storage.exporters.columns import ColumnSpec, batch_of
from storage.exporters.index import ExportedFile
from storage.exporters.parquet_lists import tensor_of
from storage.importers.exported import ExportFolder
from storage.schema import to_numpy

MAX_GROUP_BYTES = 8 << 30
"""Of one row group, before decompression is trusted."""
MAX_GROUP_ROWS = 1 << 22


def read_parquet_lists(folder: ExportFolder) -> Iterator[PoseBatch]:
    """The pairs of every file, row group by row group."""
    for entry in folder.index.files:
        where = folder.where(entry)
        try:
            with folder.open_file(entry) as source:
                yield from _groups(source, entry, folder, where)
        except (pa.ArrowException, OSError, ValueError) as error:
            if isinstance(error, ImporterError):
                raise
            raise ImporterError(f"{where}: wanted Parquet with the index's columns, got: {error}") from error


def _groups(source: Any, entry: ExportedFile, folder: ExportFolder, where: str) -> Iterator[PoseBatch]:
    file = pq.ParquetFile(source, page_checksum_verification=True, pre_buffer=False)
    if file.metadata.num_rows != entry.rows:
        raise ImporterError(
            f"{where}: wanted {entry.rows:,} rows as in the index, got {file.metadata.num_rows:,}"
        )
    names = [spec.name for spec in folder.index.columns]
    missing = sorted(set(names) - set(file.schema_arrow.names))
    if missing:
        raise ImporterError(
            f"{where}: no column {missing[0]!r}; its columns are {', '.join(file.schema_arrow.names)}"
        )
    for group in range(file.metadata.num_row_groups):
        described = file.metadata.row_group(group)
        if described.total_byte_size > MAX_GROUP_BYTES or described.num_rows > MAX_GROUP_ROWS:
            raise ImporterError(
                f"{where}: row group {group} has {described.num_rows:,} rows and {described.total_byte_size:,}"
                f" bytes, more than the {MAX_GROUP_ROWS:,} and {MAX_GROUP_BYTES:,} allowed"
            )
        table = file.read_row_group(group, columns=names)
        columns = {spec.name: _values(table.column(spec.name), spec) for spec in folder.index.columns}
        yield batch_of(columns, folder.skeleton)


def _values(column: pa.ChunkedArray, spec: ColumnSpec) -> np.ndarray:
    """A column in the spec's type. Raises ValueError if it has another."""
    if spec.shape:
        return tensor_of(column, spec)
    if column.null_count:
        raise ValueError(f"column {spec.name!r}: wanted no nulls, got {column.null_count:,}")
    values = to_numpy(column)
    if values.dtype != spec.numpy_dtype:
        raise ValueError(f"column {spec.name!r}: wanted {spec.dtype}, got {values.dtype}")
    return values
