"""Settings of the default loop's augmentor; every part can be switched off, which is what the ablations do."""

from pydantic import BaseModel, ConfigDict, Field

from augment.poseaug.settings import PoseAugSettings
from augment.wide_base.settings import WideBaseSettings


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SamplerSettings(_Settings):
    """Feedback on the odds of the base's factor bins: harder than average is drawn more often."""

    enabled: bool = True
    power: float = Field(default=0.5, ge=0.0)
    """A bin's odds are its base probability times (its error / the mean error) ** power, within the bounds."""
    min_ratio: float = Field(default=0.4, gt=0.0)
    max_ratio: float = Field(default=2.5, gt=0.0)
    memory: float = Field(default=0.98, gt=0.0, lt=1.0)
    """How much of a bin's error estimate survives each new pose in it."""


class SelectionSettings(_Settings):
    """Feedback on single poses: draw more candidates than are needed and keep those that still teach.

    Natural poses are chosen by chance alone, and the others are measured against each other, so that the hard ones
    never crowd out the ordinary.
    """

    enabled: bool = True
    oversampling: float = Field(default=1.8, ge=1.0)
    power: float = Field(default=1.0, ge=0.0)
    """Candidates are kept with odds proportional to (error / mean error) ** power ..."""
    max_ratio: float = Field(default=3.0, gt=0.0)
    """... but nothing past this multiple of the mean error gains from being harder (hard but learnable)."""


class ResidualSettings(_Settings):
    """The learned augmentor on top of the base draw, held by the discriminators."""

    enabled: bool = True
    share: float = Field(default=0.1, ge=0.0, le=1.0)
    """Share of the emitted poses that pass through the learned augmentor, at most: only bent poses do."""
    train_every: int = Field(default=4, ge=1)
    """One adversarial step of the augmentor per so many batches of poses."""
    batch_rows: int = Field(default=128, ge=8)
    poseaug: PoseAugSettings = PoseAugSettings()


class FeedbackLoopSettings(_Settings):
    """The default loop's augmentor."""

    wide: bool = True
    """False replaces the base draw by the source poses themselves (ablation: no wide base)."""
    base: WideBaseSettings = WideBaseSettings()
    sampler: SamplerSettings = SamplerSettings()
    selection: SelectionSettings = SelectionSettings()
    residual: ResidualSettings = ResidualSettings()
    library_poses: int = Field(default=8192, ge=1)
