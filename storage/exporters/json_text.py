"""JSON text of whole columns at once, in Arrow: numbers of a million rows without touching single ones.

Numbers are written by the shortest digits that give the same float back in their own type (float32 stays
float32). A "text" here is an array of strings, a JSON value each. NaN becomes null, infinity 1e999, which is
JSON and reads as infinity; minus zero keeps its sign.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_call = pc.call_function


def numbers(values: np.ndarray) -> pa.Array:
    """(B,) numbers or flags as JSON values."""
    if values.dtype == np.float16:
        values = values.astype(np.float32)
    array = pa.array(np.ascontiguousarray(values))
    text = array.cast(pa.string())
    if pa.types.is_floating(array.type):
        text = _call("if_else", [_call("equal", [text, pa.scalar("-0")]), pa.scalar("-0.0"), text])
        if not np.isfinite(values).all():
            text = _special(text, values)
    return text


def _special(text: pa.Array, values: np.ndarray) -> pa.Array:
    infinity = np.where(values > 0, "1e999", "-1e999")
    words = np.where(np.isnan(values), "null", infinity).astype(object)
    return _call("if_else", [pa.array(np.isfinite(values)), text, pa.array(words, pa.string())])


def lists(values: np.ndarray) -> pa.Array:
    """(B, ...) numbers as flat JSON lists, in C order; (B,) as JSON values."""
    if values.ndim == 1:
        return numbers(values)
    rows, per_row = len(values), int(np.prod(values.shape[1:]))
    offsets = pa.array(np.arange(rows + 1, dtype=np.int64) * per_row)
    flat = numbers(values.reshape(-1))
    nested = pa.LargeListArray.from_arrays(offsets, flat.cast(pa.large_string()))
    joined = _call("binary_join", [nested, pa.scalar(",", pa.large_string())])
    return _joined(["[", joined, "]"]).cast(pa.string())


def strings(values: np.ndarray) -> pa.Array:
    """(B,) str as JSON strings; a name that comes often is escaped once."""
    coded = pa.array(values, pa.string(), from_pandas=False).dictionary_encode()
    escaped = pa.array([json.dumps(name) for name in coded.dictionary.to_pylist()], pa.string())
    return escaped.take(coded.indices)


def column(values: np.ndarray) -> pa.Array:
    """Any column: names, numbers or tensors."""
    return strings(values) if values.dtype == object else lists(values)


def objects(fields: Mapping[str, pa.Array | str]) -> pa.Array:
    """One JSON object per row; a plain str is the same JSON value in every row."""
    parts: list[Any] = []
    for number, (name, value) in enumerate(fields.items()):
        parts += [("," if number else "{") + json.dumps(name) + ":", value]
    if not any(isinstance(part, pa.Array) for part in parts):
        raise ValueError("objects: wanted at least one column, got constants only")
    return _joined([*parts, "}"])


def _joined(parts: list[Any]) -> pa.Array:
    large = any(isinstance(part, pa.Array) and part.type == pa.large_string() for part in parts)
    kind = pa.large_string() if large else pa.string()
    ready = [pa.scalar(part, kind) if isinstance(part, str) else part.cast(kind) for part in parts]
    return _call("binary_join_element_wise", [*ready, pa.scalar("", kind)])


def rows_joined(text: pa.Array, separator: str = ",\n") -> bytes:
    """All rows in one piece of text."""
    return separator.join(text.to_pylist()).encode()


def chosen(rows: np.ndarray, text: pa.Array) -> pa.Array:
    """The text of the chosen rows (B,) bool, null elsewhere."""
    return _call("if_else", [pa.array(rows), text, pa.scalar("null", text.type)])
