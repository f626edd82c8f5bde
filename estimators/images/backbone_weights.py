"""Public ResNet weights (ImageNet's, say) into a backbone, name by name, with a report. Nothing in a file is run."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from estimators.errors import CheckpointError
from estimators.images.resnet import ResNet
from estimators.weights_import.read_weights import read_weights
from estimators.weights_import.state_dicts import find_state_dict

_CLASSIFIER = ("fc.", "head.", "classifier.")
_PREFIXES = ("backbone.", "encoder.", "resnet.")
_COUNTER = "num_batches_tracked"
_SHOWN = 4


@dataclass(frozen=True)
class BackboneReport:
    """What was done with a weight file.

    Attributes:
        file, format: Of the weights.
        mapped: How many tensors went into the backbone.
        filled: Batch counters that the file lacks, set to 0.
        ignored: What was left out: the classifier, and what lay beside the state dict.
        notes: What a reader should know.
    """

    file: str
    format: str
    mapped: int
    filled: int
    ignored: tuple[str, ...]
    notes: tuple[str, ...]

    def words(self) -> str:
        """One line for the log."""
        left = f"; left out: {', '.join(self.ignored)}" if self.ignored else ""
        notes = f" ({'; '.join(self.notes)})" if self.notes else ""
        done = f"{self.mapped} tensors into the backbone, {self.filled} counters set to 0"
        return f"{self.file}: {self.format}, {done}{left}{notes}"


def load_backbone(backbone: ResNet, data: bytes, where: str) -> BackboneReport:
    """Put a weight file's tensors into a backbone.

    Args:
        backbone: Its shape must be the file's: depth 18, 34 or 50, width 64 for ImageNet's.
        data: The file: torch, safetensors or npz; bare, or wrapped; with or without its classifier.
        where: Its name, for messages.

    Raises:
        CheckpointError: if it cannot be read, is of another network, or has numbers that are not finite.
    """
    container = read_weights(data, where)
    found = find_state_dict(container)
    notes = list(found.notes)
    names = _plain_names(found.tensors, notes)
    ignored = [name for name in names if name.startswith(_CLASSIFIER)]
    wanted = backbone.state_dict()
    _check_fit(
        {name: tuple(value.shape) for name, value in wanted.items()},
        {name: tuple(found.tensors[old].shape) for name, old in names.items() if name not in ignored},
        where,
    )
    state, filled = {}, 0
    for name, value in wanted.items():
        if name not in names:
            state[name] = torch.zeros_like(value)
            filled += 1
            continue
        tensor = container.tensor(found.tensors[names[name]]).to(value.dtype)
        if not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"{where}: tensor {name!r} has NaN or infinite numbers; take another file")
        state[name] = tensor
    backbone.load_state_dict(state)
    return BackboneReport(
        where, container.format, len(wanted) - filled, filled, (*ignored, *found.ignored), tuple(notes)
    )


def _plain_names(tensors: Mapping[str, object], notes: list[str]) -> dict[str, str]:
    """Name without a wrapper's prefix -> name in the file."""
    for prefix in _PREFIXES:
        if f"{prefix}conv1.weight" in tensors:
            notes.append(f"taken from below {prefix!r}")
            return {name.removeprefix(prefix): name for name in tensors if name.startswith(prefix)}
    return {name: name for name in tensors}


def _check_fit(wanted: Mapping[str, tuple[int, ...]], got: Mapping[str, tuple[int, ...]], where: str) -> None:
    faults = [
        f"{name!r} wants {list(shape)}, {f'got {list(got[name])}' if name in got else 'is missing'}"
        for name, shape in wanted.items()
        if got.get(name) != shape and not (name not in got and name.endswith(_COUNTER))
    ]
    faults += [
        f"{name!r:.80} {list(shape)} has no place" for name, shape in got.items() if name not in wanted
    ]
    if faults:
        more = f", and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        raise CheckpointError(
            f"{where}: does not fit the backbone ({len(wanted)} tensors wanted, {len(got)} found): "
            f"{'; '.join(faults[:_SHOWN])}{more}. Set network.backbone to the depth and width of the file"
        )
