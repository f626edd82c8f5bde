"""Parquet files for readers that do not know Arrow's tensor type: arrays as lists of numbers.

`nested`: fixed-size lists in lists, as Hugging Face `datasets` turns into arrays. `flat`: one plain list per
row in C order, as Delta Lake's schema can say it.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from poses.batch import PoseBatch
from poses.skeleton import Skeleton
from storage.exporters.columns import ColumnSpec
from storage.exporters.selection import PairsSelection
from storage.exporters.target import OpenFile
from storage.pairs_file import COMPRESSION_LEVEL
from storage.schema import arrow_schema, batch_columns

ROW_GROUP_ROWS = 32_768

Lists = Literal["nested", "flat"]


def lists_schema(specs: Sequence[ColumnSpec], skeleton: Skeleton, lists: Lists) -> pa.Schema:
    """The Arrow schema of the columns, with the skeleton as metadata."""
    fields = [pa.field(spec.name, _type(spec, lists), nullable=lists == "flat") for spec in specs]
    return pa.schema(fields, metadata=arrow_schema({}, skeleton).metadata)


def lists_table(
    columns: Mapping[str, np.ndarray], specs: Sequence[ColumnSpec], schema: pa.Schema
) -> pa.Table:
    """The columns as a table; arrays are not copied."""
    arrays = [_array(columns[spec.name], spec, field.type) for spec, field in zip(specs, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def tensor_of(column: pa.ChunkedArray, spec: ColumnSpec) -> np.ndarray:
    """(B, ...) numbers out of a list column of either kind.

    Raises:
        ValueError: if rows do not all have the spec's number of values, or a value is null.
    """
    array = column.combine_chunks()
    flat = pa.concat_arrays(array.chunks) if isinstance(array, pa.ChunkedArray) else array
    rows = len(flat)
    while pa.types.is_list(flat.type) or pa.types.is_fixed_size_list(flat.type):
        _refuse_nulls(flat, spec)
        if pa.types.is_list(flat.type):
            _refuse_ragged(flat, spec)
        flat = flat.flatten()
    _refuse_nulls(flat, spec)
    values = flat.to_numpy(zero_copy_only=False).astype(spec.numpy_dtype, copy=False)
    return values.reshape(rows, *spec.shape)


class ListsFile:
    """One Parquet file in the making.

    Args:
        file: Where it goes.
        selection: Gives columns and skeleton.
        lists: How arrays are written.
    """

    def __init__(self, file: OpenFile, selection: PairsSelection, lists: Lists) -> None:
        self.rows = 0
        self._file, self._specs = file, selection.columns
        self._schema = lists_schema(selection.columns, selection.skeleton, lists)
        self._writer = pq.ParquetWriter(
            pa.PythonFile(file.sink, mode="w"), self._schema, **_parquet_options(self._schema)
        )

    def write(self, pairs: PoseBatch) -> None:
        """Appends pairs as one row group."""
        table = lists_table(batch_columns(pairs), self._specs, self._schema)
        self._writer.write_table(table, row_group_size=max(1, table.num_rows))
        self.rows += len(pairs)

    def finish(self) -> None:
        """Writes the footer; the file joins the export."""
        self._writer.close()
        self._file.finish(self.rows)

    def discard(self) -> None:
        """Gives the file up."""
        with suppress(OSError, pa.ArrowException):
            self._writer.close()
        self._file.discard()


def write_lists_file(file: OpenFile, selection: PairsSelection, lists: Lists, pairs: PoseBatch) -> None:
    """Writes pairs as one file, in row groups of `ROW_GROUP_ROWS`; a file that fails is given up."""
    made = ListsFile(file, selection, lists)
    try:
        for start in range(0, len(pairs), ROW_GROUP_ROWS):
            made.write(pairs.take(slice(start, start + ROW_GROUP_ROWS)))
    except BaseException:
        made.discard()
        raise
    made.finish()


def _parquet_options(schema: pa.Schema) -> dict[str, Any]:
    nested = {field.name for field in schema if pa.types.is_nested(field.type)}
    return {
        "compression": "zstd",
        "compression_level": COMPRESSION_LEVEL,
        "use_dictionary": [field.name for field in schema if field.type == pa.string()],
        "write_page_checksum": True,
        "write_statistics": [field.name for field in schema if field.name not in nested],
    }


def _type(spec: ColumnSpec, lists: Lists) -> pa.DataType:
    kind = pa.string() if spec.dtype == "string" else pa.from_numpy_dtype(spec.numpy_dtype)
    if not spec.shape:
        return kind
    if lists == "flat":
        return pa.list_(pa.field("element", kind))
    for size in reversed(spec.shape):
        kind = pa.list_(kind, size)
    return kind


def _array(values: np.ndarray, spec: ColumnSpec, kind: pa.DataType) -> pa.Array:
    if not spec.shape:
        return pa.array(values, type=kind, from_pandas=False)
    flat = pa.array(np.ascontiguousarray(values).reshape(-1))
    if pa.types.is_list(kind):
        offsets = np.arange(len(values) + 1, dtype=np.int32) * spec.values_per_row
        return pa.ListArray.from_arrays(pa.array(offsets), flat, type=kind)
    for size in reversed(spec.shape):
        flat = pa.FixedSizeListArray.from_arrays(flat, size)
    return flat.cast(kind)


def _refuse_nulls(array: pa.Array, spec: ColumnSpec) -> None:
    if array.null_count:
        raise ValueError(f"column {spec.name!r}: wanted no nulls, got {array.null_count:,}")


def _refuse_ragged(array: pa.Array, spec: ColumnSpec) -> None:
    lengths = np.diff(array.offsets.to_numpy())
    if len(lengths) and not (lengths == spec.values_per_row).all():
        raise ValueError(
            f"column {spec.name!r}: wanted {spec.values_per_row} values in every row, got"
            f" {int(lengths.min())} to {int(lengths.max())}"
        )
