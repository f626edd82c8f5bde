"""The windows of frames that a pairs file holds, as mass augmentation takes them.

A run is what `storage.streams` says: rows of one clip, camera and copy, frames in order without a gap, in one file (its
border is a run's border for every reader). Windows are cut from a run's first frame on, every `stride` frames, as many
as fit; what is left at its end makes no window, is neither repeated nor filled up, and is counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int

from pipelines.errors import SettingsError
from poses.batch import PoseBatch
from poses.identity import derive_ids, stable_id
from storage.reader import Dataset
from storage.streams import order_of

NO_WINDOW = "no_whole_window"
"""Reason of rows that are part of no window."""
_OVERLAP_PURPOSE = "augment.window_frame"


@dataclass(frozen=True)
class FileWindows:
    """The windows of one file, in the order of their first rows.

    Attributes:
        rows: (W, T) rows of the file.
        left_over: Rows of the wanted parts that are in no window.
    """

    rows: Int[np.ndarray, "W T"]
    left_over: int

    def __len__(self) -> int:
        return len(self.rows)


def file_windows(
    dataset: Dataset, path: str, parts: Sequence[str] | None, frames: int, stride: int
) -> FileWindows:
    """All windows of a pairs file.

    Args:
        dataset: The version that has the file.
        path: Of the file.
        parts: Parts whose rows are wanted; None takes every row.
        frames: T.
        stride: From one window's first frame to the next one's.

    Raises:
        SettingsError: if parts are wanted and the file has none.
        ShardError: if the file is damaged.
    """
    reader = dataset.open_pairs(path)
    codes = reader.read_codes(("clip", "camera_name", "copy"))
    frame = reader.read_rows(0, reader.entry.rows, ["frame"])["frame"]
    chosen = np.arange(reader.entry.rows)
    if parts is not None:
        if "part" not in reader.columns:
            raise SettingsError(
                f"{dataset.store.url}: no column 'part', but the job asks for some parts only; import it with a split, "
                "or leave `parts` out"
            )
        chosen = np.flatnonzero(np.isin(reader.read_codes(("part",))[0].astype(str), list(parts)))
    if not len(chosen):
        return FileWindows(np.zeros((0, frames), np.int64), 0)
    order = order_of([code[chosen] for code in codes], frame[chosen])
    run_starts = np.unique(order.first)
    lengths = order.last[run_starts] - run_starts + 1
    counts = np.maximum((lengths - frames) // stride + 1, 0)
    number = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    starts = np.repeat(run_starts, counts) + stride * number
    rows = chosen[order.rows[starts[:, None] + np.arange(frames)]]
    used = counts * frames if stride >= frames else np.where(counts > 0, frames + stride * (counts - 1), 0)
    return FileWindows(rows[np.argsort(rows[:, 0], kind="stable")], len(chosen) - int(used.sum()))


def named_windows(batch: PoseBatch, frames: int) -> PoseBatch:
    """Rows of whole windows with a clip name per window and frames numbered from 0 in it.

    The name has the clip, the window's first frame and a digest of clip, camera and copy, so that the windows of two
    cameras stay two clips, whatever camera the augmentor draws.
    """
    first = batch.take(slice(0, None, frames))
    names = [
        f"{clip}/{frame:06d}-{stable_id('window', clip, camera, copy) & 0xFFFFFFFF:08x}"
        for clip, camera, copy, frame in zip(
            first.clip.tolist(),
            first.camera_name.tolist(),
            first.copy.tolist(),
            first.frame.tolist(),
            strict=True,
        )
    ]
    numbers = np.tile(np.arange(frames, dtype=np.int32), len(names))
    return replace(batch, clip=np.repeat(np.array(names, object), frames), frame=numbers)


def windows_of_copy(pairs: PoseBatch, copy: int, overlapping: bool) -> PoseBatch:
    """Augmented windows, each a clip of its own; rows that are in several windows get an id for each.

    Args:
        pairs: What an augmentor made of `named_windows`.
        copy: Its number.
        overlapping: Whether windows share rows.
    """
    sample_id = pairs.sample_id
    if overlapping:
        sample_id = derive_ids(sample_id, 0, _OVERLAP_PURPOSE, pairs.frame)
    return replace(pairs, clip=pairs.clip + f".{copy}", sample_id=sample_id)
