"""Weight files of named arrays: safetensors, and npz without pickles. Names are state-dict keys."""

import io
import lzma
import struct
import tokenize
import zipfile
import zlib
from math import prod

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as tensors_from_bytes
from torch import Tensor

from estimators.errors import CheckpointError
from estimators.weights_import.container import FREE_BYTES, Container

MAX_INFLATION = 20
"""An npz may unpack to so many times its size beyond the free bytes; weights hardly shrink at all."""
_HEADER_BYTES = 10_000
_FAULTS = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, NotImplementedError, ValueError, RuntimeError,
    TypeError, KeyError, OverflowError, MemoryError, SyntaxError, struct.error, tokenize.TokenError,
)  # fmt: skip
"""What zipfile and numpy raise on damaged archives and headers."""
_NUMBER_KINDS = "fiub"


def read_safetensors(data: bytes, where: str) -> Container:
    """A safetensors file.

    Raises:
        CheckpointError: if it is damaged, or posemill's own.
    """
    try:
        tensors = tensors_from_bytes(data)
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise CheckpointError(
            f"{where}: not a readable safetensors file ({error!s:.120}); it is cut off or damaged, fetch it again"
        ) from error
    header = data[: 8 + int.from_bytes(data[:8], "little")]
    if b'"__metadata__"' in header and b'"posemill"' in header:
        raise CheckpointError(f"{where}: already a file of posemill; give it to `posemill evaluate` as it is")
    return Container("safetensors", tensors, where)


def read_npz(data: bytes, where: str) -> Container:
    """An npz of number arrays.

    Raises:
        CheckpointError: if it is damaged, holds objects (pickles), or unpacks to far more than its size.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            _check_inflation(sum(entry.file_size for entry in entries), len(data), where)
            tensors = {
                entry.filename.removesuffix(".npy"): _array(archive.read(entry), entry.filename, where)
                for entry in entries
            }
    except CheckpointError:
        raise
    except _FAULTS as error:
        raise CheckpointError(
            f"{where}: an npz that cannot be read ({error!s:.120}); it is cut off or damaged, fetch it again"
        ) from error
    return Container("npz", tensors, where)


def _check_inflation(unpacked_bytes: int, size_bytes: int, where: str) -> None:
    if unpacked_bytes > FREE_BYTES + MAX_INFLATION * size_bytes:
        raise CheckpointError(
            f"{where}: unpacks to {unpacked_bytes:,} bytes from {size_bytes:,}; weights do not shrink so much, the "
            "file is made to fill the memory"
        )


def _array(content: bytes, name: str, where: str) -> Tensor:
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    read_header = (
        np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    )
    shape, fortran, dtype = read_header(stream, max_header_size=_HEADER_BYTES)
    if dtype.kind not in _NUMBER_KINDS or dtype.itemsize > 8:
        raise CheckpointError(
            f"{where}: array {name!r:.60} is of type {dtype!s:.40}; wanted numbers, pickled objects are never read"
        )
    start = stream.tell()
    if any(length < 0 for length in shape) or start + dtype.itemsize * prod(shape) != len(content):
        raise CheckpointError(
            f"{where}: array {name!r:.60} of shape {shape} does not fit its {len(content):,} bytes; the file is damaged"
        )
    numbers = np.frombuffer(content, dtype=dtype, offset=start).reshape(shape, order="F" if fortran else "C")
    return torch.from_numpy(np.array(numbers, dtype=dtype.newbyteorder("="), order="C"))
