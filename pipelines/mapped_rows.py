"""Training rows out of a memory-mapped copy that all processes of a machine share: for datasets larger than memory.

The copy is the torch reader's (`Dataset.to_torch(cache_folder=...)`). Rows are numbered like those of a `PoseTable`:
file by file, in file order, the chosen parts and rigs only; so both readers give the same batches.
"""

import numpy as np
import torch
from torch import Tensor

from pipelines.pose_table import (
    PairsSource,
    check_whole_windows,
    chosen_rows,
    nothing_chosen,
    window_offsets,
)
from storage.reader import Dataset
from storage.streams import stream_order

_COLUMNS = ("keypoints_screen", "joints_root_m")
_ANY_WINDOW = 3
"""Makes the reader keep rows in stream order; how long windows are is decided here."""


class MappedRows:
    """Rows of one source by number.

    Args:
        source: Dataset, parts and rigs.
        cache_folder: Where copies live on this machine.
        receptive_field: Frames that one output frame sees; for 1 rows have no time axis.
        causal: The output frame is the last of its window instead of the middle one.
        every_frame: Targets are given for every frame of a window, not for the estimated one alone.
        whole_only: Only rows whose window lies inside its clip (and file) are rows here.

    Raises:
        SettingsError: if nothing is selected, or only whole windows are wanted and there is none.
        DatasetError: if the copy cannot be made.
    """

    def __init__(
        self,
        source: PairsSource,
        cache_folder: str,
        receptive_field: int = 1,
        causal: bool = False,
        every_frame: bool = False,
        whole_only: bool = False,
    ) -> None:
        dataset = Dataset.open(source.url, source.version)
        self.skeleton, self.keypoints_of = dataset.skeleton, dataset.keypoints_of
        self._temporal, self._every_frame = receptive_field > 1, every_frame
        self._offsets = window_offsets(receptive_field, causal)
        self._rows = _positions(dataset, source, self._temporal)
        if not len(self._rows):
            raise nothing_chosen(dataset, source)
        window = _ANY_WINDOW if self._temporal else 1
        self._pool = dataset.to_torch(cache_folder=cache_folder, columns=_COLUMNS, window=window).rows()
        if self._temporal and whole_only:
            before = self._rows + self._offsets.min() >= self._pool.first[self._rows]
            after = self._rows + self._offsets.max() <= self._pool.last[self._rows]
            self._rows = self._rows[before & after]
            check_whole_windows(len(self._rows), receptive_field)

    def __len__(self) -> int:
        return len(self._rows)

    def inputs(self, rows: np.ndarray) -> Tensor:
        """(B, J, 2), or (B, T, J, 2) windows, which repeat the ends of what one file holds of a clip."""
        centre = self._rows[rows]
        return self._read("keypoints_screen", self._windows(centre) if self._temporal else centre)

    def targets(self, rows: np.ndarray) -> Tensor:
        """(B, J, 3); where the inputs have a time axis (B, 1, J, 3), or (B, T, J, 3) for every frame."""
        if self._temporal and self._every_frame:
            return self._read("joints_root_m", self._windows(self._rows[rows]))
        joints = self._read("joints_root_m", self._rows[rows])
        return joints[:, None] if self._temporal else joints

    def _windows(self, centre: np.ndarray) -> np.ndarray:
        first, last = self._pool.first[centre, None], self._pool.last[centre, None]
        return np.clip(centre[:, None] + self._offsets, first, last)

    def _read(self, column: str, index: np.ndarray) -> Tensor:
        return torch.from_numpy(np.take(self._pool.columns[column], index, axis=0))


def _positions(dataset: Dataset, source: PairsSource, in_streams: bool) -> np.ndarray:
    """Where the chosen rows stand in the copy, in file order."""
    pieces: list[np.ndarray] = []
    offset = 0
    for entry in dataset.pair_files:
        position = np.arange(entry.rows)
        if in_streams:
            position[stream_order(dataset.open_pairs(entry.path)).rows] = np.arange(entry.rows)
        pieces.append(position[chosen_rows(dataset, source, entry.path)] + offset)
        offset += entry.rows
    return np.concatenate(pieces) if pieces else np.zeros(0, np.int64)
