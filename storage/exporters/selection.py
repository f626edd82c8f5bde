"""The pairs that an export takes, as a stream: one version of a dataset, some of its parts and rigs."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase

import numpy as np

from poses.batch import PoseBatch
from storage.errors import ExportError
from storage.exporters.columns import ColumnSpec, core_specs, extra_specs, same_extra
from storage.reader import Dataset

RowsRead = Callable[[int], None]


class PairsSelection:
    """Selected pairs of one version, in file order; memory is a row group, or a shard.

    Args:
        dataset: The version.
        parts, rigs: Names or patterns of the columns `part` and `rig`; "*" takes rows without them too.
        on_rows: Is told how many rows were read, selected or not.

    Raises:
        ExportError: if a part or rig is asked for and no file has the column, or keypoints have other joints.
        DatasetError: if files have one column in different types.
    """

    def __init__(
        self,
        dataset: Dataset,
        parts: Sequence[str] = ("*",),
        rigs: Sequence[str] = ("*",),
        on_rows: RowsRead | None = None,
    ) -> None:
        if dataset.keypoint_skeleton is not None:
            raise ExportError(
                f"{dataset.store.url}: its 2D keypoints are of {dataset.keypoint_skeleton.name!r}, its poses of "
                f"{dataset.skeleton.name!r}; exports have one skeleton for both; map the keypoints"
                " (poses.skeleton.joint_map) and write the dataset again"
            )
        self.dataset, self.skeleton = dataset, dataset.skeleton
        self._wanted = {"part": tuple(parts), "rig": tuple(rigs)}
        self._on_rows = on_rows
        self.extras: tuple[ColumnSpec, ...] = extra_specs(dataset.store, dataset.pair_files)
        self.columns: tuple[ColumnSpec, ...] = (*core_specs(dataset.skeleton), *self.extras)
        self.seen: dict[str, Counter[str]] = {"part": Counter(), "rig": Counter()}
        """Rows by part and rig that were read so far, for messages."""
        there = {spec.name for spec in self.extras if spec.dtype == "string" and not spec.shape}
        for name, patterns in self._wanted.items():
            if "*" not in patterns and name not in there:
                raise ExportError(
                    f"{dataset.store.url}: wanted {name}s {', '.join(patterns)}, but its pairs have no column"
                    f" {name!r}; leave --{'parts' if name == 'part' else 'rig'} out"
                )

    def batches(self) -> Iterator[PoseBatch]:
        """The selected pairs with the same columns throughout, never empty."""
        for batch in self.dataset.iter_batches():
            rows = self.same_columns(batch)
            keep = self.mask(rows)
            if self._on_rows is not None:
                self._on_rows(len(batch))
            if keep.all():
                yield rows
            elif keep.any():
                yield rows.take(keep)

    def same_columns(self, batch: PoseBatch) -> PoseBatch:
        """The batch with the selection's columns, gaps filled."""
        return same_extra(batch, self.extras)

    def mask(self, batch: PoseBatch) -> np.ndarray:
        """(B,) which rows are selected; the batch has the columns `part` and `rig` where the dataset has them."""
        return self._matches(batch, "part") & self._matches(batch, "rig")

    def shards(self, rows: int) -> Iterator[PoseBatch]:
        """The selected pairs in portions of exactly `rows`; only the last may have fewer."""
        held: list[PoseBatch] = []
        filled = 0
        for batch in self.batches():
            start = 0
            while start < len(batch):
                portion = batch.take(slice(start, start + rows - filled))
                start += len(portion)
                filled += len(portion)
                held.append(portion)
                if filled == rows:
                    yield held[0] if len(held) == 1 else PoseBatch.concat(held)
                    held, filled = [], 0
        if held:
            yield held[0] if len(held) == 1 else PoseBatch.concat(held)

    def what_there_is(self) -> str:
        """The parts and rigs that were read, for an error about nothing selected."""
        named = [
            f"{name}s {', '.join(sorted(counts)) or '(none)'}" for name, counts in self.seen.items() if counts
        ]
        return f"it has {' and '.join(named)}" if named else "it has no pairs"

    def _matches(self, batch: PoseBatch, column: str) -> np.ndarray:
        patterns = self._wanted[column]
        if column not in batch.extra or batch.extra[column].dtype != object:
            return np.ones(len(batch), bool)
        names, where, counts = np.unique(
            batch.extra[column].astype(str), return_inverse=True, return_counts=True
        )
        self.seen[column].update(dict(zip(names.tolist(), counts.tolist(), strict=True)))
        hits = [any(fnmatchcase(name, pattern) for pattern in patterns) for name in names.tolist()]
        return np.asarray(hits, bool)[where]
