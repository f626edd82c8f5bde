"""The augment stage: rows of a pairs file through an augmentor, copy by copy, into new pairs.

A unit is (source file, row range, copy range). Reading, computing and writing overlap: the writer works in a
thread of its own. Everything random is a function of (seed, purpose, row id, copy), so how rows are cut into
units and batches decides nothing but where they are written.

With `window_frames` above 1 a unit is (source file, range of its windows, copy range): whole windows of frames
(`pipelines.file_windows`) go through an augmentor of windows, are searched for, quarantined and shuffled whole, and
come out as clips of their own. A row of such a unit is a window.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from augment.contract import Augmented, Augmentor, WindowAugmentor
from augment.errors import AugmentError
from augment.windows import WindowShape
from pipelines.augmentors import AugmentorSettings, build_augmentor
from pipelines.errors import UnitError
from pipelines.executor import BadRow, OnBadRow
from pipelines.file_windows import NO_WINDOW, FileWindows, file_windows, named_windows, windows_of_copy
from pipelines.parts import part_names
from pipelines.plan import Unit
from pipelines.stages.pose_critic import PoseCritic
from pipelines.stages.quarantined import bad_pairs, bad_windows, pairs_of_json, retried_rows
from poses.batch import PoseBatch
from poses.identity import stable_id
from poses.randomness import RowRandom
from storage.commit import UnitCommit, read_commit
from storage.errors import ShardError
from storage.object_store import open_store
from storage.reader import Dataset
from storage.writer import ROW_GROUP_ROWS, UnitWriter

STAGE = "augment"


@dataclass(frozen=True)
class AugmentStageSettings:
    """What every unit of a run has in common.

    Attributes:
        source_url: Dataset to read, at `source_version`; "" when the units only retry quarantined rows, which
            hold all that is needed.
        out_url: Dataset to write.
        run_id: Of the plan.
        seed: Of all random numbers.
        augmentor: What makes the new pairs.
        parts: Parts of the source to augment; None takes every row.
        shuffle: Write a unit's rows in a random order (by seed and row id), so that readers may shuffle by
            block.
        micro_rows: Rows that the augmentor gets at once; halved when the GPU's memory runs out.
        on_bad_row: Whether bad rows are kept in quarantine or only counted.
        device: Of the augmentor and the critic.
        critic: File of a trained RepNet whose judgement becomes columns of every new pair; None leaves them out.
        window_frames: Frames that are augmented as one motion; 1 makes poses on their own.
        window_stride: Frames from the start of one window to that of the next.
    """

    source_url: str
    source_version: int
    out_url: str
    run_id: str
    seed: int
    augmentor: AugmentorSettings
    parts: tuple[str, ...] | None = None
    shuffle: bool = True
    micro_rows: int = 8192
    on_bad_row: OnBadRow = "quarantine"
    device: str = "cpu"
    critic: str | None = None
    window_frames: int = 1
    window_stride: int = 1


class AugmentStage:
    """Does augment units."""

    def __init__(self, settings: AugmentStageSettings) -> None:
        self._settings = settings
        self._shape = WindowShape.around_middle(settings.window_frames)
        self._windows: tuple[str, FileWindows] | None = None
        self.micro_batch_rows = settings.micro_rows
        """Halved when a GPU's memory runs out, here and by the worker, which tells the rest of its pool."""

    def setup(self) -> None:
        """Open the source and load the augmentor."""
        settings = self._settings
        self._store = open_store(settings.out_url)
        source = settings.source_url
        self._source = Dataset.open(source, settings.source_version) if source else None
        self._skeleton = (self._source or Dataset.open(settings.out_url)).skeleton
        self._augmentor: Augmentor = build_augmentor(settings.augmentor, settings.seed, settings.device)
        self._critic = PoseCritic(settings.critic, settings.device) if settings.critic is not None else None

    def run(self, unit: Unit, bad_rows: Sequence[BadRow] = ()) -> UnitCommit:
        """Read, augment, write and commit."""
        settings = self._settings
        done = read_commit(self._store, settings.run_id, unit.unit_id)
        if done is not None:
            return done
        whole = self._read(unit)
        with self._writer(unit) as writer:
            self._leave_out(writer, unit, whole, bad_rows)
            keep = np.ones(len(whole) // self._shape.frames, bool)
            keep[[bad.row for bad in bad_rows]] = False
            rejected: Counter[str] = Counter()
            rejected[NO_WINDOW] += unit.payload.get("left_over", 0) * unit.payload["n_copies"]
            for augmented in self._augmented(unit, self._chosen(whole.take(self._shape.repeated(keep)))):
                writer.add_pairs(augmented.pairs)
                rejected.update(augmented.rejected.counts())
            for reason, count in sorted(rejected.items()):
                writer.reject(reason, count)
            return writer.commit()

    def probe(self, unit: Unit, start_row: int, stop_row: int) -> None:
        """Augment some rows of the unit and forget the result."""
        frames = self._shape.frames
        rows = self._read(unit).take(slice(start_row * frames, stop_row * frames))
        for _ in self._augmented(unit, self._chosen(rows)):
            pass

    def _writer(self, unit: Unit) -> UnitWriter:
        """No row group, and so no file, ends inside a window."""
        frames = self._shape.frames
        return UnitWriter(
            self._store,
            self._settings.run_id,
            unit.unit_id,
            self._skeleton,
            row_group_rows=max(ROW_GROUP_ROWS // frames, 1) * frames,
        )

    def _read(self, unit: Unit) -> PoseBatch:
        payload = unit.payload
        retried = retried_rows(self._store, unit)
        if retried is not None:
            return pairs_of_json([row.raw_json for row in retried.again], self._skeleton)
        if self._source is None:
            raise UnitError(f"unit {unit.unit_id}: the stage was made without a source, to retry rows only")
        try:
            if self._shape.temporal:
                return self._read_windows(self._source, payload["file"], self._window_rows(unit))
            return self._source.read_rows(payload["file"], payload["start_row"], payload["stop_row"])
        except ShardError as error:
            raise UnitError(f"unit {unit.unit_id}: {error}") from error

    def _window_rows(self, unit: Unit) -> np.ndarray:
        """(W, T) rows of the source file that are the unit's windows; those of a file are found once."""
        settings, file = self._settings, unit.payload["file"]
        if self._source is None:
            raise UnitError(f"unit {unit.unit_id}: the stage was made without a source, to retry rows only")
        if self._windows is None or self._windows[0] != file:
            shape = settings.window_frames, settings.window_stride
            self._windows = file, file_windows(self._source, file, settings.parts, *shape)
        return self._windows[1].rows[unit.payload["first_window"] : unit.payload["stop_window"]]

    def _read_windows(self, source: Dataset, file: str, rows: np.ndarray) -> PoseBatch:
        """(W·T) rows, frame after frame, each window under a name of its own."""
        if not len(rows):
            return PoseBatch.empty(self._skeleton)
        low, high = int(rows.min()), int(rows.max()) + 1
        batch = source.read_rows(file, low, high).take(rows.reshape(-1) - low)
        return named_windows(batch, self._shape.frames)

    def _chosen(self, rows: PoseBatch) -> PoseBatch:
        """The rows of the wanted parts, shuffled if the settings say so."""
        parts = self._settings.parts
        if parts is not None and not self._shape.temporal:  # windows are of wanted parts already
            rows = rows.take(np.isin(part_names(rows), list(parts)))
        if self._settings.shuffle and len(rows):
            ids = self._shape.output_frames(rows.sample_id)
            order = RowRandom(self._settings.seed, "shuffle", ids, 0).uniform(1, stream="order")
            shuffled = torch.from_numpy(np.argsort(order[:, 0], kind="stable"))
            rows = rows.take(self._shape.rows_of(shuffled).numpy())
        return rows

    def _leave_out(
        self, writer: UnitWriter, unit: Unit, whole: PoseBatch, bad_rows: Sequence[BadRow]
    ) -> None:
        retried = retried_rows(self._store, unit)
        if retried is not None:
            writer.quarantine([*retried.carried, *(retried.still_bad(bad) for bad in bad_rows)])
            return
        if not bad_rows:
            return
        if self._settings.on_bad_row == "skip":
            what = "window" if self._shape.temporal else "row"
            for bad in bad_rows:
                writer.reject(f"bad {what}: {bad.failure.error_class}", 1)
            return
        payload = unit.payload
        if self._shape.temporal:
            first_rows = self._window_rows(unit)[:, 0].tolist()
            frames = self._shape.frames
            writer.quarantine(bad_windows(whole, bad_rows, payload["file"], first_rows, STAGE, frames))
            return
        writer.quarantine(bad_pairs(whole, bad_rows, payload["file"], payload["start_row"], STAGE))

    def _augmented(self, unit: Unit, rows: PoseBatch) -> Iterator[Augmented]:
        """Every copy of every row, micro-batch by micro-batch, windows whole."""
        first, frames = unit.payload["first_copy"], self._shape.frames
        for copy in range(first, first + unit.payload["n_copies"]):
            start = 0
            while start < len(rows):
                stop = min(start + max(self.micro_batch_rows // frames, 1) * frames, len(rows))
                augmented = self._augment_or_halve(rows.take(slice(start, stop)), copy)
                if augmented is not None:
                    start = stop
                    yield self._judged(self._named(augmented, copy))

    def _named(self, augmented: Augmented, copy: int) -> Augmented:
        """Windows as clips of their own."""
        if not self._shape.temporal:
            return augmented
        overlapping = self._settings.window_stride < self._settings.window_frames
        return replace(augmented, pairs=windows_of_copy(augmented.pairs, copy, overlapping))

    def _judged(self, augmented: Augmented) -> Augmented:
        if self._critic is None:
            return augmented
        return replace(augmented, pairs=self._critic.judged(augmented.pairs))

    def _augment_or_halve(self, rows: PoseBatch, copy: int) -> Augmented | None:
        """The augmentor's answer; None after halving the micro-batch because the GPU's memory ran out."""
        try:
            if self._shape.temporal:
                return _of_windows(self._augmentor).augment_windows(rows, copy, self._shape)
            return self._augmentor.augment(rows, copy)
        except torch.OutOfMemoryError:
            if len(rows) == self._shape.frames:
                raise
        self.micro_batch_rows = len(rows) // 2
        torch.cuda.empty_cache()  # here, because the traceback held the tensors until now
        return None


def _of_windows(augmentor: Augmentor) -> WindowAugmentor:
    """The augmentor, if it can do windows.

    Raises:
        AugmentError: if it cannot.
    """
    if not isinstance(augmentor, WindowAugmentor):
        raise AugmentError(
            f"augmentor {augmentor.name!r} draws every frame for itself, so that its windows would be no motion; "
            "leave window_frames at 1, or choose one that keeps motion (narrow, wide, mirror, placement, a trained one)"
        )
    return augmentor


def window_unit_id_of(file: str, first_window: int, first_copy: int) -> str:
    """Name of an augment unit of windows: the same for the same windows and copies."""
    return f"{stable_id(file):016x}-w{first_window}-c{first_copy}"


def unit_id_of(file: str, start_row: int, first_copy: int) -> str:
    """Name of an augment unit: the same for the same source rows and copies."""
    return f"{stable_id(file):016x}-r{start_row}-c{first_copy}"
