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
    """decay ** (progress / period), in updates or epochs (VideoPose3D)."""

    kind: Literal["exponential"] = "exponential"
    decay: float = Field(default=0.96, gt=0.0, le=1.0)
    period: int = Field(default=100_000, ge=1)
    unit: Literal["step", "epoch"] = "step"
    staircase: bool = Field(default=True, description="change only at whole periods")

    def factor(self, step: int, epoch: int) -> float:
        """Factor for the step-th update or epoch-th epoch (both from 0)."""
        progress = (step if self.unit == "step" else epoch) / self.period
        return self.decay ** (math.floor(progress) if self.staircase else progress)


class ReleasedExponentialSchedule(_Schedule):
    """SemGCN's decay as released, in PoseAug's pretraining too: decay ** (n / period) at the n-th update from 1, but
    looked up only at n = 1 and at whole periods, so the rate stands still in between.
    """

    kind: Literal["exponential_released"] = "exponential_released"
    decay: float = Field(default=0.96, gt=0.0, le=1.0)
    period: int = Field(default=100_000, ge=1)

    def factor(self, step: int, epoch: int) -> float:
        """Factor for the step-th update (from 0)."""
        update = step + 1
        looked_up = max(1, update // self.period * self.period)
        return self.decay ** (looked_up / self.period)


class StepSchedule(_Schedule):
    """A factor at each milestone: RepNet's rates, divided by 10 after epochs 5, 10 and 15, are factors 0.1 there."""

    kind: Literal["step"] = "step"
    milestones: tuple[int, ...] = Field(min_length=1, description="updates or epochs that begin a lower rate")
    decay: float = Field(default=0.1, gt=0.0, le=1.0)
    unit: Literal["step", "epoch"] = "epoch"

    def factor(self, step: int, epoch: int) -> float:
        """Factor for the step-th update or epoch-th epoch (both from 0)."""
        now = step if self.unit == "step" else epoch
        return self.decay ** sum(now >= milestone for milestone in self.milestones)


class OneCycleSchedule(_Schedule):
    """Smith's one-cycle policy (arXiv 1708.07120) by cosines: up from `start_factor` to 1 over `warmup_share` of the
    updates, then down to `final_factor`; Adam's betas stay as they are.
    """

    kind: Literal["one_cycle"] = "one_cycle"
    steps: int = Field(ge=2)
    warmup_share: float = Field(default=0.3, gt=0.0, lt=1.0)
    start_factor: float = Field(default=0.04, ge=0.0, le=1.0)
    final_factor: float = Field(default=4e-6, ge=0.0, le=1.0)

    def factor(self, step: int, epoch: int) -> float:
        """Factor for the step-th update (from 0)."""
        peak = max(1.0, self.warmup_share * self.steps - 1.0)
        if step < peak:
            return _half_cosine(self.start_factor, 1.0, step / peak)
        return _half_cosine(1.0, self.final_factor, (step - peak) / max(1.0, self.steps - 1.0 - peak))


def _half_cosine(start: float, stop: float, progress: float) -> float:
    """From start to stop as progress goes from 0 to 1; stop ever after."""
    return stop + (start - stop) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))


_Plain = (
    ConstantSchedule
    | LinearPoseAugSchedule
    | CosineSchedule
    | ExponentialSchedule
    | ReleasedExponentialSchedule
    | StepSchedule
    | OneCycleSchedule
)


class WarmupSchedule(_Schedule):
    """A linear rise over the first updates, times another schedule, which is not delayed by it."""

    kind: Literal["warmup"] = "warmup"
    steps: int = Field(ge=1)
    then: _Plain = Field(default=ConstantSchedule(), discriminator="kind")

    def factor(self, step: int, epoch: int) -> float:
        """Factor for the step-th update (from 0) in the epoch-th epoch (from 0)."""
        return min(1.0, (step + 1) / self.steps) * self.then.factor(step, epoch)


Schedule = Annotated[_Plain | WarmupSchedule, Field(discriminator="kind")]
