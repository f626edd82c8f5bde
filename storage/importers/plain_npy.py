"""Arrays of numbers out of npy bytes: no pickle, no header that asks for more than the bytes hold."""

import io
from math import prod
from tokenize import TokenError

import numpy as np
from numpy.lib import format as npy_format

from storage.errors import ImporterError

_READ_HEADER = {(1, 0): npy_format.read_array_header_1_0, (2, 0): npy_format.read_array_header_2_0}

_HEADER_ERRORS = (ValueError, SyntaxError, TokenError, TypeError, RecursionError, MemoryError, OverflowError)
"""What numpy raises for headers that are none; it reads them as Python literals."""


def npy_array(data: "bytes | memoryview", where: str) -> np.ndarray:
    """The array, as a read-only view on the bytes.

    Raises:
        ImporterError: if it holds objects (a pickle), or the header does not fit the bytes.
    """
    stream = io.BytesIO(data)
    try:
        version = npy_format.read_magic(stream)
        if version not in _READ_HEADER:
            raise ImporterError(f"{where}: npy version {version}; versions 1.0 and 2.0 are known")
        shape, fortran, dtype = _READ_HEADER[version](stream)
    except _HEADER_ERRORS as error:
        raise ImporterError(f"{where}: no npy header: {error}") from error
    if dtype.hasobject:
        raise ImporterError(
            f"{where}: holds Python objects, so it would have to be unpickled, which can run any code; refused."
            " Save it with plain arrays of numbers"
        )
    content = memoryview(data)[stream.tell() :]
    if dtype.itemsize == 0 or min(shape, default=0) < 0 or prod(shape) * dtype.itemsize != len(content):
        raise ImporterError(
            f"{where}: its header asks for {shape} values of {dtype}, it has {len(content):,} bytes"
        )
    return np.frombuffer(content, dtype=dtype).reshape(shape, order="F" if fortran else "C")


def checked_array(values: np.ndarray, dtype: np.dtype, shape: tuple[int, ...], where: str) -> np.ndarray:
    """The array itself if it has this type and shape. Raises ImporterError otherwise."""
    if values.dtype != dtype or values.shape != shape:
        raise ImporterError(f"{where}: wanted {dtype} {shape}, got {values.dtype} {values.shape}")
    return values
