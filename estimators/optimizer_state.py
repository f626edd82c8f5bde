"""Adam's state as flat tensors by parameter name, so that optimisers are checkpointed without pickle."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from estimators.errors import CheckpointError

_MOMENTS = ("step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq")


def adam_state(optimizer: torch.optim.Adam, module: nn.Module) -> dict[str, Tensor]:
    """Copies of the moments and step counters of every parameter: "<parameter>/<moment>" -> tensor."""
    state: dict[str, Tensor] = {}
    for name, parameter in module.named_parameters():
        for moment, value in optimizer.state.get(parameter, {}).items():
            state[f"{name}/{moment}"] = value.detach().clone()
    return state


def load_adam_state(optimizer: torch.optim.Adam, module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Inverse of `adam_state`; an empty mapping resets the optimiser.

    Raises:
        CheckpointError: if a moment belongs to no parameter or has another shape.
    """
    parameters = dict(module.named_parameters())
    optimizer.state.clear()
    for key, value in tensors.items():
        name, _, moment = key.rpartition("/")
        if name not in parameters or moment not in _MOMENTS:
            raise CheckpointError(
                f"optimiser state {key!r} belongs to no parameter; the checkpoint is of another architecture"
            )
        parameter = parameters[name]
        if moment != "step" and value.shape != parameter.shape:
            raise CheckpointError(
                f"optimiser state {key!r} wants shape {list(parameter.shape)}, got {list(value.shape)}; "
                "the checkpoint is of another architecture"
            )
        moved = value.to(parameter.device) if moment != "step" or parameter.is_cuda else value
        optimizer.state[parameter][moment] = moved.clone()


def generator_state(generator: torch.Generator) -> Tensor:
    """State of a random generator as a uint8 tensor."""
    return generator.get_state().clone()


def load_generator_state(generator: torch.Generator, state: Tensor) -> None:
    """Inverse of `generator_state`."""
    generator.set_state(state.cpu())
