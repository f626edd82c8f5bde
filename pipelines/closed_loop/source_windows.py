"""What a lifter is trained on: source poses on their own, or the windows of frames around them."""

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from augment.windows import WindowShape
from estimators.lifters.contract import Lifter
from pipelines.closed_loop.source_poses import SourcePoses
from pipelines.errors import SettingsError
from pipelines.frame_runs import FrameRuns

_PIECE_FRAMES = 65_536
"""Frames that are cut out of the source at once where all of its windows are wanted."""


def window_shape(lifter: Lifter) -> WindowShape:
    """The windows that a lifter is trained on; single poses for single-frame lifters."""
    frames = lifter.receptive_field
    output = frames - 1 if lifter.causal else frames // 2
    return WindowShape(frames, output, lifter.lifts_sequences and frames > 1)


class SourceWindows:
    """One sample per pose, numbered from 0: the pose, or the frames around it; cut out when they are asked for.

    Args:
        poses: The source.
        shape: Of a sample.
        rows: The poses that have a sample of their own; None means all. The others are only seen as neighbours.

    Raises:
        SettingsError: if the lifter wants windows and nobody knows which poses follow one another.
    """

    def __init__(self, poses: SourcePoses, shape: WindowShape, rows: np.ndarray | None = None) -> None:
        self.poses = poses
        self.shape = shape
        self._rows = np.arange(len(poses)) if rows is None else rows
        self._runs: FrameRuns | None = None
        if shape.temporal:
            if poses.sequence is None or poses.frame is None:
                raise SettingsError(
                    f"the loop's lifter sees {shape.frames} frames at once, and the source poses come without their "
                    "order in time; load them with in_time=True"
                )
            self._runs = FrameRuns.of(poses.sequence, poses.frame)

    def __len__(self) -> int:
        return len(self._rows)

    @cached_property
    def _joints_root_m(self) -> Float[Tensor, "N J 3"]:
        return self.poses.joints_root_m

    def sample_id(self, numbers: np.ndarray) -> Int[np.ndarray, " W"]:
        """Of the pose that each window is cut around."""
        return self.poses.sample_id[self._rows[numbers]]

    def centres(self, numbers: np.ndarray) -> Int[Tensor, " W"]:
        """Rows of the source poses that the samples are cut around."""
        return torch.from_numpy(self._rows[numbers])

    def frames(self, numbers: np.ndarray) -> Int[Tensor, " B"]:
        """(W·T,) rows of the source poses that the samples consist of, frame after frame; an end of a clip repeats."""
        rows = self._rows[numbers]
        if self._runs is not None:
            rows = self._runs.windows(rows, self.shape.offsets).reshape(-1)
        return torch.from_numpy(rows)

    def keypoints(self, numbers: np.ndarray) -> Float[Tensor, "W ... J 2"]:
        """(W, J, 2), or (W, T, J, 2) windows."""
        return self.shape.windows(self.poses.keypoints_screen[self.frames(numbers)])

    def targets(self, numbers: np.ndarray) -> Float[Tensor, "W ... J 3"]:
        """(W, J, 3), or (W, 1, J, 3) of the output frame, or (W, T, J, 3) if the lifter is trained on all frames."""
        if self.shape.lifts_all:
            return self.shape.targets(self._joints_root_m[self.frames(numbers)])
        joints_m = self.poses_root_m(numbers)
        return joints_m.unsqueeze(1) if self.shape.temporal else joints_m

    def poses_root_m(self, numbers: np.ndarray) -> Float[Tensor, "W J 3"]:
        """The poses that the samples are cut around, root at the origin."""
        return self._joints_root_m[self.centres(numbers)]

    def pieces(self) -> Iterator[np.ndarray]:
        """All sample numbers, in order, few enough at a time to hold their windows in memory."""
        step = max(1, _PIECE_FRAMES // self.shape.frames)
        for start in range(0, len(self), step):
            yield np.arange(start, min(start + step, len(self)))

    def to(self, device: str) -> "SourceWindows":
        """The same samples of poses on a device."""
        return self if device == "cpu" else SourceWindows(self.poses.to(device), self.shape, self._rows)

    def share(self, index: int, of: int) -> "SourceWindows":
        """Every `of`-th sample, from the `index`-th on."""
        if of == 1:
            return self
        if self.shape.temporal:
            return SourceWindows(self.poses, self.shape, self._rows[index::of])
        return SourceWindows(self.poses.take(self._rows[index::of]), self.shape)
