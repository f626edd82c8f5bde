"""A module's state as one flat, versioned buffer, so that weights travel between actors as a single array."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from estimators.errors import CheckpointError


@dataclass(frozen=True)
class TensorSlot:
    """Where one named tensor lies in the flat buffer.

    Args:
        name: Key in the module's state dict.
        shape: Shape of the tensor.
        dtype: Name of its type, e.g. "float32"; other types than float32 keep their bits, not their values.
        offset: First float32 word of the tensor in the buffer.
        words: Number of float32 words that it takes.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    offset: int
    words: int


@dataclass(frozen=True)
class WeightBuffer:
    """All tensors of a module in one float32 array.

    Args:
        version: Counts up with every publication; consumers compare it for staleness.
        flat: (N,) float32.
        layout: Names, shapes and offsets; equal layouts mean interchangeable buffers.
    """

    version: int
    flat: Float[Tensor, " N"]
    layout: tuple[TensorSlot, ...]


def flatten_state(module: nn.Module, version: int = 0) -> WeightBuffer:
    """Copy a module's parameters and buffers into one flat CPU array.

    Integer tensors (BatchNorm's step counters) are stored bit by bit, so that loading restores them exactly.
    """
    return flatten_tensors(module.state_dict(), version)


def flatten_tensors(state: Mapping[str, Tensor], version: int = 0) -> WeightBuffer:
    """As `flatten_state`, of a state dict: averaged weights, for instance."""
    layout: list[TensorSlot] = []
    pieces: list[Tensor] = []
    offset = 0
    for name, value in state.items():
        words = _as_words(value.detach().cpu())
        layout.append(TensorSlot(name, tuple(value.shape), _dtype_name(value), offset, words.numel()))
        pieces.append(words)
        offset += words.numel()
    flat = torch.cat(pieces) if pieces else torch.zeros(0)
    return WeightBuffer(version=version, flat=flat, layout=tuple(layout))


def load_flat(module: nn.Module, buffer: WeightBuffer) -> None:
    """Copy a flat buffer into a module of the same architecture, in place.

    Raises:
        CheckpointError: if names, shapes or types differ, or the buffer's length is not its layout's.
    """
    state = module.state_dict()
    _check_layout(state, buffer)
    with torch.no_grad():
        for slot in buffer.layout:
            words = buffer.flat[slot.offset : slot.offset + slot.words]
            target = state[slot.name]
            source = words if target.dtype == torch.float32 else words.clone().view(target.dtype)
            target.copy_(source.reshape(slot.shape))


def _check_layout(state: Mapping[str, Tensor], buffer: WeightBuffer) -> None:
    got = {slot.name: (slot.shape, slot.dtype) for slot in buffer.layout}
    wanted = {name: (tuple(value.shape), _dtype_name(value)) for name, value in state.items()}
    for name in (*wanted, *got):
        if got.get(name) != wanted.get(name):
            raise CheckpointError(
                f"weight buffer version {buffer.version}: tensor {name!r} is {_describe(got.get(name))} "
                f"in the buffer "
                f"and {_describe(wanted.get(name))} in the module; build the module with the settings of "
                f"the sender"
            )
    total = sum(slot.words for slot in buffer.layout)
    if buffer.flat.numel() != total:
        raise CheckpointError(
            f"weight buffer version {buffer.version}: the layout wants {total:,} float32 words, "
            f"the buffer holds {buffer.flat.numel():,}; it was cut on the way, send it again"
        )


def _as_words(value: Tensor) -> Tensor:
    flat = value.reshape(-1).contiguous()
    if flat.dtype == torch.float32:
        return flat
    if flat.element_size() % 4:
        raise CheckpointError(
            f"a weight buffer holds tensors of 4 or 8 byte elements, got {_dtype_name(value)}; convert "
            f"the module first"
        )
    return flat.view(torch.float32)


def _dtype_name(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")


def _describe(entry: tuple[tuple[int, ...], str] | None) -> str:
    return "absent" if entry is None else f"{entry[1]} {list(entry[0])}"
