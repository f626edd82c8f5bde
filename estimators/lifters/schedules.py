"""Learning-rate schedules by name: a factor on the base rate by step and epoch, without state."""

import math
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Schedule(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ConstantSchedule(_Schedule):
    """Factor 1."""

    kind: Literal["constant"] = "constant"

    def factor(self, step: int, epoch: int) -> float:
        """Factor for the step-th update (from 0) in the epoch-th epoch (from 0)."""
        return 1.0


class LinearPoseAugSchedule(_Schedule):
    """PoseAug's linear decay: 1 - epoch / (epochs + 1), epochs counted from 0."""

    kind: Literal["linear_poseaug"] = "linear_poseaug"
    epochs: int = Field(default=50, ge=1)

    def factor(self, step: int, epoch: int) -> float:
        """Factor in the epoch-th epoch (from 0); 0 after the last."""
        return max(0.0, 1.0 - epoch / (self.epochs + 1))


class CosineSchedule(_Schedule):
    """Half a cosine from 1 to `final_factor` over `steps` updates, after a linear warm-up."""

    kind: Literal["cosine"] = "cosine"
    steps: int = Field(ge=1)
    warmup_steps: int = Field(default=0, ge=0)
    final_factor: float = Field(default=0.0, ge=0.0, le=1.0)

    def factor(self, step: int, epoch: int) -> float:
        """Factor for the step-th update (from 0)."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        progress = min(1.0, (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps))
        return self.final_factor + (1.0 - self.final_factor) * 0.5 * (1.0 + math.cos(math.pi * progress))


class ExponentialSchedule(_Schedule):
    """decay ** (progress / period), in updates (SemGCN, PoseAug pretraining) or epochs (VideoPose3D)."""

    kind: Literal["exponential"] = "exponential"
    decay: float = Field(default=0.96, gt=0.0, le=1.0)
    period: int = Field(default=100_000, ge=1)
    unit: Literal["step", "epoch"] = "step"
    staircase: bool = Field(default=True, description="change only at whole periods")

    def factor(self, step: int, epoch: int) -> float:
        """Factor for the step-th update or epoch-th epoch (both from 0)."""
        progress = (step if self.unit == "step" else epoch) / self.period
        return self.decay ** (math.floor(progress) if self.staircase else progress)


Schedule = Annotated[
    ConstantSchedule | LinearPoseAugSchedule | CosineSchedule | ExponentialSchedule,
    Field(discriminator="kind"),
]
