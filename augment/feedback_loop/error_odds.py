"""The estimator's errors as odds: an average per factor bin, and the probabilities that follow from it."""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from augment.feedback_loop.settings import SamplerSettings
from augment.wide_base.factors import FactorOdds


class ErrorOdds:
    """Remembers the estimator's error in every bin of every factor and moves the odds towards the hard ones.

    The bounds keep every bin alive: what the estimator finds easy now is still drawn, so that it stays easy, and what
    it cannot learn never takes over.
    """

    def __init__(self, settings: SamplerSettings, base: FactorOdds) -> None:
        self._settings = settings
        self._base = base
        self._error_m: dict[str, Tensor] = {}

    @property
    def odds(self) -> FactorOdds:
        """The odds for the next draw."""
        if not self._settings.enabled or not self._error_m:
            return self._base
        return FactorOdds({name: self._factor_odds(name, base) for name, base in self._base.odds.items()})

    def _factor_odds(self, name: str, base: Tensor) -> Tensor:
        error = self._error_m[name]
        ratio = error / (base * error).sum()
        bounded = (ratio**self._settings.power).clamp(self._settings.min_ratio, self._settings.max_ratio)
        odds = base * bounded
        return odds / odds.sum()

    def observe(self, error_m: Float[Tensor, " B"], bins: Mapping[str, Int[Tensor, " B"]]) -> None:
        """Learn from the errors of drawn poses.

        Args:
            error_m: Mean joint error of the estimator on each pose.
            bins: The bin of each pose, by factor.
        """
        for name, base in self._base.odds.items():
            count = torch.bincount(bins[name], minlength=len(base)).to(error_m.dtype)
            total = torch.bincount(bins[name], weights=error_m, minlength=len(base)).to(error_m.dtype)
            mean = total / count.clamp_min(1.0)
            if name not in self._error_m:
                self._error_m[name] = torch.where(count > 0, mean, error_m.mean())
                continue
            kept = self._settings.memory**count
            self._error_m[name] = torch.where(
                count > 0, kept * self._error_m[name] + (1 - kept) * mean, self._error_m[name]
            )

    def tensors(self) -> dict[str, Tensor]:
        """The remembered errors, by factor; empty before the first observation."""
        return dict(self._error_m)

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up remembered errors."""
        self._error_m = {name: value.clone() for name, value in tensors.items()}
