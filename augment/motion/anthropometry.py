"""People of different size: body proportions after published anthropometric tables (`anthropometry.yaml`)."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import yaml

SEXES = ("female", "male")


@dataclass(frozen=True)
class Body:
    """One person. `lengths_m` holds the proportions of `anthropometry.yaml` in metres; left equals right."""

    subject: str
    sex: str
    stature_m: float
    lengths_m: dict[str, float]

    @property
    def leg_m(self) -> float:
        """Hip joint to sole, standing straight."""
        return self.lengths_m["thigh"] + self.lengths_m["shank"] + self.lengths_m["ankle_height"]


@cache
def _tables() -> dict:
    return yaml.safe_load((Path(__file__).parent / "anthropometry.yaml").read_text(encoding="utf-8"))


def draw_body(subject: str, female_share: float, generator: np.random.Generator) -> Body:
    """A person drawn from the published distributions.

    Stature is normal within its sex (cut at `stature_limits_m`); every proportion varies log-normally around
    its mean, independently of the others, which gives long-legged and short-legged people of one height.
    """
    tables = _tables()
    sex = SEXES[0] if generator.random() < female_share else SEXES[1]
    stature = tables["stature_m"][sex]
    shortest_m, tallest_m = tables["stature_limits_m"]
    stature_m = float(np.clip(generator.normal(stature["mean"], stature["deviation"]), shortest_m, tallest_m))
    fractions = tables["fractions"][sex]
    variation = np.exp(
        np.clip(generator.normal(size=len(fractions)), -2.5, 2.5) * tables["proportion_deviation"]
    )
    lengths_m = {
        name: float(fraction * stature_m * factor)
        for (name, fraction), factor in zip(fractions.items(), variation, strict=True)
    }
    return Body(subject=subject, sex=sex, stature_m=stature_m, lengths_m=lengths_m)
