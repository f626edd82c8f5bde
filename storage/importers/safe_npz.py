"""Arrays of an npz file without running any code in it.

`numpy.load(allow_pickle=True)` runs whatever a pickle asks for, and VideoPose3D's files keep their poses in a
pickled dictionary. Here object arrays go through `safe_pickle`.
"""

import io
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from numpy.lib import format as npy_format

from storage.errors import ImporterError
from storage.importers.safe_pickle import unpickle_arrays

MAX_MEMBER_BYTES = 16 * 2**30
MAX_PICKLE_BYTES = 4 * 2**30
MAX_EXPANSION = 200
"""Motion compresses 1.1 to 10 times, constant columns more; a bomb a thousand times."""
FREE_BYTES = 64 * 2**20
"""Whatever the expansion, so much may be unpacked."""


class NpzArchive:
    """The members of an npz file, read one at a time."""

    def __init__(self, path: Path) -> None:
        self.where = str(path)
        try:
            self._zip = zipfile.ZipFile(path)
        except OSError as error:
            raise ImporterError(f"{path}: cannot be read: {error.strerror or error}") from error
        except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise ImporterError(f"{path}: no npz file, or truncated: {error}") from error
        self._check_expansion(path)
        self.names = tuple(
            name.removesuffix(".npy") for name in self._zip.namelist() if name.endswith(".npy")
        )

    def _check_expansion(self, path: Path) -> None:
        """Refuse an archive that unpacks to far more than it holds."""
        unpacked = sum(info.file_size for info in self._zip.infolist())
        allowed = max(FREE_BYTES, MAX_EXPANSION * path.stat().st_size)
        if unpacked > allowed:
            self._zip.close()
            raise ImporterError(
                f"{path}: unpacks to {unpacked:,} bytes, more than the {allowed:,} that a file of its size may; it is "
                "damaged or made to fill the memory"
            )

    def __enter__(self) -> "NpzArchive":
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def read(self, name: str) -> Any:
        """A member: an array of numbers, or the plain values that an object array holds.

        Raises:
            ImporterError: if the member is damaged, too large, or its pickle wants more than numpy arrays.
        """
        where = f"{self.where}: {name}"
        try:
            info = self._zip.getinfo(f"{name}.npy")
            if info.file_size > MAX_MEMBER_BYTES:
                raise ImporterError(
                    f"{where}: {info.file_size:,} bytes, more than the {MAX_MEMBER_BYTES:,} allowed"
                )
            with self._zip.open(info) as stream:
                return _read_member(io.BytesIO(stream.read()), where)
        except ImporterError:
            raise
        except KeyError as error:
            raise ImporterError(f"{self.where}: no array {name!r}; it has {', '.join(self.names)}") from error
        except Exception as error:  # zipfile, zlib and numpy raise a dozen kinds; each means a damaged file
            raise ImporterError(f"{where}: damaged: {type(error).__name__}: {error}") from error


def _read_member(stream: io.BytesIO, where: str) -> Any:
    version = npy_format.read_magic(stream)
    read_header = {(1, 0): npy_format.read_array_header_1_0, (2, 0): npy_format.read_array_header_2_0}.get(
        version
    )
    if read_header is None:
        raise ImporterError(f"{where}: npy version {version}; versions 1.0 and 2.0 are known")
    shape, _, dtype = read_header(stream)
    if not dtype.hasobject:
        if math.prod(shape) * dtype.itemsize > MAX_MEMBER_BYTES:
            raise ImporterError(
                f"{where}: its header asks for {shape} values of {dtype}; the file is damaged"
            )
        stream.seek(0)
        return npy_format.read_array(stream, allow_pickle=False)
    rest = stream.read()
    if len(rest) > MAX_PICKLE_BYTES:
        raise ImporterError(
            f"{where}: a pickle of {len(rest):,} bytes, more than the {MAX_PICKLE_BYTES:,} allowed"
        )
    return unpickle_arrays(rest, where)


def iterate_strings(values: Any, where: str) -> Iterator[tuple[str, Any]]:
    """Items of a dictionary, or an error that says what it is instead."""
    if not isinstance(values, dict):
        raise ImporterError(f"{where}: wanted a dictionary, got a {type(values).__name__}")
    yield from values.items()
