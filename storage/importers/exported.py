"""Exports of a dataset, read back as pairs: the way in for COCO, VideoPose3D, WebDataset, Hugging Face and Delta.

An export may come from anywhere. Its index says which files to read; paths cannot leave the folder, links are
not followed, sizes and digests are compared before a file is parsed, no file is unpacked to disk, and nothing
is unpickled. What does not fit is an ImporterError that names the file.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
from pydantic import ValidationError

from poses.batch import PoseBatch
from poses.errors import PoseShapeError, SkeletonError
from poses.skeleton import Skeleton
from storage.commit import first_fault
from storage.errors import ImporterError, StoreError
from storage.exporters.columns import core_specs
from storage.exporters.index import INDEX_NAME, ExportedFile, ExportIndex
from storage.exporters.target import INCOMPLETE_NAME
from storage.object_store import ObjectStore, open_store

MAX_INDEX_BYTES = 256 << 20
_BLOCK_BYTES = 4 << 20


@dataclass(frozen=True)
class ExportFolder:
    """An export, opened for reading.

    Args:
        store: Its root.
        index: What it says it holds.
        skeleton: Of all pairs.
    """

    store: ObjectStore
    index: ExportIndex
    skeleton: Skeleton

    def iter_batches(self) -> Iterator[PoseBatch]:
        """All pairs, file by file in the index's order.

        Raises:
            ImporterError: if a file is damaged, is not the index's, or holds what no export holds.
        """
        read = pair_readers()[self.index.format]
        rows = 0
        try:
            for batch in read(self):
                rows += len(batch)
                yield batch
        except (StoreError, PoseShapeError) as error:
            raise ImporterError(f"{self.store.url}: {error}") from error
        if rows != self.index.rows:
            raise ImporterError(
                f"{self.store.url}: wanted {self.index.rows:,} pairs as in its index, got {rows:,}"
            )

    def read_pairs(self) -> PoseBatch:
        """All pairs in memory."""
        batches = list(self.iter_batches())
        return PoseBatch.concat(batches) if batches else PoseBatch.empty(self.skeleton)

    def shards(self) -> list[tuple[ExportedFile, ...]]:
        """The files that are read together: one by one, or for VideoPose3D the three of a shard."""
        if self.index.format != "videopose3d":
            return [(file,) for file in self.index.files]
        by_stem: dict[str, list[ExportedFile]] = {}
        for file in self.index.files:
            by_stem.setdefault(file.path.split("_", 2)[-1], []).append(file)
        return [tuple(files) for files in by_stem.values()]

    def only(self, paths: Collection[str]) -> "ExportFolder":
        """The export with these of its files alone.

        Raises:
            ImporterError: if the index has no such file.
        """
        files = tuple(file for file in self.index.files if file.path in paths)
        if len(files) != len(set(paths)):
            raise ImporterError(
                f"{self.store.url}: wanted {', '.join(sorted(paths))}, its index has {len(files)} of them"
            )
        rows = sum(file.rows for file in files)
        return replace(self, index=self.index.model_copy(update={"files": files, "rows": rows}))

    def where(self, file: ExportedFile) -> str:
        """The file's name in messages."""
        return f"{self.store.url}/{file.path}"

    @contextmanager
    def open_file(self, file: ExportedFile) -> Iterator[pa.NativeFile]:
        """A file whose size and digest are those of the index, for random access.

        Raises:
            ImporterError: if they are not.
        """
        where = self.where(file)
        size_bytes = self.store.size_bytes(file.path)
        if size_bytes != file.bytes:
            raise ImporterError(
                f"{where}: wanted {file.bytes:,} bytes as in the index, got {size_bytes:,}; copy it again"
            )
        with self.store.open_input(file.path) as source:
            digest = sha256()
            while block := source.read(_BLOCK_BYTES):
                digest.update(block)
            if digest.hexdigest() != file.sha256:
                raise ImporterError(
                    f"{where}: wanted sha256 {file.sha256[:12]}..., got {digest.hexdigest()[:12]}...; the file"
                    " was changed or damaged, copy it again"
                )
            source.seek(0)
            yield source


PairReader = Callable[[ExportFolder], Iterator[PoseBatch]]


def pair_readers() -> dict[str, PairReader]:
    """Format name -> reader of its files."""
    from storage.importers.coco_json import read_coco
    from storage.importers.parquet_lists import read_parquet_lists
    from storage.importers.videopose3d_npz import read_videopose3d
    from storage.importers.webdataset_tar import read_webdataset

    return {
        "coco": read_coco,
        "videopose3d": read_videopose3d,
        "webdataset": read_webdataset,
        "huggingface": read_parquet_lists,
        "delta": read_parquet_lists,
    }


def open_export(url: str | Path) -> ExportFolder:
    """An export by its folder or URL.

    Raises:
        ImporterError: if there is no finished export, or its index cannot be trusted.
    """
    store = open_store(url)
    try:
        if store.exists(INCOMPLETE_NAME):
            raise ImporterError(
                f"{store.url}: the export is unfinished ({INCOMPLETE_NAME} is there); export again"
            )
        if not store.exists(INDEX_NAME):
            raise ImporterError(f"{store.url}: wanted an export of posemill, found no {INDEX_NAME} in it")
        if store.size_bytes(INDEX_NAME) > MAX_INDEX_BYTES:
            raise ImporterError(
                f"{store.url}/{INDEX_NAME}: more than {MAX_INDEX_BYTES:,} bytes; this is no index"
            )
        index = ExportIndex.model_validate_json(store.read_bytes(INDEX_NAME))
        skeleton = Skeleton.from_dict(index.skeleton)
    except StoreError as error:
        raise ImporterError(f"{store.url}: {error}") from error
    except ValidationError as error:
        raise ImporterError(
            f"{store.url}/{INDEX_NAME}: not an index that this posemill can read: {first_fault(error)}"
        ) from error
    except SkeletonError as error:
        raise ImporterError(f"{store.url}/{INDEX_NAME}: its skeleton is ill-formed: {error}") from error
    _check_index(store, index, skeleton)
    return ExportFolder(store, index, skeleton)


def _check_index(store: ObjectStore, index: ExportIndex, skeleton: Skeleton) -> None:
    where = f"{store.url}/{INDEX_NAME}"
    if index.format not in pair_readers():
        raise ImporterError(
            f"{where}: unknown format {index.format!r}; known are {', '.join(pair_readers())}"
        )
    core = core_specs(skeleton)
    if index.columns[: len(core)] != core:
        raise ImporterError(f"{where}: its columns are not those of pairs with skeleton {skeleton.name!r}")
    names = [spec.name for spec in index.columns]
    paths = [file.path for file in index.files]
    for kind, given in (("column", names), ("file", paths)):
        if len(set(given)) != len(given):
            raise ImporterError(f"{where}: it names a {kind} twice")
