"""Windows of frames that are augmented as one thing: what a temporal lifter is trained on.

A window is T frames of one clip under one camera. Its rows stand together: W windows are W·T rows, frame after frame.
Every draw (body, joint rotations, view, place, focal length) is made once per window, with the id of the pose that the
window is cut around, and holds for all of its frames; what a draw bends, it bends relative to the recorded motion.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from augment.errors import AugmentError

Values = TypeVar("Values", Tensor, np.ndarray)


@dataclass(frozen=True)
class WindowShape:
    """How many frames a window has, and which of them is estimated. The default is a pose on its own.

    Attributes:
        frames: T.
        output: Number of the frame whose pose a lifter gives: the middle one, or the last if the lifter is causal.
        lifts_all: The lifter is trained on the poses of all frames, not on the output frame's alone.
    """

    frames: int = 1
    output: int = 0
    lifts_all: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.output < self.frames:
            raise AugmentError(
                f"WindowShape wants an output frame from 0 to {self.frames - 1} for {self.frames} frames, got "
                f"{self.output}"
            )

    @staticmethod
    def around_middle(frames: int) -> "WindowShape":
        """Windows of so many frames, cut around their middle frame."""
        return WindowShape(frames, frames // 2)

    @property
    def offsets(self) -> Int[np.ndarray, " T"]:
        """Every frame's place relative to the output frame."""
        return np.arange(self.frames) - self.output

    @property
    def temporal(self) -> bool:
        """True for windows of more than one frame."""
        return self.frames > 1

    def on_frames(self, values: Tensor) -> Tensor:
        """(W, ...) one value per window -> (W·T, ...) the same on all of its frames."""
        return values if self.frames == 1 else values.repeat_interleave(self.frames, 0)

    def repeated(self, values: np.ndarray) -> np.ndarray:
        """As `on_frames`, of numpy arrays."""
        return values if self.frames == 1 else np.repeat(values, self.frames, axis=0)

    def output_frames(self, values: Values) -> Values:
        """(W·T, ...) -> (W, ...) the output frame's."""
        return values if self.frames == 1 else values[self.output :: self.frames]

    def windows(self, values: Tensor) -> Tensor:
        """(W·T, ...) -> (W, T, ...); poses on their own stay (W, ...), as lifters take them."""
        return values if self.frames == 1 else values.unflatten(0, (-1, self.frames))

    def targets(self, values: Tensor) -> Tensor:
        """(W·T, ...) -> what a lifter of windows is trained on: (W, 1, ...), or (W, T, ...) if it lifts all frames;
        (W, ...) for poses on their own."""
        if self.frames == 1:
            return values
        return self.windows(values) if self.lifts_all else self.output_frames(values).unsqueeze(1)

    def any_frame(self, flags: Tensor) -> Tensor:
        """(W·T,) -> (W,) True where it is of any frame."""
        return flags if self.frames == 1 else self.windows(flags).any(1)

    def rows_of(self, windows: Int[Tensor, " n"]) -> Int[Tensor, " m"]:
        """The rows of some windows' frames, by the windows' numbers."""
        if self.frames == 1:
            return windows
        return (windows.unsqueeze(1) * self.frames + torch.arange(self.frames)).flatten()

    def anchors(self, rows: int) -> Int[Tensor, " B"]:
        """(W·T,) the row of the output frame of every row's window."""
        first = torch.arange(0, rows, self.frames) + self.output
        return self.on_frames(first)

    def first_reasons(self, reason: np.ndarray, precedence: tuple[str, ...]) -> np.ndarray:
        """(W·T,) reasons against frames -> (W,) reasons against windows: one bad frame is against the whole.

        Args:
            reason: "" where a frame is good.
            precedence: Every reason there is; a window gets the first that applies to any of its frames.

        Raises:
            AugmentError: if there is a reason that is not among them.
        """
        if self.frames == 1:
            return reason
        per_window = reason.reshape(-1, self.frames)
        out = np.full(len(per_window), "", dtype=object)
        for name in reversed(precedence):
            out[(per_window == name).any(1)] = name
        unknown = np.flatnonzero((out == "") & (per_window != "").any(1))
        if len(unknown):
            raise AugmentError(
                f"windows: reasons {sorted(set(per_window[unknown[0]]) - {''})} are none of {', '.join(precedence)}; "
                "name them in the order in which they count"
            )
        return out


POSE = WindowShape()
"""A pose on its own."""


@dataclass(frozen=True)
class Motion:
    """What draws on windows need of the recorded motion.

    Attributes:
        anchor: (B,) the row of the output frame of every row's window; draws hold there exactly.
        path_m: (B, 3) where the root is, seen from where it is in the output frame.
        size_m: (B,) length of all bones of the output frame together; steps grow with the body.
    """

    anchor: Int[Tensor, " B"]
    path_m: Float[Tensor, "B 3"]
    size_m: Float[Tensor, " B"]

    @staticmethod
    def of(
        joints_m: Float[Tensor, "B J 3"], root: int, bone_lengths_m: Tensor, shape: WindowShape
    ) -> "Motion":
        """The motion of whole windows, in the axes of `joints_m`, whose origin must not move with the person."""
        anchor = shape.anchors(len(joints_m))
        root_m = joints_m[:, root]
        return Motion(anchor, root_m - root_m[anchor], bone_lengths_m.sum(1)[anchor])
