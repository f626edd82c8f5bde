"""Rows in time order, and the windows of frames around them: no window mixes clips, cameras or copies."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int


@dataclass(frozen=True)
class FrameRuns:
    """Rows in time order, cut into runs of frames without a gap.

    Attributes:
        order: (N,) row at every position; neighbours in time are neighbours here.
        position: (N,) position of every row.
        first, last: (N,) first and last position of the run of every position.
    """

    order: Int[np.ndarray, " N"]
    position: Int[np.ndarray, " N"]
    first: Int[np.ndarray, " N"]
    last: Int[np.ndarray, " N"]

    @staticmethod
    def of(sequence: np.ndarray, frame: np.ndarray) -> "FrameRuns":
        """Runs of rows; a gap in a sequence's frames is an end.

        Args:
            sequence: (N,) rows of one clip, camera and copy share a number.
            frame: (N,) frame numbers; the usual step between neighbours counts as none missing.
        """
        order = np.lexsort((frame, sequence))
        ordered, frames = sequence[order], frame[order].astype(np.int64)
        step = np.diff(frames)
        same = np.diff(ordered) == 0
        usual = int(np.median(step[same])) if same.any() else 1
        breaks = np.flatnonzero(~same | (step != usual)) + 1
        starts = np.concatenate([[0], breaks])
        stops = np.concatenate([breaks, [len(order)]])
        position = np.empty(len(order), np.int64)
        position[order] = np.arange(len(order))
        return FrameRuns(
            order, position, np.repeat(starts, stops - starts), np.repeat(stops - 1, stops - starts)
        )

    def windows(self, rows: np.ndarray, offsets: np.ndarray) -> Int[np.ndarray, "B T"]:
        """Rows of the frames at `offsets` from each row's; beyond a run's ends the end repeats."""
        centre = self.position[rows]
        inside = np.clip(centre[:, None] + offsets, self.first[centre, None], self.last[centre, None])
        return self.order[inside]

    def whole(self, offsets: np.ndarray) -> Int[np.ndarray, " n"]:
        """The rows, ascending, that have a frame of their own run at every offset: nothing is repeated around them."""
        before = self.position + offsets.min() >= self.first[self.position]
        after = self.position + offsets.max() <= self.last[self.position]
        return np.flatnonzero(before & after)


def sequence_numbers(*columns: np.ndarray) -> Int[np.ndarray, " N"]:
    """(N,) one number per distinct combination of the columns' values."""
    numbers: dict[tuple[object, ...], int] = {}
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return np.fromiter((numbers.setdefault(row, len(numbers)) for row in rows), np.int64, len(columns[0]))
