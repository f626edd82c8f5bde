"""Reading a dataset. A reader opens one version and sees the files of its manifest, nothing else."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from poses.batch import PoseBatch
from poses.motion import MotionClip
from poses.skeleton import Skeleton
from storage.commit import FileEntry
from storage.errors import DatasetError
from storage.manifest import Manifest, manifest_keypoint_skeleton, manifest_skeleton, read_manifest
from storage.object_store import ObjectStore, open_store
from storage.pairs_reader import PairsReader
from storage.quarantine import QuarantinedRow, read_quarantine
from storage.schema import CORE_COLUMNS, to_batch

if TYPE_CHECKING:
    import pyarrow.dataset as arrow_dataset

    from storage.torch_reader import TorchPairs

DEFAULT_BATCH_ROWS = 65_536


class Dataset:
    """One version of a posemill dataset, for reading.

    Args:
        store: The dataset's root.
        manifest: The version.
    """

    def __init__(self, store: ObjectStore, manifest: Manifest) -> None:
        self.store = store
        self.manifest = manifest
        self.skeleton: Skeleton = manifest_skeleton(store, manifest)
        self.keypoint_skeleton: Skeleton | None = manifest_keypoint_skeleton(store, manifest)
        """Of the 2D keypoints where they have other joints than the poses; else None."""

    @classmethod
    def open(cls, url: str | Path, version: int | None = None) -> "Dataset":
        """Opens a dataset; its latest version without a number.

        Raises:
            DatasetError: if there is no dataset at the path or URL, or not this version.
            ManifestError: if the manifest cannot be trusted.
        """
        store = open_store(url)
        return cls(store, read_manifest(store, version))

    @property
    def n_pairs(self) -> int:
        """Pairs in all files."""
        return self.manifest.rows

    @property
    def pair_files(self) -> tuple[FileEntry, ...]:
        """The pairs files, in manifest order."""
        return self.manifest.files_of("pairs")

    @property
    def sequence_files(self) -> tuple[FileEntry, ...]:
        """The Zarr groups of whole motions, in manifest order."""
        return self.manifest.files_of("sequences")

    def file_urls(self, kind: str = "pairs") -> list[str]:
        """What DuckDB's `read_parquet` or Polars' `scan_parquet` take: this version's files."""
        return [self.store.url_of(file.path) for file in self.manifest.files_of(kind)]

    def open_pairs(self, path: str) -> PairsReader:
        """One pairs file of this version, for reading by row groups or row ranges."""
        return PairsReader(self.store, self._entry(path), self.skeleton, self.keypoint_skeleton)

    def batch_of(self, columns: Mapping[str, np.ndarray]) -> PoseBatch:
        """Columns that one of its readers gave, as a batch."""
        return to_batch(columns, self.skeleton, self.keypoint_skeleton)

    @property
    def keypoints_of(self) -> Skeleton:
        """What the keypoints are: `keypoint_skeleton`, or the skeleton."""
        return self.keypoint_skeleton or self.skeleton

    def iter_batches(
        self,
        batch_rows: int = DEFAULT_BATCH_ROWS,
        columns: Sequence[str] | None = None,
        files: Sequence[str] | None = None,
    ) -> Iterator[PoseBatch]:
        """All pairs in file order, in batches that never cross a row group.

        Arrays are read-only views on the memory that Parquet was decoded into.

        Args:
            batch_rows: Rows a batch at most.
            columns: Columns to read; all without. Core columns that are left out are NaN, -1 or "".
            files: Paths of files to read, as in the manifest; all without.

        Raises:
            ShardError: if a file is not what the manifest says.
            DatasetError: if a file or column is not in the dataset.
        """
        if batch_rows < 1:
            raise DatasetError(f"iter_batches: wanted batch_rows of 1 or more, got {batch_rows}")
        entries = self.pair_files if files is None else [self._entry(path) for path in files]
        for entry in entries:
            reader = PairsReader(self.store, entry, self.skeleton, self.keypoint_skeleton)
            for group in range(reader.n_groups):
                batch = self.batch_of(reader.read_group(group, columns))
                if len(batch) <= batch_rows:
                    yield batch
                    continue
                for start in range(0, len(batch), batch_rows):
                    yield batch.take(slice(start, start + batch_rows))

    def read_rows(self, path: str, start: int, stop: int, columns: Sequence[str] | None = None) -> PoseBatch:
        """The rows [start, stop) of one pairs file, as a unit of work asks for them."""
        return self.batch_of(self.open_pairs(path).read_rows(start, stop, columns))

    def read_pairs(self, columns: Sequence[str] | None = None) -> PoseBatch:
        """All pairs in memory, in file order.

        Extra columns that only some files have are filled up with NaN, -1, False or "".
        """
        batches = list(self.iter_batches(columns=columns))
        if not batches:
            return PoseBatch.empty(self.skeleton, self.keypoint_skeleton)
        return batches[0] if len(batches) == 1 else PoseBatch.concat(with_same_extra(batches))

    def clips(self) -> Iterator[MotionClip]:
        """Every whole motion of the dataset, group by group."""
        from storage.sequences import read_clips  # Zarr takes a second to import, and few readers want clips

        for entry in self.sequence_files:
            yield from read_clips(self.store, entry, self.skeleton)

    def quarantined_rows(self) -> Iterator[QuarantinedRow]:
        """Every row that could not be used."""
        for entry in self.manifest.files_of("quarantine"):
            yield from read_quarantine(self.store, entry.path)

    def to_arrow(self) -> "arrow_dataset.FileSystemDataset":
        """This version's pairs as a `pyarrow.dataset` (lazy: filters, columns, `to_table()`)."""
        from storage.adapters import pairs_as_arrow

        return pairs_as_arrow(self)

    def to_ray(self, columns: Sequence[str] | None = None, **options: Any) -> Any:
        """This version's pairs as a `ray.data.Dataset`; tensor columns arrive as arrays. Needs Ray."""
        from storage.adapters import pairs_as_ray

        return pairs_as_ray(self, columns, **options)

    def to_torch(self, **options: Any) -> "TorchPairs":
        """This version's pairs as a torch `IterableDataset`; see `storage.torch_reader.TorchPairs`."""
        from storage.torch_reader import TorchPairs

        return TorchPairs(self, **options)

    def _entry(self, path: str) -> FileEntry:
        for entry in self.pair_files:
            if entry.path == path:
                return entry
        raise DatasetError(
            f"{self.store.url}: version {self.manifest.version} has no pairs file {path!r}; it has"
            f" {len(self.pair_files)}, see its manifest"
        )


def with_same_extra(batches: Sequence[PoseBatch]) -> list[PoseBatch]:
    """The batches with every extra column that any of them has; gaps are NaN, -1, False or ""."""
    models = {name: values for batch in batches for name, values in batch.extra.items()}
    filled: list[PoseBatch] = []
    for batch in batches:
        extra = {name: batch.extra.get(name, _gap(values, len(batch))) for name, values in models.items()}
        core = {name: getattr(batch, name) for name in CORE_COLUMNS}
        keypoints = batch.keypoint_skeleton
        filled.append(PoseBatch(skeleton=batch.skeleton, extra=extra, keypoint_skeleton=keypoints, **core))
    return filled


def _gap(model: np.ndarray, rows: int) -> np.ndarray:
    """Rows of a column that a file does not have, in the type of the files that have it."""
    values = {"f": np.nan, "i": -1, "u": 0, "b": False, "O": ""}
    return np.full((rows, *model.shape[1:]), values[model.dtype.kind], dtype=model.dtype)
