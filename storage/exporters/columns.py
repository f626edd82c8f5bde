"""What columns an export has: the core ones, and every extra column of any file of the dataset.

A file that lacks an extra column gives NaN, -1, 0, False or "" there, as `Dataset.read_pairs` does.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, model_validator

from poses.batch import PoseBatch
from poses.skeleton import Skeleton
from storage.commit import FileEntry
from storage.errors import DatasetError, ShardError
from storage.object_store import ObjectStore
from storage.schema import CORE_COLUMNS, INTEGER_COLUMNS, NAME_COLUMNS, tensor_shape

MAX_VALUES_PER_ROW = 65_535
"""Of one column; what reads an index from outside refuses more."""

ColumnType = Literal[
    "string", "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "float16", "float32", "float64",
]  # fmt: skip

_GAPS = {"f": np.nan, "i": -1, "u": 0, "b": False, "O": ""}


class ColumnSpec(BaseModel):
    """Name, type and shape of one row of a column."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=200)]
    dtype: ColumnType
    shape: Annotated[tuple[Annotated[int, Field(ge=0, le=MAX_VALUES_PER_ROW)], ...], Field(max_length=4)] = ()

    @model_validator(mode="after")
    def _is_of_human_size(self) -> "ColumnSpec":
        if prod(self.shape) > MAX_VALUES_PER_ROW:
            raise ValueError(
                f"column {self.name!r}: {prod(self.shape):,} values in a row, at most {MAX_VALUES_PER_ROW:,}"
            )
        return self

    @property
    def numpy_dtype(self) -> np.dtype:
        """The type of the column's array; strings are objects."""
        return np.dtype(object) if self.dtype == "string" else np.dtype(self.dtype)

    @property
    def values_per_row(self) -> int:
        """Numbers in one row."""
        return prod(self.shape)

    def gap(self, rows: int) -> np.ndarray:
        """Rows of a file that does not have the column."""
        return np.full((rows, *self.shape), _GAPS[self.numpy_dtype.kind], dtype=self.numpy_dtype)


def core_specs(skeleton: Skeleton) -> tuple[ColumnSpec, ...]:
    """The columns that every dataset has, in their order."""
    specs: list[ColumnSpec] = []
    for name in CORE_COLUMNS:
        if name in INTEGER_COLUMNS:
            specs.append(ColumnSpec.model_validate({"name": name, "dtype": INTEGER_COLUMNS[name]}))
        elif name in NAME_COLUMNS:
            specs.append(ColumnSpec(name=name, dtype="string"))
        else:
            specs.append(ColumnSpec(name=name, dtype="float32", shape=tensor_shape(name, skeleton)))
    return tuple(specs)


def extra_specs(store: ObjectStore, entries: Sequence[FileEntry]) -> tuple[ColumnSpec, ...]:
    """Every extra column of any of the files, by name; only footers are read.

    Raises:
        DatasetError: if two files have a column in different types, or one in a type that no array has.
        ShardError: if a footer cannot be read.
    """
    found: dict[str, ColumnSpec] = {}
    for entry in entries:
        for field in read_arrow_schema(store, entry):
            if field.name in CORE_COLUMNS:
                continue
            spec = _spec_of(field, f"{store.url}/{entry.path}")
            if found.setdefault(field.name, spec) != spec:
                raise DatasetError(
                    f"{store.url}/{entry.path}: column {field.name!r} is {_words(spec)} here and"
                    f" {_words(found[field.name])} in another file; export them apart with --parts, or make"
                    " the dataset again with one type"
                )
    return tuple(found[name] for name in sorted(found))


def read_arrow_schema(store: ObjectStore, entry: FileEntry) -> pa.Schema:
    """The Arrow schema of one pairs file. Raises ShardError if there is none."""
    try:
        with store.open_input(entry.path) as source:
            return pq.read_schema(source)
    except (pa.ArrowException, OSError) as error:
        raise ShardError(
            f"{store.url}/{entry.path}: wanted a Parquet file with a footer, got: {error}; run `posemill"
            " verify`"
        ) from error


def same_extra(batch: PoseBatch, specs: Iterable[ColumnSpec]) -> PoseBatch:
    """The batch with exactly these extra columns, gaps filled."""
    extra = {
        spec.name: np.asarray(batch.extra[spec.name]) if spec.name in batch.extra else spec.gap(len(batch))
        for spec in specs
    }
    return PoseBatch(
        skeleton=batch.skeleton, extra=extra, **{name: getattr(batch, name) for name in CORE_COLUMNS}
    )


def batch_of(columns: Mapping[str, np.ndarray], skeleton: Skeleton) -> PoseBatch:
    """A batch of whole columns, core and extra."""
    extra = {name: values for name, values in columns.items() if name not in CORE_COLUMNS}
    core: dict[str, Any] = {name: columns[name] for name in CORE_COLUMNS}
    return PoseBatch(skeleton=skeleton, extra=extra, **core)


def _spec_of(field: pa.Field, where: str) -> ColumnSpec:
    kind, shape = field.type, ()
    if isinstance(kind, pa.FixedShapeTensorType):
        kind, shape = kind.value_type, tuple(kind.shape)
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    name = "string" if pa.types.is_string(kind) or pa.types.is_large_string(kind) else str(kind)
    name = {"halffloat": "float16", "float": "float32", "double": "float64"}.get(name, name)
    try:
        return ColumnSpec.model_validate({"name": field.name, "dtype": name, "shape": shape})
    except ValueError as error:
        raise DatasetError(
            f"{where}: column {field.name!r} has the type {field.type}, which no export can hold; leave the"
            " file out"
        ) from error


def _words(spec: ColumnSpec) -> str:
    return f"{spec.dtype} {spec.shape}" if spec.shape else spec.dtype
