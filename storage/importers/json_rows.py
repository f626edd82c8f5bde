"""Columns out of JSON objects, one a row: with the index's types and shapes, or an error that names the row."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from storage.errors import ImporterError
from storage.exporters.columns import ColumnSpec


def parse_json(data: bytes, where: str) -> Any:
    """A JSON document. Raises ImporterError if it is none."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError, MemoryError) as error:
        raise ImporterError(f"{where}: wanted JSON, got: {error or type(error).__name__}") from error


def json_objects(values: Any, where: str) -> list[dict[str, Any]]:
    """A list of JSON objects, checked."""
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise ImporterError(
            f"{where}: wanted a list of JSON objects, got {type(values).__name__} of other values"
        )
    return values


def json_column(rows: Sequence[dict[str, Any]], key: str, spec: ColumnSpec, where: str) -> np.ndarray:
    """One column of all rows.

    Args:
        rows: One object a row; arrays are flat lists.
        key: Of the column in the objects.
        spec: Its type and shape.
        where: Names the file in errors.

    Raises:
        ImporterError: if a row lacks the key or has another type or number of values.
    """
    missing = next((number for number, row in enumerate(rows) if key not in row), None)
    if missing is not None:
        raise ImporterError(
            f"{where}: row {missing} has no {key!r}; is it an export of posemill, of this version?"
        )
    values = [row[key] for row in rows]
    if spec.dtype == "string":
        return _texts(values, key, where)
    wanted = (len(rows), spec.values_per_row) if spec.shape else (len(rows),)
    array = _numbers(values, spec, f"{where}: {key!r}")
    if array.shape != wanted:
        raise ImporterError(f"{where}: {key!r}: wanted {wanted} values, got {array.shape}")
    return array.reshape(len(rows), *spec.shape)


def _texts(values: list[Any], key: str, where: str) -> np.ndarray:
    odd = next((number for number, value in enumerate(values) if not isinstance(value, str)), None)
    if odd is not None:
        raise ImporterError(f"{where}: row {odd}: {key!r}: wanted text, got {type(values[odd]).__name__}")
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _numbers(values: list[Any], spec: ColumnSpec, where: str) -> np.ndarray:
    """(B, ...) in the spec's type; null is NaN where the type has one."""
    kind = spec.numpy_dtype
    if not values:
        return np.zeros((0, spec.values_per_row) if spec.shape else (0,), kind)
    try:
        if kind.kind == "f":
            return _floats(values, kind)
        if kind == np.uint64:
            return _large_integers(values)
        array = np.asarray(values)
        if spec.values_per_row == 0:
            return array.astype(kind)
        if array.dtype.kind not in ("b" if kind.kind == "b" else "iu"):
            raise ValueError(f"wanted {spec.dtype}, got {array.dtype}")
        narrow = array.astype(kind)
        if not (narrow == array).all():
            raise ValueError(f"wanted {spec.dtype}, got values that do not fit")
        return narrow
    except (ValueError, TypeError, OverflowError) as error:
        raise ImporterError(
            f"{where}: wanted {spec.dtype} with the same count in every row: {error}"
        ) from error


def _large_integers(values: list[Any]) -> np.ndarray:
    """uint64, which numpy would take for floats where some are above and some below 2^63."""
    exact = np.asarray(values, dtype=object)
    if not all(type(value) is int and 0 <= value < 2**64 for value in exact.reshape(-1).tolist()):
        raise ValueError("wanted whole numbers from 0 to 2^64 - 1")
    return exact.astype(np.uint64)


def _floats(values: list[Any], kind: np.dtype) -> np.ndarray:
    """Floats by way of double precision, as JSON has them; text is no number."""
    exact = np.asarray(values, dtype=object if _holds_null(values) else None)
    if exact.dtype.kind in "US":
        raise ValueError("wanted numbers, got text")
    with np.errstate(over="ignore"):
        return exact.astype(np.float64).astype(kind)


def _holds_null(values: list[Any]) -> bool:
    return any(value is None or (isinstance(value, list) and None in value) for value in values)
