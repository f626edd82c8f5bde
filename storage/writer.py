"""Writing one unit's result: data files named by their content, then the commit that makes them visible.

Row groups are encoded, digested and stored on the writer's own thread while the caller makes the next rows; one is
written while one is filled. A writer that dies leaves a scratch folder or files that no manifest names; neither is
ever read.
"""

import shutil
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from poses.batch import PoseBatch, other_keypoints
from poses.errors import PosemillError
from poses.motion import MotionClip
from poses.skeleton import Skeleton
from storage.commit import FileEntry, UnitCommit, commit_path, put_commit, read_commit
from storage.digests import content_name, local_tree_digest
from storage.errors import DatasetError
from storage.object_store import ObjectStore
from storage.pairs_file import PairsFile, RowGroupBuffer
from storage.quarantine import QuarantinedRow, write_quarantine
from storage.retries import Wanted, refused
from storage.schema import Columns, batch_columns, to_batch
from storage.statistics import Statistics, clip_statistics, pair_statistics
from storage.write_thread import WriteThread

ROW_GROUP_ROWS = 65_536
MAX_FILE_ROWS = 8 * ROW_GROUP_ROWS
"""About 130 MB of 17-joint pairs as written."""


class UnitWriter:
    """Collects what one unit makes and commits it once.

    The same rows give the same file bytes, in whatever portions they are added. Use it as a context: leaving
    it without `commit()` discards everything.

    Args:
        store: The dataset's root.
        run_id: The run that the unit belongs to.
        unit_id: The unit.
        skeleton: Skeleton of every row and clip.
        row_group_rows: Rows per Parquet row group.
        max_file_rows: Rows per Parquet file; rounded down to whole row groups.
        writer_id: Who writes; random unless given.
        keypoint_skeleton: Of every row's keypoints, where they have other joints.
    """

    def __init__(
        self,
        store: ObjectStore,
        run_id: str,
        unit_id: str,
        skeleton: Skeleton,
        row_group_rows: int = ROW_GROUP_ROWS,
        max_file_rows: int = MAX_FILE_ROWS,
        writer_id: str | None = None,
        keypoint_skeleton: Skeleton | None = None,
    ) -> None:
        if row_group_rows < 1 or max_file_rows < row_group_rows:
            raise DatasetError(
                f"unit {unit_id!r}: wanted 1 <= row_group_rows <= max_file_rows, got {row_group_rows} and"
                f" {max_file_rows}"
            )
        commit_path(run_id, unit_id)  # refuses ids that cannot name a file, before any work is done
        self._store, self._run_id, self._unit_id, self._skeleton = store, run_id, unit_id, skeleton
        self._keypoint_skeleton = other_keypoints(skeleton, keypoint_skeleton)
        self._writer_id = writer_id or uuid.uuid4().hex
        self._max_file_rows = max_file_rows // row_group_rows * row_group_rows
        self._buffer = RowGroupBuffer(row_group_rows)
        self._thread = WriteThread()
        self._clips: list[MotionClip] = []
        self._quarantined: list[QuarantinedRow] = []
        self._rejected: Counter[str] = Counter()
        self._statistics = Statistics()
        self._ids: list[tuple[int, int]] = []
        self._entries: list[FileEntry] = []
        self._file: PairsFile | None = None
        self._stack = ExitStack()
        self._scratch: Path | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.discard()

    def add_pairs(self, batch: PoseBatch) -> None:
        """Adds rows; they are copied before this returns, and written meanwhile.

        Raises:
            StoreError: if the storage failed with rows that were added before.
            StoreFullError: if the disk of the scratch folder is full; leaving the context removes it.
            DatasetError: if the batch has another skeleton, or other columns than the unit's first batch.
        """
        theirs = batch.skeleton
        if (theirs.joints, theirs.parents) != (self._skeleton.joints, self._skeleton.parents):
            raise DatasetError(
                f"unit {self._unit_id!r}: wanted rows of skeleton {self._skeleton.name!r}, got"
                f" {theirs.name!r}; map them first (poses.skeleton.joint_map)"
            )
        wanted = self._keypoint_skeleton or self._skeleton
        if batch.keypoints_of.joints != wanted.joints:
            raise DatasetError(
                f"unit {self._unit_id!r}: wanted rows with keypoints of {wanted.name!r}, got"
                f" {batch.keypoints_of.name!r}; map them first (poses.skeleton.joint_map), or give the writer the"
                " keypoint_skeleton"
            )
        if len(batch):
            for block in self._buffer.add(batch_columns(batch)):
                self._thread.do(partial(self._write_block, block), partial(self._buffer.give_back, block))

    def add_clips(self, clips: Iterable[MotionClip]) -> None:
        """Adds whole motions; they are kept in memory until the commit."""
        self._clips += [clip for clip in clips if len(clip.joints_world_m)]

    def quarantine(self, rows: Iterable[QuarantinedRow]) -> None:
        """Keeps rows that could not be used, under the unit's name."""
        self._quarantined += [replace(row, run_id=self._run_id, unit_id=self._unit_id) for row in rows]

    def reject(self, reason: str, n: int = 1) -> None:
        """Counts rows that were left out on purpose."""
        if n:
            self._rejected[reason] += int(n)

    def commit(self) -> UnitCommit:
        """Writes what is left and makes the unit visible; returns the commit that counts.

        When the unit was committed before, by this writer or another, nothing changes and that commit is
        returned.

        Raises:
            StoreError: if the storage fails; nothing is visible then.
            CommitConflictError: if the unit's commit is taken by something else.
        """
        try:
            existing = read_commit(self._store, self._run_id, self._unit_id)
            return existing if existing is not None else put_commit(self._store, self._finished_commit())
        finally:
            self.discard()

    def discard(self) -> None:
        """Removes everything in the making. Data files that were already moved stay, unseen."""
        self._thread.drop()
        if self._file is not None:
            self._file.discard()
            self._file = None
        self._stack.close()
        self._scratch = None

    def _finished_commit(self) -> UnitCommit:
        self._thread.finish()
        rest = self._buffer.rest()
        if rest is not None:
            self._write_block(rest)
        with self._scratch_errors():
            self._close_file()
            self._write_clips()
            self._write_quarantine()
        return UnitCommit(
            run_id=self._run_id,
            unit_id=self._unit_id,
            writer_id=self._writer_id,
            files=tuple(self._entries),
            rows=sum(entry.rows for entry in self._entries if entry.kind == "pairs"),
            min_id=min((low for low, _ in self._ids), default=None),
            max_id=max((high for _, high in self._ids), default=None),
            statistics=self._statistics,
            quarantined=len(self._quarantined),
            rejected=dict(sorted(self._rejected.items())),
        )

    @contextmanager
    def _scratch_errors(self) -> Iterator[None]:
        """Turns what the system says of a file in the making into a StoreError, "disk full" above all."""
        try:
            yield
        except PosemillError:
            raise
        except OSError as error:
            place = error.filename or self._scratch or self._store.url
            where = f"unit {self._unit_id!r}, file in the making in {place}"
            raise refused(Wanted(where, "write"), error) from error

    def _folder(self) -> Path:
        """The scratch folder, made when it is first needed."""
        if self._scratch is None:
            self._scratch = self._stack.enter_context(self._store.scratch())
        return self._scratch

    def _write_block(self, columns: Columns) -> None:
        """Writes one row group, in a new file when the open one is full."""
        with self._scratch_errors():
            if self._file is None:
                self._file = PairsFile(
                    self._folder() / f"pairs{len(self._entries)}.parquet",
                    columns,
                    self._skeleton,
                    self._keypoint_skeleton,
                )
            self._file.write_row_group(columns)
            if self._file.rows >= self._max_file_rows:
                self._close_file()
        ids: np.ndarray = columns["sample_id"]
        self._ids.append((int(ids.min()), int(ids.max())))
        rows = to_batch(columns, self._skeleton, self._keypoint_skeleton)
        self._statistics = self._statistics.merged(pair_statistics(rows))

    def _close_file(self) -> None:
        file = self._file
        if file is None:
            return
        file.close()
        self._file = None
        path = content_name("pairs", file.sha256, ".parquet")
        self._store.adopt_file(file.path, path)
        self._entries.append(
            FileEntry(path=path, kind="pairs", rows=file.rows, bytes=file.size_bytes, sha256=file.sha256)
        )

    def _write_clips(self) -> None:
        if not self._clips:
            return
        from storage.sequences import write_sequences  # Zarr takes a second to import

        folder = self._folder() / "clips.zarr"
        table = write_sequences(folder, self._clips, self._skeleton)
        digest, size_bytes = local_tree_digest(folder)
        path = content_name("sequences", digest, ".zarr")
        self._store.adopt_tree(folder, path)
        shutil.rmtree(folder, ignore_errors=True)
        frames = sum(row["n_frames"] for row in table)
        self._entries.append(
            FileEntry(path=path, kind="sequences", rows=frames, bytes=size_bytes, sha256=digest)
        )
        self._statistics = self._statistics.merged(clip_statistics(table))

    def _write_quarantine(self) -> None:
        rows: Sequence[QuarantinedRow] = self._quarantined
        if not rows:
            return
        scratch = self._folder() / "quarantine.parquet"
        written = write_quarantine(scratch, rows)
        path = content_name("quarantine", written.hexdigest(), ".parquet")
        self._store.adopt_file(scratch, path)
        self._entries.append(
            FileEntry(
                path=path,
                kind="quarantine",
                rows=len(rows),
                bytes=written.size_bytes,
                sha256=written.hexdigest(),
            )
        )
