"""A trained lifter as one file: its weights, what it is built from, and how it came to be."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from estimators.checkpoints import checkpoint_from_bytes, checkpoint_to_bytes, load_module_state
from estimators.errors import CheckpointError
from estimators.lifters.contract import Lifter
from estimators.lifters.settings import LifterSettings, build_lifter
from poses.skeleton import Skeleton

KIND = "lifter"
_SETTINGS: TypeAdapter[Any] = TypeAdapter(LifterSettings)


@dataclass(frozen=True)
class SavedLifter:
    """A lifter in evaluation mode, and what its file says of it."""

    lifter: Lifter
    provenance: dict[str, Any]


def lifter_to_bytes(
    settings: Any, skeleton: Skeleton, tensors: Mapping[str, Tensor], provenance: Mapping[str, Any]
) -> bytes:
    """The file of a lifter.

    Args:
        settings: `LifterSettings` that it was built with.
        skeleton: Joints of its input and output.
        tensors: Its state dict.
        provenance: Plain JSON: dataset, run, steps, validation error, ...
    """
    metadata = {
        "kind": KIND,
        "settings": settings.model_dump(mode="json"),
        "skeleton": skeleton.to_dict(),
        "provenance": dict(provenance),
    }
    return checkpoint_to_bytes(tensors, metadata)


def lifter_from_bytes(data: bytes, where: str) -> SavedLifter:
    """The lifter of a file.

    Raises:
        CheckpointError: if the file is damaged, or no lifter's.
    """
    checkpoint = checkpoint_from_bytes(data, where)
    if checkpoint.metadata.get("kind") != KIND:
        raise CheckpointError(
            f"{where}: wanted the checkpoint of a lifter, got that of {checkpoint.metadata.get('kind')!r}; "
            "give the file that `train` or `loop` wrote as lifter.safetensors"
        )
    try:
        settings = _SETTINGS.validate_python(checkpoint.metadata["settings"])
    except ValidationError as error:
        raise CheckpointError(
            f"{where}: the lifter's settings do not fit this posemill: {error}; train it again"
        ) from error
    lifter = build_lifter(settings, Skeleton.from_dict(checkpoint.metadata["skeleton"]), 0)
    load_module_state(lifter, checkpoint.tensors, where)
    return SavedLifter(lifter.eval(), dict(checkpoint.metadata.get("provenance", {})))
