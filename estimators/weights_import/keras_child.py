"""Run as a program of its own: an .h5 file on stdin, its dense layers as npz on stdout.

HDF5's library is C code that damaged files can crash or keep busy without end (fuzzing found such files), so it parses
them in a process that may die: `keras_h5.py` starts this file by its path, alone, with limits on time and memory. It
imports nothing of posemill. Exit codes: 0 done, `REFUSED` with the reason on stderr, `NO_H5PY`.

HDF5 can point out of itself: soft and external links, external storage, virtual datasets and plug-in filters are
refused.
"""

import io
import sys
from math import prod
from typing import Any

import numpy as np

REFUSED, NO_H5PY = 3, 4
MAX_DEPTH = 8
MAX_OBJECTS = 10_000
_KNOWN_FILTERS = {1: "deflate", 2: "shuffle", 3: "fletcher32"}


class RefusedError(Exception):
    """The reason, without the file's name."""


class Walk:
    """Goes through the groups, no deeper and no longer than a model needs.

    Args:
        h5py: The module.
        budget_bytes: How much may be read in all.
    """

    def __init__(self, h5py: Any, budget_bytes: int) -> None:
        self._h5py = h5py
        self._objects = 0
        self._budget_bytes = budget_bytes

    def collect(self, file: Any) -> dict[str, np.ndarray]:
        """'<layer>/<kernel|bias>' to arrays. The optimiser's are left out."""
        found: dict[str, np.ndarray] = {}
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
                    self._add(found, f"{here[-2]}/{leaf}", self._array(item, "/".join(here)))
        return found

    def _check(self, group: Any, name: Any, path: tuple[str, ...]) -> None:
        self._objects += 1
        if self._objects > MAX_OBJECTS or len(path) > MAX_DEPTH:
            raise RefusedError(
                f"more than {MAX_OBJECTS:,} objects or {MAX_DEPTH} levels of groups; no Keras model has so many"
            )
        if not isinstance(group.get(name, getlink=True), self._h5py.HardLink):
            raise RefusedError(
                f"{'/'.join(path)!r:.80} is a link to another place or file; wanted weights inside the file, links are "
                "not followed"
            )

    def _add(self, found: dict[str, np.ndarray], name: str, array: np.ndarray) -> None:
        if name in found and not np.array_equal(found[name], array):
            raise RefusedError(f"holds {name!r:.60} twice with different numbers; save one model alone")
        found[name] = array

    def _array(self, item: Any, path: str) -> np.ndarray:
        if item.dtype.kind != "f" or item.dtype.itemsize not in (2, 4, 8):
            raise RefusedError(f"{path!r:.80} is of type {item.dtype!s:.40}; wanted floating point numbers")
        if item.external or item.is_virtual:
            raise RefusedError(f"{path!r:.80} keeps its numbers in another file, which is never read")
        packing = item.id.get_create_plist()
        filters = [packing.get_filter(index)[0] for index in range(packing.get_nfilters())]
        if any(code not in _KNOWN_FILTERS for code in filters):
            raise RefusedError(
                f"{path!r:.80} is packed by filter {filters}; known are {', '.join(_KNOWN_FILTERS.values())}"
            )
        self._budget_bytes -= item.dtype.itemsize * prod(item.shape)
        if self._budget_bytes < 0 or len(item.shape) > 2:
            raise RefusedError(
                f"{path!r:.80} of shape {item.shape} asks for more than the file can hold; wanted dense layers"
            )
        numbers = np.asarray(item[()])
        return numbers.astype(numbers.dtype.newbyteorder("="), order="C").reshape(item.shape)


def read(data: bytes, budget_bytes: int) -> dict[str, np.ndarray]:
    """The dense layers of a file in memory.

    Raises:
        RefusedError: if it is damaged, points outside itself, or holds no weights.
        ImportError: if h5py is not installed.
    """
    import h5py

    try:
        with h5py.File(h5py.h5f.open_file_image(data)) as file:
            found = Walk(h5py, budget_bytes).collect(file)
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, OverflowError, MemoryError) as error:
        raise RefusedError(
            f"an HDF5 file that cannot be read ({error!s:.120}); it is cut off or damaged, fetch it again"
        ) from error
    if not found:
        raise RefusedError("an HDF5 file without a kernel or bias; wanted a Keras model's weights")
    return found


def limit(cpu_s: int, memory_bytes: int) -> None:
    """Let the system end this process where it takes more; no effect where the system has no such limits."""
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> int:
    """Arguments: budget in bytes, CPU seconds, memory in bytes."""
    budget_bytes, cpu_s, memory_bytes = (int(word) for word in sys.argv[1:4])
    limit(cpu_s, memory_bytes)
    try:
        found = read(sys.stdin.buffer.read(), budget_bytes)
    except RefusedError as error:
        print(error, file=sys.stderr)
        return REFUSED
    except ImportError:
        return NO_H5PY
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=False, **found)
    sys.stdout.buffer.write(stream.getbuffer())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
