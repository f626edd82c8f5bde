"""Keras .h5 files: the kernels and biases of dense layers by layer name, without Keras.

Keras 2 writes `model_weights/<layer>/<layer>/kernel:0`; `save_weights` leaves the outer group out, nested models add
groups in between, Keras 3 drops the `:0`. Whatever the depth, a weight is named by its last two parts. The model's
configuration (JSON) and any Python code in it (lambda layers) are not read.

HDF5 can point out of itself: soft and external links, external storage, virtual datasets and plug-in filters are
refused. The library is C code that parses the file; keep it up to date (docs/security.md).
"""

from math import prod
from typing import Any

import torch
from torch import Tensor

from estimators.errors import CheckpointError
from estimators.weights_import.container import FREE_BYTES, Container

MAX_DEPTH = 8
MAX_OBJECTS = 10_000
MAX_INFLATION = 20
_KNOWN_FILTERS = {1: "deflate", 2: "shuffle", 3: "fletcher32"}


def read_keras_h5(data: bytes, where: str) -> Container:
    """A Keras .h5 file.

    Returns:
        A container whose tree maps '<layer>/kernel' (in, out) and '<layer>/bias' (out,) to tensors.

    Raises:
        CheckpointError: if h5py is not installed, the file is damaged, points outside itself, or holds no weights.
    """
    try:
        import h5py
    except ImportError as error:
        raise CheckpointError(
            f"{where}: a Keras .h5 file needs h5py, which is not installed; pip install 'posemill[keras]'"
        ) from error
    try:
        identifier = h5py.h5f.open_file_image(data)
        with h5py.File(identifier) as file:
            tensors = _Walk(h5py, len(data), where).collect(file)
    except CheckpointError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, OverflowError, MemoryError) as error:
        raise CheckpointError(
            f"{where}: an HDF5 file that cannot be read ({error!s:.120}); it is cut off or damaged, fetch it again"
        ) from error
    if not tensors:
        raise CheckpointError(
            f"{where}: an HDF5 file without a kernel or bias; wanted a Keras model's weights"
        )
    return Container("keras h5", tensors, where)


class _Walk:
    """Goes through the groups, no deeper and no longer than a model needs."""

    def __init__(self, h5py: Any, size_bytes: int, where: str) -> None:
        self._h5py = h5py
        self._where = where
        self._objects = 0
        self._budget_bytes = FREE_BYTES + MAX_INFLATION * size_bytes

    def collect(self, file: Any) -> dict[str, Tensor]:
        """'<layer>/<kernel|bias>' to tensors; a model that is saved twice in one file (nested) gives each once."""
        found: dict[str, Tensor] = {}
        pending: list[tuple[Any, tuple[str, ...]]] = [(file, ())]
        while pending:
            group, path = pending.pop()
            for name in group:
                here = (*path, str(name))
                self._check(group, name, here)
                if here == ("optimizer_weights",):
                    continue
                item = group[name]
                if isinstance(item, self._h5py.Group):
                    pending.append((item, here))
                elif (leaf := here[-1].partition(":")[0]) in ("kernel", "bias") and len(here) > 1:
                    self._add(found, f"{here[-2]}/{leaf}", self._tensor(item, "/".join(here)))
        return found

    def _check(self, group: Any, name: Any, path: tuple[str, ...]) -> None:
        self._objects += 1
        if self._objects > MAX_OBJECTS or len(path) > MAX_DEPTH:
            raise CheckpointError(
                f"{self._where}: more than {MAX_OBJECTS:,} objects or {MAX_DEPTH} levels of groups; no Keras model has "
                "so many"
            )
        link = group.get(name, getlink=True)
        if not isinstance(link, self._h5py.HardLink):
            raise CheckpointError(
                f"{self._where}: {'/'.join(path)!r:.80} is a link to another place or file; wanted weights inside the "
                "file, links are not followed"
            )

    def _add(self, found: dict[str, Tensor], name: str, tensor: Tensor) -> None:
        if name in found and not torch.equal(found[name], tensor):
            raise CheckpointError(
                f"{self._where}: holds {name!r:.60} twice with different numbers; save one model alone"
            )
        found[name] = tensor

    def _tensor(self, item: Any, path: str) -> Tensor:
        where, plist = self._where, item.id.get_create_plist()
        if item.dtype.kind != "f" or item.dtype.itemsize not in (2, 4, 8):
            raise CheckpointError(
                f"{where}: {path!r:.80} is of type {item.dtype!s:.40}; wanted floating point numbers"
            )
        if item.external or item.is_virtual:
            raise CheckpointError(
                f"{where}: {path!r:.80} keeps its numbers in another file, which is never read"
            )
        filters = [plist.get_filter(index)[0] for index in range(plist.get_nfilters())]
        if any(code not in _KNOWN_FILTERS for code in filters):
            raise CheckpointError(
                f"{where}: {path!r:.80} is packed by filter {filters}; known are {', '.join(_KNOWN_FILTERS.values())}"
            )
        self._budget_bytes -= item.dtype.itemsize * prod(item.shape)
        if self._budget_bytes < 0 or len(item.shape) > 2:
            raise CheckpointError(
                f"{where}: {path!r:.80} of shape {item.shape} asks for more than the file can hold; wanted dense layers"
            )
        numbers = item[()]
        return torch.from_numpy(numbers.astype(numbers.dtype.newbyteorder("="), order="C")).reshape(
            item.shape
        )
