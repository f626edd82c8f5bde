"""What every reader of a weight file gives: a tree of plain values with tensors in it, and a way to read those."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from estimators.errors import CheckpointError
from estimators.weights_import.stand_ins import StorageRef, TensorRef

MAX_FILE_BYTES = 8 * 2**30
"""The largest published lifter, with its optimiser, has half a gigabyte."""
FREE_BYTES = 64 * 2**20
Leaf = TensorRef | Tensor
"""A tensor of a file, read or not."""


@dataclass
class Container:
    """A weight file, its tensors not read yet where the format allows that.

    Attributes:
        format: For reports: 'torch zip', 'torch legacy', 'safetensors', 'npz', 'keras h5'.
        tree: Plain values; `TensorRef` or `Tensor` where the file has a tensor. Never walk it without end.
        where: For error messages.
        notes: What a reader should be told about the file.
        budget_bytes: How much may be read out of it in all; a file that names its bytes again and again is refused.
    """

    format: str
    tree: Any
    where: str
    storage: Callable[[StorageRef], memoryview] | None = None
    notes: tuple[str, ...] = ()
    budget_bytes: int = field(default=FREE_BYTES)

    def tensor(self, leaf: Leaf) -> Tensor:
        """The numbers of a leaf, contiguous, in memory of their own.

        Raises:
            CheckpointError: if they are not all in the file, or the file repeats its bytes without measure.
        """
        if isinstance(leaf, Tensor):
            return leaf.contiguous()
        if self.storage is None:
            raise CheckpointError(
                f"{self.where}: a reference to a tensor in a {self.format} file; it is damaged"
            )
        itemsize = leaf.dtype.itemsize
        needed = itemsize * leaf.storage.numel
        self.budget_bytes -= needed
        if self.budget_bytes < 0:
            raise CheckpointError(
                f"{self.where}: its tensors need far more bytes than the file has, because they name the same ones "
                "again and again; save each tensor of the state dict by itself"
            )
        content = self.storage(leaf.storage)
        if len(content) != needed:
            raise CheckpointError(
                f"{self.where}: storage {leaf.storage.key!r:.40} wants {needed:,} bytes, got {len(content):,}; "
                "the file is damaged or cut off, fetch it again"
            )
        if not needed or 0 in leaf.shape:
            return torch.empty(leaf.shape, dtype=leaf.dtype)
        flat = torch.frombuffer(bytearray(content), dtype=leaf.dtype)
        return flat.as_strided(leaf.shape, leaf.stride, leaf.offset).clone(
            memory_format=torch.contiguous_format
        )


def check_size(size_bytes: int, where: str) -> None:
    """Raise CheckpointError unless a file of this size may be a weight file."""
    if size_bytes > MAX_FILE_BYTES:
        raise CheckpointError(
            f"{where}: {size_bytes:,} bytes, a weight file of a lifter has at most {MAX_FILE_BYTES:,}; "
            "save its state dict alone"
        )
    if size_bytes == 0:
        raise CheckpointError(f"{where}: the file is empty; fetch it again")
