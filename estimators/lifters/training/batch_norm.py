"""How fast BatchNorm forgets: VideoPose3D lets its momentum fall with the epochs."""

import math

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from estimators.errors import LifterInputError


class BatchNormMomentum(BaseModel):
    """Momentum from `first` in epoch 0, exponentially, to `last` after `epochs`: VideoPose3D's 0.1 to 0.001."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    first: float = Field(default=0.1, gt=0.0, le=1.0)
    last: float = Field(default=0.001, gt=0.0, le=1.0)
    epochs: int = Field(default=60, ge=1)

    def at(self, epoch: int) -> float:
        """Momentum in the epoch-th epoch, from 0; it stays at `last` afterwards."""
        return self.first * math.exp(min(epoch / self.epochs, 1.0) * math.log(self.last / self.first))


def set_momentum(module: nn.Module, momentum: float) -> None:
    """Give every BatchNorm inside the module this momentum: the weight of the newest batch in its statistics."""
    for part in module.modules():
        if isinstance(part, _BatchNorm):
            part.momentum = momentum


def check_training_rows(module: nn.Module, keypoints_screen: Tensor, receptive_field: int) -> None:
    """Raise LifterInputError if a batch is too small to learn from: BatchNorm has no variance of one output frame."""
    rows = len(keypoints_screen)
    frames = 1 if keypoints_screen.ndim == 3 else max(1, keypoints_screen.shape[1] - receptive_field + 1)
    has_norm = any(isinstance(part, _BatchNorm) for part in module.modules())
    if rows * frames < (2 if has_norm else 1):
        raise LifterInputError(
            f"training step: got {rows} sample(s) of {frames} output frame(s), wanted at least "
            f"{2 if has_norm else 1} in all{' for BatchNorm' if has_norm else ''}; join the row to another batch"
        )
