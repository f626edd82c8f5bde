"""Columns and statistics of a Parquet file as Delta Lake's log says them.

Tensor columns are lists of numbers there. Delta has no unsigned integers and no half floats: unsigned ones go
as the next larger signed type, uint64 and float16 columns are left out (the files keep them).
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from storage.errors import DatasetError

_PRIMITIVES = {
    pa.int8(): "byte",
    pa.int16(): "short",
    pa.int32(): "integer",
    pa.int64(): "long",
    pa.uint8(): "short",
    pa.uint16(): "integer",
    pa.uint32(): "long",
    pa.float32(): "float",
    pa.float64(): "double",
    pa.bool_(): "boolean",
    pa.string(): "string",
    pa.large_string(): "string",
}
MAX_TEXT_STATISTIC = 200
"""Longer names give no minimum and maximum."""


@dataclass(frozen=True)
class DeltaFields:
    """Fields of a Delta schema by name, in order."""

    types: Mapping[str, Any]

    @property
    def schema_string(self) -> str:
        """The JSON text that a `metaData` action holds."""
        fields = [
            {"name": name, "type": kind, "nullable": True, "metadata": {}}
            for name, kind in self.types.items()
        ]
        return json.dumps({"type": "struct", "fields": fields})

    @classmethod
    def parse(cls, schema_string: str) -> "DeltaFields":
        """The fields of a schema that is in a log."""
        fields = json.loads(schema_string)["fields"]
        return cls({field["name"]: field["type"] for field in fields})

    def widened(self, others: Iterable["DeltaFields"]) -> "DeltaFields":
        """All fields of all; new ones at the end.

        Raises:
            DatasetError: if one name has two types.
        """
        types = dict(self.types)
        for other in others:
            for name, kind in other.types.items():
                if types.setdefault(name, kind) != kind:
                    raise DatasetError(
                        f"column {name!r} is {_words(types[name])} in the Delta table and {_words(kind)} in a"
                        " new file; a Delta table has one type for a column: write the new rows to another"
                        " dataset"
                    )
        return DeltaFields(types)


def delta_fields(schema: pa.Schema) -> DeltaFields:
    """The fields of a Parquet file, without those that Delta cannot say."""
    known = {field.name: _delta_type(field.type) for field in schema}
    return DeltaFields({name: kind for name, kind in known.items() if kind is not None})


def delta_statistics(metadata: pq.FileMetaData, fields: DeltaFields) -> str:
    """Row count, and least and greatest value of every plain column, as an `add` action holds them."""
    least: dict[str, Any] = {}
    greatest: dict[str, Any] = {}
    for column in range(metadata.num_columns):
        name = metadata.schema.column(column).path
        found = [_range(metadata.row_group(group).column(column)) for group in range(metadata.num_row_groups)]
        if not isinstance(fields.types.get(name), str) or not found or None in found:
            continue
        least[name] = min(pair[0] for pair in found if pair is not None)
        greatest[name] = max(pair[1] for pair in found if pair is not None)
    statistics = {"numRecords": metadata.num_rows, "minValues": least, "maxValues": greatest, "nullCount": {}}
    return json.dumps(statistics, allow_nan=False)


def _range(chunk: pq.ColumnChunkMetaData) -> tuple[Any, Any] | None:
    """Least and greatest value of one column of one row group; None where they are not known exactly."""
    found = chunk.statistics
    if found is None or not found.has_min_max or isinstance(found.min, bool | bytes):
        return None
    if isinstance(found.min, float) and not (abs(found.min) < float("inf") and abs(found.max) < float("inf")):
        return None
    if isinstance(found.min, str) and max(len(found.min), len(found.max)) > MAX_TEXT_STATISTIC:
        return None
    return found.min, found.max


def _delta_type(kind: pa.DataType) -> Any:
    """A type of Delta's schema, or None."""
    if isinstance(kind, pa.FixedShapeTensorType):
        kind = pa.list_(kind.value_type)
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        element = _delta_type(kind.value_type)
        return None if element is None else {"type": "array", "elementType": element, "containsNull": True}
    return _PRIMITIVES.get(kind)


def _words(kind: Any) -> str:
    return kind if isinstance(kind, str) else f"array of {_words(kind['elementType'])}"
