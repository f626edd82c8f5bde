"""Crops drawn anew in every pass over the data: scale, shift, turn, mirror and colour, of integral regression's family.

Sun et al. 2018 train with scaled, turned, mirrored and recoloured crops; the ranges here are ours. Everything comes
from `RowRandom(seed, purpose, row, pass)`: a row's crop is a function of seed, row and pass, whoever asks and whatever
rows are beside it.
"""

import numpy as np
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field

from estimators.images.crops import Crops
from poses.randomness import RowRandom


class CropAugmentationSettings(BaseModel):
    """How much crops of training are changed; all zero leaves them as they are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scale: float = Field(
        default=0.25, ge=0.0, lt=1.0, description="sides are multiplied by 1 - scale to 1 + scale"
    )
    shift: float = Field(
        default=0.05, ge=0.0, le=0.5, description="centres move by up to this share of the side"
    )
    turn_deg: float = Field(
        default=30.0, ge=0.0, le=180.0, description="turned crops: up to this, either way"
    )
    turned_share: float = Field(default=0.6, ge=0.0, le=1.0, description="share of crops that are turned")
    mirrored_share: float = Field(default=0.5, ge=0.0, le=1.0)
    colour: float = Field(
        default=0.2, ge=0.0, lt=1.0, description="every channel is multiplied by 1 - colour to 1 + colour"
    )


def augmented_crops(crops: Crops, settings: CropAugmentationSettings, random: RowRandom) -> Crops:
    """Crops that are scaled, shifted, turned and mirrored, each by its own row's draw."""
    scale = 1.0 + settings.scale * _symmetric(random, 1, "scale")[:, 0]
    shift = settings.shift * _symmetric(random, 2, "shift") * 2.0 * crops.half_side_px[:, None]
    angle = np.deg2rad(settings.turn_deg) * _symmetric(random, 1, "turn")[:, 0]
    is_turned = random.uniform(1, "turned")[:, 0] < settings.turned_share
    mirrored = random.uniform(1, "mirrored")[:, 0] < settings.mirrored_share
    return Crops(
        crops.centre_px + shift,
        crops.half_side_px * scale,
        crops.angle_rad + np.where(is_turned, angle, 0.0),
        crops.mirrored ^ mirrored,
    )


def colour_gains(settings: CropAugmentationSettings, random: RowRandom) -> Float[np.ndarray, "B 3"]:
    """Factors on red, green and blue; results are clipped to [0, 1] by whoever applies them."""
    return (1.0 + settings.colour * _symmetric(random, 3, "colour")).astype(np.float32)


def _symmetric(random: RowRandom, columns: int, stream: str) -> np.ndarray:
    """(B, columns) float64 from -1 to 1."""
    return 2.0 * random.uniform(columns, stream).astype(np.float64) - 1.0
