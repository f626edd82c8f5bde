"""When training ends before its last step: no better score for some validations in a row."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from poses.protocols import is_better


class EarlyStopping(BaseModel):
    """Stops a training run whose validation has stopped getting better."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    patience: int = Field(ge=1)
    """Validations in a row without a better score."""
    min_change: float = Field(default=0.0, ge=0.0)
    """How much better than the best a score must be to count, in the metric's unit."""

    def is_due(self, scores: Sequence[float], metric: str) -> bool:
        """Whether to stop after these scores, oldest first; a function of them alone, so a resumed run agrees."""
        best: float | None = None
        waited = 0
        for score in scores:
            if best is None or is_better(metric, score, best, self.min_change):
                best, waited = score, 0
            else:
                waited += 1
        return waited >= self.patience
