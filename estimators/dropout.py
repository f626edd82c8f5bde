"""Dropout that draws from a generator of its own, so that training never touches the global random state."""

import torch
from torch import Tensor, nn


class SeededDropout(nn.Module):
    """Inverted dropout like `nn.Dropout`, with the random generator as an attribute.

    Args:
        probability: Share of elements set to zero in training mode.

    `generator` is None (the global generator) until `set_dropout_generator` gives one.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability
        self.generator: torch.Generator | None = None

    def forward(self, values: Tensor) -> Tensor:
        """Zero elements and scale the rest in training mode; the identity in evaluation mode."""
        if not self.training or self.probability == 0.0:
            return values
        keep = 1.0 - self.probability
        mask = torch.empty_like(values).bernoulli_(keep, generator=self.generator).mul_(1.0 / keep)
        return values * mask

    def extra_repr(self) -> str:
        """What print(module) shows."""
        return f"probability={self.probability}"


def set_dropout_generator(module: nn.Module, generator: torch.Generator | None) -> None:
    """Let every `SeededDropout` inside the module draw from one generator."""
    for part in module.modules():
        if isinstance(part, SeededDropout):
            part.generator = generator
