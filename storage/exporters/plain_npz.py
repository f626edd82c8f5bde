"""npz files without pickle and with the same bytes for the same arrays: stored members, no clock in them."""

import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy_format

from storage.errors import ExportError

_EPOCH = (1980, 1, 1, 0, 0, 0)


class NpzWriter:
    """Appends arrays to an npz in the making."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    def add(self, name: str, values: np.ndarray) -> None:
        """One array of numbers or fixed-width text.

        Raises:
            ExportError: for an array of objects, which would be pickled.
        """
        if values.dtype.hasobject:
            raise ExportError(f"{name}: wanted numbers or fixed-width text, got objects, which need a pickle")
        self._write(name, npy_bytes(values))

    def add_pickled(self, name: str, value: Any) -> None:
        """A Python value in a 0-d object array, as `numpy.load(allow_pickle=True)[name].item()` gives it back."""
        holder = np.empty((), object)
        holder[()] = value
        stream = io.BytesIO()
        npy_format.write_array(stream, holder, version=(1, 0), allow_pickle=True)
        self._write(name, stream.getbuffer())

    def _write(self, name: str, data: "bytes | memoryview") -> None:
        member = zipfile.ZipInfo(f"{name}.npy", _EPOCH)
        member.external_attr = 0o644 << 16
        with self._archive.open(member, "w", force_zip64=True) as stream:
            stream.write(data)


@contextmanager
def npz_writer(sink: Any) -> Iterator[NpzWriter]:
    """Writes an npz front to back into anything with `write`."""
    stream: IO[bytes] = sink
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        yield NpzWriter(archive)


def npy_bytes(values: np.ndarray) -> memoryview:
    """An array as an npy file, version 1.0."""
    stream = io.BytesIO()
    npy_format.write_array(stream, np.asarray(values, order="C"), version=(1, 0), allow_pickle=False)
    return stream.getbuffer()
