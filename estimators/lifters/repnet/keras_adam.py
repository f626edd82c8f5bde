"""Adam as Keras has it, one layer at a time: epsilon stands outside the bias correction.

p -= rate sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + eps). torch's Adam divides sqrt(v) by sqrt(1 - b2^t)
before it adds epsilon, so it is given eps / sqrt(1 - b2^t), which is the same number. Updating a layer as
soon as its gradient is known keeps the gradient in the processor's cache: it is never written to memory as a
whole.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from estimators.errors import CheckpointError


@dataclass(frozen=True)
class _Moments:
    mean: Tensor
    square: Tensor


class KerasAdam:
    """Moments of a module's parameters.

    Args:
        module: Its parameters are updated in place.
        betas: Of the moments.
        epsilon: Keras's.
    """

    def __init__(self, module: nn.Module, betas: tuple[float, float], epsilon: float) -> None:
        self._betas, self._epsilon = betas, epsilon
        self._parameters = dict(module.named_parameters())
        self._step = torch.zeros((), device=next(module.parameters()).device)
        self._moments: dict[Tensor, _Moments] = {
            parameter: _Moments(
                torch.zeros_like(parameter, requires_grad=False),
                torch.zeros_like(parameter, requires_grad=False),
            )
            for parameter in self._parameters.values()
        }
        self.steps = 0
        self._rate, self._epsilon_now = 0.0, epsilon

    def begin_step(self, learning_rate: float) -> None:
        """Say that the next updates, one per parameter, belong to the next step."""
        self.steps += 1
        self._step.fill_(self.steps)
        self._rate = learning_rate
        self._epsilon_now = self._epsilon / (1.0 - self._betas[1] ** self.steps) ** 0.5

    def update(self, *pairs: tuple[Tensor, Tensor]) -> None:
        """Update some parameters, each once in a step, from (parameter, gradient)."""
        moments = [self._moments[parameter] for parameter, _ in pairs]
        # What torch.optim.Adam(fused=True) calls; its wrapper costs more than a small layer's update.
        torch.ops.aten._fused_adam_.default(
            [parameter for parameter, _ in pairs],
            [gradient for _, gradient in pairs],
            [moment.mean for moment in moments],
            [moment.square for moment in moments],
            [],
            [self._step] * len(moments),
            lr=self._rate,
            beta1=self._betas[0],
            beta2=self._betas[1],
            weight_decay=0.0,
            eps=self._epsilon_now,
            amsgrad=False,
            maximize=False,
        )

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Copies of the moments by parameter, and the step count."""
        tensors: dict[str, Tensor] = {}
        for name, parameter in self._parameters.items():
            moments = self._moments[parameter]
            tensors[f"{name}/mean"] = moments.mean.clone()
            tensors[f"{name}/square"] = moments.square.clone()
        return tensors, {"steps": self.steps}

    def load_state(self, tensors: Mapping[str, Tensor], scalars: Mapping[str, Any]) -> None:
        """Inverse of `state`.

        Raises:
            CheckpointError: if a moment is missing or has another shape.
        """
        for name, parameter in self._parameters.items():
            moments = self._moments[parameter]
            for key, target in ((f"{name}/mean", moments.mean), (f"{name}/square", moments.square)):
                if key not in tensors or tensors[key].shape != target.shape:
                    got = list(tensors[key].shape) if key in tensors else "nothing"
                    raise CheckpointError(
                        f"optimiser state {key!r} wants shape {list(target.shape)}, got {got}; "
                        "the checkpoint is of another architecture"
                    )
                target.copy_(tensors[key])
        self.steps = int(scalars["steps"])
