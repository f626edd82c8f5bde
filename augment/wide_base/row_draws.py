"""Random tensors per row: `RowRandom` for torch, by the name of what is drawn."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from augment.windows import POSE, WindowShape
from poses.randomness import RowRandom


class RowDraws:
    """Draws that depend on (seed, purpose, row, copy, name) only, never on the batch they are made in.

    Args:
        random: Of the rows, or of the windows that they make up.
        shape: Of windows, whose frames get the same draws.
    """

    def __init__(self, random: RowRandom, shape: WindowShape = POSE) -> None:
        self._random, self.shape = random, shape

    @property
    def once(self) -> "RowDraws":
        """The same draws, one row per window: for what is the same in all of its frames."""
        return RowDraws(self._random) if self.shape.temporal else self

    def uniform(
        self, name: str, columns: int = 1, low: float = 0.0, high: float = 1.0
    ) -> Float[Tensor, "B n"]:
        """(B, columns) uniform in [low, high)."""
        return low + (high - low) * self._on_rows(self._random.uniform(columns, stream=name))

    def normal(self, name: str, columns: int = 1) -> Float[Tensor, "B n"]:
        """(B, columns) standard normal."""
        return self._on_rows(self._random.normal(columns, stream=name))

    def _on_rows(self, numbers: np.ndarray) -> Tensor:
        return self.shape.on_frames(torch.from_numpy(numbers))

    def chance(self, name: str, share: float | Tensor) -> Tensor:
        """(B,) True with probability `share`, one number or one per row."""
        return self.uniform(name)[:, 0] < share

    def index(self, name: str, size: int) -> Tensor:
        """(B,) int64 evenly from 0..size-1."""
        return (self.uniform(name)[:, 0] * size).long().clamp_max(size - 1)
