"""Loading of published state dicts whose names are a module's own."""

from collections.abc import Mapping

from torch import Tensor, nn

from estimators.errors import CheckpointError


def load_published(module: nn.Module, state: Mapping[str, Tensor], network: str, settings: str) -> None:
    """Load a state dict after comparing every name and shape.

    Args:
        module: Takes the values.
        state: By the module's own names.
        network: What the error calls the network.
        settings: Names of the settings that decide its shape, for the error.

    Raises:
        CheckpointError: if a tensor is missing, unknown, or of another shape.
    """
    wanted = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    got = {name: tuple(value.shape) for name, value in state.items()}
    wrong = [name for name in (*wanted, *got) if got.get(name) != wanted.get(name)]
    if wrong:
        name = wrong[0]
        raise CheckpointError(
            f"published {network} state: tensor {name!r} wants shape {wanted.get(name)}, got {got.get(name)} "
            f"({len(set(wrong))} tensors differ); it is of another architecture, or set {settings} as it has them"
        )
    module.load_state_dict(dict(state))
