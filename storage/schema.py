"""The columns of a pairs file, and how they become a PoseBatch and back without touching single rows.

Arrays are `arrow.fixed_shape_tensor` columns with named dimensions: Arrow, Ray Data and PyTorch see them as
arrays, DuckDB and Polars as lists. Names are strings (dictionary-encoded by Parquet only). Whatever a stage
puts into `PoseBatch.extra` becomes a column under its own name.
"""

import json
from collections.abc import Iterable, Mapping

import numpy as np
import pyarrow as pa

from poses.batch import PoseBatch, other_keypoints
from poses.skeleton import Skeleton
from storage.errors import DatasetError, ShardError
from storage.manifest import layout_version

TENSOR_COLUMNS: dict[str, tuple[str, ...]] = {
    "joints_camera_m": ("joint", "xyz"),
    "keypoints_px": ("joint", "uv"),
    "keypoint_confidence": ("joint",),
    "camera_px": ("camera_field",),
}
"""float32 columns with the names of their dimensions."""

KEYPOINT_COLUMNS = ("keypoints_px", "keypoint_confidence")
"""Columns whose joints are the keypoint skeleton's, where a dataset has one."""

INTEGER_COLUMNS: dict[str, str] = {
    "sample_id": "int64",
    "source_id": "int64",
    "copy": "int32",
    "frame": "int32",
}

NAME_COLUMNS = ("clip", "subject", "action", "camera_name")

CORE_COLUMNS = (*INTEGER_COLUMNS, *NAME_COLUMNS, *TENSOR_COLUMNS)

METADATA_SCHEMA_VERSION = b"posemill.schema_version"
METADATA_SKELETON = b"posemill.skeleton"
METADATA_KEYPOINTS = b"posemill.keypoint_skeleton"

Columns = Mapping[str, np.ndarray]
"""Column name -> rows: numbers (B, ...) or object arrays of str (B,)."""


def batch_columns(batch: PoseBatch) -> dict[str, np.ndarray]:
    """The columns of a batch, core first, then `extra` by name.

    Raises:
        DatasetError: if an extra column has the name of a core column, or a type that has no column.
    """
    columns = {name: np.asarray(getattr(batch, name), dtype=kind) for name, kind in INTEGER_COLUMNS.items()}
    columns |= {name: np.asarray(getattr(batch, name), dtype=object) for name in NAME_COLUMNS}
    columns |= {name: np.asarray(getattr(batch, name), dtype=np.float32) for name in TENSOR_COLUMNS}
    for name in sorted(batch.extra):
        if name in columns:
            raise DatasetError(f"extra column {name!r} has the name of a core column; choose another name")
        columns[name] = _extra_values(name, np.asarray(batch.extra[name]))
    return columns


def _extra_values(name: str, values: np.ndarray) -> np.ndarray:
    """The values of an extra column in a type that has a column."""
    if values.dtype.kind == "U":
        values = values.astype(object)
    is_array = values.dtype.kind in "iuf" and values.dtype.itemsize <= 8
    is_list = values.dtype == object or values.dtype.kind == "b"
    if is_array or (is_list and values.ndim == 1):
        return values
    raise DatasetError(
        f"extra column {name!r}: wanted integers or floats (B, ...), or bool or str (B,), got"
        f" {values.dtype} with"
        f" shape {values.shape}; flags with more axes go as uint8"
    )


def arrow_schema(
    columns: Columns, skeleton: Skeleton, keypoint_skeleton: Skeleton | None = None
) -> pa.Schema:
    """The Arrow schema of these columns, with the skeletons and the layout's version as metadata."""
    fields = [pa.field(name, _arrow_type(name, values), nullable=False) for name, values in columns.items()]
    return pa.schema(fields, metadata=_metadata(skeleton, keypoint_skeleton))


def _metadata(skeleton: Skeleton, keypoint_skeleton: Skeleton | None) -> dict[bytes, bytes]:
    other = other_keypoints(skeleton, keypoint_skeleton)
    values = {
        METADATA_SCHEMA_VERSION: str(layout_version(other is not None)).encode(),
        METADATA_SKELETON: _tree(skeleton),
    }
    return values if other is None else values | {METADATA_KEYPOINTS: _tree(other)}


def _tree(skeleton: Skeleton) -> bytes:
    tree = {"name": skeleton.name, "joints": skeleton.joints, "parents": skeleton.parents}
    return json.dumps(tree, default=int).encode()


def _arrow_type(name: str, values: np.ndarray) -> pa.DataType:
    if values.dtype == object:
        return pa.string()
    kind = pa.from_numpy_dtype(values.dtype)
    if values.ndim == 1:
        return kind
    names = TENSOR_COLUMNS.get(name)
    return pa.fixed_shape_tensor(
        kind, list(values.shape[1:]), dim_names=None if names is None else list(names)
    )


def to_arrow(columns: Columns, schema: pa.Schema) -> pa.RecordBatch:
    """The columns as one record batch; contiguous number arrays are not copied."""
    return pa.RecordBatch.from_arrays(
        [_to_array(columns[field.name], field.type) for field in schema], schema=schema
    )


def _to_array(values: np.ndarray, kind: pa.DataType) -> pa.Array:
    if values.dtype == object:
        return pa.array(values, type=pa.string(), from_pandas=False)
    if values.ndim == 1:
        return pa.array(values, type=kind)
    flat = pa.array(np.ascontiguousarray(values).reshape(-1))
    return pa.ExtensionArray.from_storage(
        kind, pa.FixedSizeListArray.from_arrays(flat, type=kind.storage_type)
    )


def to_numpy(column: pa.ChunkedArray) -> np.ndarray:
    """A column's rows as numpy, without a copy where Arrow's layout allows it; read-only then."""
    array = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks)
    if isinstance(array, pa.FixedShapeTensorArray):
        return array.to_numpy_ndarray()
    if isinstance(array, pa.DictionaryArray):
        return array.dictionary.to_numpy(zero_copy_only=False)[array.indices.to_numpy(zero_copy_only=False)]
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        return array.to_numpy(zero_copy_only=False)
    return array.to_numpy(zero_copy_only=False)


def to_batch(columns: Columns, skeleton: Skeleton, keypoint_skeleton: Skeleton | None = None) -> PoseBatch:
    """A PoseBatch of read columns; core columns that were not read are NaN, -1 or "", and take no memory."""
    rows = len(next(iter(columns.values()))) if columns else 0
    core = {
        name: columns[name] if name in columns else _absent(name, rows, skeleton, keypoint_skeleton)
        for name in CORE_COLUMNS
    }
    extra = {name: values for name, values in columns.items() if name not in CORE_COLUMNS}
    return PoseBatch(skeleton=skeleton, extra=extra, keypoint_skeleton=keypoint_skeleton, **core)


def _absent(name: str, rows: int, skeleton: Skeleton, keypoint_skeleton: Skeleton | None) -> np.ndarray:
    """A core column that was not asked for, as a view on one value."""
    if name in NAME_COLUMNS:
        return np.broadcast_to(np.array("", dtype=object), (rows,))
    if name in INTEGER_COLUMNS:
        return np.broadcast_to(np.array(-1, dtype=INTEGER_COLUMNS[name]), (rows,))
    return np.broadcast_to(np.float32(np.nan), (rows, *tensor_shape(name, skeleton, keypoint_skeleton)))


def tensor_shape(name: str, skeleton: Skeleton, keypoint_skeleton: Skeleton | None = None) -> tuple[int, ...]:
    """Shape of one row of a core tensor column."""
    owner = keypoint_skeleton or skeleton if name in KEYPOINT_COLUMNS else skeleton
    sizes = {"joint": owner.n_joints, "xyz": 3, "uv": 2, "camera_field": 11}
    return tuple(sizes[dimension] for dimension in TENSOR_COLUMNS[name])


def check_schema(
    schema: pa.Schema, skeleton: Skeleton, where: str, keypoint_skeleton: Skeleton | None = None
) -> None:
    """Raises ShardError unless a pairs file has every core column, in its type, for these skeletons."""
    for fault in schema_faults(schema, skeleton, keypoint_skeleton):
        raise ShardError(
            f"{where}: {fault}; the file is not of this dataset or is damaged, run `posemill verify`"
        )


def schema_faults(
    schema: pa.Schema, skeleton: Skeleton, keypoint_skeleton: Skeleton | None = None
) -> Iterable[str]:
    """What is wrong with the schema of a pairs file, one sentence each."""
    found, wanted = schema.metadata or {}, _metadata(skeleton, keypoint_skeleton)
    version, wanted_version = (
        data.get(METADATA_SCHEMA_VERSION, b"none").decode() for data in (found, wanted)
    )
    if version != wanted_version:
        yield f"wanted schema version {wanted_version}, got {version}"
    if found.get(METADATA_SKELETON) != wanted[METADATA_SKELETON]:
        yield f"the file's skeleton is not the dataset's, {skeleton.name!r}"
    if found.get(METADATA_KEYPOINTS) != wanted.get(METADATA_KEYPOINTS):
        named = (keypoint_skeleton or skeleton).name
        yield f"the skeleton of the file's keypoints is not the dataset's, {named!r}"
    for name in CORE_COLUMNS:
        if name not in schema.names:
            yield f"column {name!r} is missing"
            continue
        kind = schema.field(name).type
        expected = expected_type(name, skeleton, keypoint_skeleton)
        if kind != expected and not (pa.types.is_dictionary(kind) and kind.value_type == expected):
            yield f"column {name!r}: wanted {expected}, got {kind}"


def expected_type(name: str, skeleton: Skeleton, keypoint_skeleton: Skeleton | None = None) -> pa.DataType:
    """The Arrow type of a core column."""
    if name in NAME_COLUMNS:
        return pa.string()
    if name in INTEGER_COLUMNS:
        return pa.from_numpy_dtype(np.dtype(INTEGER_COLUMNS[name]))
    shape = list(tensor_shape(name, skeleton, keypoint_skeleton))
    return pa.fixed_shape_tensor(pa.float32(), shape, dim_names=list(TENSOR_COLUMNS[name]))
