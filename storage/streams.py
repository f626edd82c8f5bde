"""Which rows of a pairs file belong together in time: one clip, camera and copy, frames in order, no gap."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from storage.pairs_reader import PairsReader


@dataclass(frozen=True)
class StreamOrder:
    """The rows of a file in stream order.

    Args:
        rows: (N,) file row at every position; p and p + 1 are neighbours in time unless a stream ends.
        first: (N,) first position of the stream that a position lies in.
        last: (N,) last position of that stream.
    """

    rows: np.ndarray
    first: np.ndarray
    last: np.ndarray


def file_order(rows: int) -> StreamOrder:
    """Every row a stream of its own, in file order: what single-frame reading needs."""
    positions = np.arange(rows)
    return StreamOrder(rows=positions, first=positions, last=positions)


def stream_order(reader: PairsReader) -> StreamOrder:
    """The streams of one file, from its columns clip, camera_name, copy and frame."""
    codes = reader.read_codes(("clip", "camera_name", "copy"))
    frame = reader.read_rows(0, reader.entry.rows, ["frame"])["frame"]
    return order_of(codes, frame)


def order_of(codes: Sequence[np.ndarray], frame: np.ndarray) -> StreamOrder:
    """The streams of rows with these keys and frame numbers.

    A stream ends where a key changes, and where the frame number grows by more than the least step of the
    rows: rejected frames leave gaps, and a window must not close over them. Equal frames stay apart too.
    """
    rows = np.lexsort((frame, *codes))
    key_changes = np.zeros(max(len(rows) - 1, 0), bool)
    for code in codes:
        key_changes |= code[rows[1:]] != code[rows[:-1]]
    steps = np.diff(frame[rows].astype(np.int64))
    inside = steps[~key_changes & (steps > 0)]
    least_step = int(inside.min()) if len(inside) else 1
    ends = key_changes | (steps != least_step)
    stream = np.concatenate([[0], np.cumsum(ends)]) if len(rows) else np.zeros(0, np.int64)
    starts = np.flatnonzero(np.concatenate([[True], ends])) if len(rows) else np.zeros(0, np.int64)
    stops = np.concatenate([starts[1:], [len(rows)]]) if len(rows) else starts
    return StreamOrder(rows=rows, first=starts[stream], last=stops[stream] - 1)
