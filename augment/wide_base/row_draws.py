"""Random tensors per row: `RowRandom` for torch, by the name of what is drawn."""

import torch
from jaxtyping import Float
from torch import Tensor

from poses.randomness import RowRandom


class RowDraws:
    """Draws that depend on (seed, purpose, row, copy, name) only, never on the batch they are made in."""

    def __init__(self, random: RowRandom) -> None:
        self._random = random

    def uniform(
        self, name: str, columns: int = 1, low: float = 0.0, high: float = 1.0
    ) -> Float[Tensor, "B n"]:
        """(B, columns) uniform in [low, high)."""
        return low + (high - low) * torch.from_numpy(self._random.uniform(columns, stream=name))

    def normal(self, name: str, columns: int = 1) -> Float[Tensor, "B n"]:
        """(B, columns) standard normal."""
        return torch.from_numpy(self._random.normal(columns, stream=name))

    def chance(self, name: str, share: float | Tensor) -> Tensor:
        """(B,) True with probability `share`, one number or one per row."""
        return self.uniform(name)[:, 0] < share

    def index(self, name: str, size: int) -> Tensor:
        """(B,) int64 evenly from 0..size-1."""
        return (self.uniform(name)[:, 0] * size).long().clamp_max(size - 1)
