"""Doors to other engines: pyarrow datasets and Ray Data. Both see the files of one manifest only."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.dataset as arrow_dataset

from storage.errors import DatasetError

if TYPE_CHECKING:
    from storage.reader import Dataset


def pairs_as_arrow(dataset: "Dataset") -> arrow_dataset.FileSystemDataset:
    """A `pyarrow.dataset` over the pairs files; a column that a file does not have is null there.

    Raises:
        DatasetError: if the dataset has no pairs.
    """
    store, entries = dataset.store, _some_pairs(dataset)
    paths = [store.arrow_path(entry.path) for entry in entries]
    source = arrow_dataset.dataset(paths, format="parquet", filesystem=store.arrow_filesystem())
    schemas = [fragment.physical_schema for fragment in source.get_fragments()]
    return arrow_dataset.dataset(
        paths, format="parquet", filesystem=store.arrow_filesystem(), schema=_common_schema(schemas)
    )


def _common_schema(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """Every column of any file; one that a file lacks may be null."""
    merged = pa.unify_schemas([schema.remove_metadata() for schema in schemas])
    everywhere = set.intersection(*(set(schema.names) for schema in schemas))
    fields = [field if field.name in everywhere else field.with_nullable(True) for field in merged]
    return pa.schema(fields, metadata=schemas[0].metadata)


def pairs_as_ray(dataset: "Dataset", columns: Sequence[str] | None = None, **options: Any) -> Any:
    """A `ray.data.Dataset` over the pairs files; `options` go to `ray.data.read_parquet`.

    Raises:
        DatasetError: if Ray Data cannot be imported, or the dataset has no pairs.
    """
    try:
        import ray.data
    except ImportError as error:
        raise DatasetError(
            f"to_ray: Ray Data cannot be imported: {error}; pip install 'ray[data]'"
        ) from error
    store, entries = dataset.store, _some_pairs(dataset)
    paths = [store.arrow_path(entry.path) for entry in entries]
    wanted = None if columns is None else list(columns)
    return ray.data.read_parquet(paths, filesystem=store.arrow_filesystem(), columns=wanted, **options)


def _some_pairs(dataset: "Dataset") -> Sequence[Any]:
    if not dataset.pair_files:
        raise DatasetError(
            f"{dataset.store.url}: version {dataset.manifest.version} has no pairs; it has clips only"
        )
    return dataset.pair_files
