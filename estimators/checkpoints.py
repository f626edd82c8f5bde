"""Checkpoints without pickle: named tensors and JSON metadata in one safetensors file, written atomically.

A checkpoint of several parts keeps them apart by prefixes, `part/name`; `pack` and `unpack` add and take
them off.
"""

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor

from estimators.errors import CheckpointError

FORMAT_VERSION = 1
_METADATA_KEY = "posemill"
_HEADER_LENGTH_BYTES = 8


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds: tensors by name and JSON metadata."""

    tensors: dict[str, Tensor]
    metadata: dict[str, Any]


def pack(**parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Join several tensor dictionaries: part "a" and key "x" become "a/x"."""
    return {f"{part}/{name}": value for part, tensors in parts.items() for name, value in tensors.items()}


def unpack(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """The tensors of one part, without its prefix; empty where the part had none."""
    prefix = f"{part}/"
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def checkpoint_to_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> bytes:
    """Serialise tensors and JSON metadata; equal contents in the same order of keys give equal bytes.

    Raises:
        CheckpointError: if the metadata is not plain JSON.
    """
    try:
        document = json.dumps({"format": FORMAT_VERSION, "metadata": metadata}, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"checkpoint metadata must be plain JSON without NaN: {error}; convert it before saving"
        ) from error
    plain = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    return tensors_to_bytes(plain, metadata={_METADATA_KEY: document})


def checkpoint_from_bytes(data: bytes, where: str = "checkpoint") -> Checkpoint:
    """Read what `checkpoint_to_bytes` wrote.

    Args:
        data: The whole file.
        where: Name for error messages, e.g. the path.

    Raises:
        CheckpointError: if the bytes are no checkpoint of posemill, or damaged.
    """
    try:
        tensors = tensors_from_bytes(data)
        header_bytes = int.from_bytes(data[:_HEADER_LENGTH_BYTES], "little")
        header = json.loads(data[_HEADER_LENGTH_BYTES : _HEADER_LENGTH_BYTES + header_bytes])
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(
            f"{where}: not a readable safetensors file ({error}); it is damaged or of another format, "
            "take an earlier checkpoint"
        ) from error
    document = header.get("__metadata__", {}).get(_METADATA_KEY)
    if document is None:
        raise CheckpointError(
            f"{where}: a safetensors file without posemill's metadata; wanted one that `posemill` wrote"
        )
    try:
        parsed = json.loads(document)
        version, metadata = parsed["format"], parsed["metadata"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(
            f"{where}: its metadata is not what `posemill` writes ({type(error).__name__}); the file is damaged, "
            "take an earlier checkpoint"
        ) from error
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"{where}: checkpoint format {version!r:.40}, this posemill reads {FORMAT_VERSION}; "
            "use the posemill version that wrote it"
        )
    if not isinstance(metadata, dict):
        raise CheckpointError(
            f"{where}: wanted metadata by name, got a {type(metadata).__name__}; the file is damaged"
        )
    return Checkpoint(tensors=tensors, metadata=metadata)


def save_checkpoint(
    path: str | os.PathLike[str], tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]
) -> None:
    """Write a checkpoint to a local file; a reader sees the old file or the new one, never half of one."""
    target = Path(path)
    data = checkpoint_to_bytes(tensors, metadata)
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def load_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a checkpoint from a local file.

    Raises:
        CheckpointError: if the file is missing, damaged or not posemill's.
    """
    source = Path(path)
    if not source.is_file():
        raise CheckpointError(f"{source}: no such checkpoint file; give the path of a .safetensors file")
    return checkpoint_from_bytes(source.read_bytes(), where=str(source))


def load_module_state(module: torch.nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Load a state dict strictly, with an error that names the first tensor that does not fit.

    Raises:
        CheckpointError: on missing, surplus or differently shaped tensors.
    """
    wanted = module.state_dict()
    for name in (*wanted, *tensors):
        if name not in tensors:
            raise CheckpointError(
                f"{where}: tensor {name!r} is missing; the checkpoint is of another architecture"
            )
        if name not in wanted:
            raise CheckpointError(
                f"{where}: unknown tensor {name!r}; the checkpoint is of another architecture"
            )
        if wanted[name].shape != tensors[name].shape:
            raise CheckpointError(
                f"{where}: tensor {name!r} wants shape {list(wanted[name].shape)}, got "
                f"{list(tensors[name].shape)}; "
                "build the module with the settings that the checkpoint was trained with"
            )
    module.load_state_dict(dict(tensors))
