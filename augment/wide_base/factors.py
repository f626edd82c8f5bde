"""The four factors of the base draw that feedback may steer, each cut into bins with a probability of its own."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.special import ndtri
from torch import Tensor

from augment.wide_base.row_draws import RowDraws
from augment.wide_base.settings import WideBaseSettings

ARTICULATION_BINS = 5
FOCAL_BINS = 4
SCALE_BINS = 5
_TAIL = 0.005
"""The scale's outermost quantiles: its normal distribution is cut there."""


@dataclass(frozen=True)
class FactorOdds:
    """Probability of every bin, by factor."""

    odds: Mapping[str, Float[Tensor, " bins"]]

    @staticmethod
    def even(settings: WideBaseSettings) -> "FactorOdds":
        """The odds before any feedback: the base distributions themselves."""
        tilt = torch.tensor([component.share for component in settings.tilt])
        return FactorOdds(
            {
                "tilt": tilt / tilt.sum(),
                "articulation": torch.full((ARTICULATION_BINS,), 1.0 / ARTICULATION_BINS),
                "focal": torch.full((FOCAL_BINS,), 1.0 / FOCAL_BINS),
                "scale": torch.full((SCALE_BINS,), 1.0 / SCALE_BINS),
            }
        )


class FactorBins:
    """Draws of the four factors; `chosen` remembers the bin of every row.

    Args:
        odds: Of the bins, for all but the natural poses.
        settings: Of the base draw; natural poses keep its own odds, whatever the feedback says.
        natural: (B,) which poses stay near their source.
    """

    def __init__(self, odds: FactorOdds, settings: WideBaseSettings, natural: Tensor) -> None:
        self._odds = odds
        self._base = FactorOdds.even(settings)
        self._settings = settings
        self._natural = natural
        self.chosen: dict[str, Int[Tensor, " B"]] = {}

    def tilt(self, draws: RowDraws) -> Int[Tensor, " B"]:
        """Mixture component of the whole body's tilt; natural poses have the first."""
        chosen = self._choose("tilt", draws)
        self.chosen["tilt"] = torch.where(self._natural, torch.zeros_like(chosen), chosen)
        return self.chosen["tilt"]

    def articulation_level(self, draws: RowDraws) -> Float[Tensor, " B"]:
        """How far poses are bent, even from 0 to 1 before feedback; natural poses far less."""
        chosen = self._choose("articulation", draws)
        level = (chosen + draws.uniform("articulation.within")[:, 0]) / ARTICULATION_BINS
        level = torch.where(self._natural, self._settings.natural_articulation * level, level)
        self.chosen["articulation"] = (level * ARTICULATION_BINS).long().clamp_max(ARTICULATION_BINS - 1)
        return level

    def focal_screen(self, draws: RowDraws) -> Float[Tensor, " B"]:
        """Normalised focal length, log-uniform before feedback."""
        low, high = self._settings.focal_screen_min, self._settings.focal_screen_max
        share = (self._choose("focal", draws) + draws.uniform("focal.within")[:, 0]) / FOCAL_BINS
        return low * torch.exp(math.log(high / low) * share)

    def scale(self, draws: RowDraws) -> Float[Tensor, " B"]:
        """Screen units per metre at the root, log-normal (cut at its far tails) before feedback."""
        edges = torch.from_numpy(
            ndtri(np.clip(np.linspace(0.0, 1.0, SCALE_BINS + 1), _TAIL, 1.0 - _TAIL)).astype(np.float32)
        )
        chosen = self._choose("scale", draws)
        within = draws.uniform("scale.within")[:, 0]
        score = edges[chosen] + within * (edges[chosen + 1] - edges[chosen])
        return self._settings.scale_median * torch.exp(self._settings.scale_sigma * score)

    def _choose(self, factor: str, draws: RowDraws) -> Int[Tensor, " B"]:
        score = draws.uniform(f"{factor}.bin")[:, 0]
        steered, base = (_bin_of(score, odds.odds[factor]) for odds in (self._odds, self._base))
        self.chosen[factor] = torch.where(self._natural, base, steered)
        return self.chosen[factor]


def _bin_of(score: Float[Tensor, " B"], odds: Float[Tensor, " bins"]) -> Int[Tensor, " B"]:
    """The bin that an even draw from 0 to 1 falls into."""
    cumulated = torch.cumsum(odds, 0)
    return torch.searchsorted(cumulated, score * cumulated[-1], right=True).clamp_max(len(odds) - 1)
