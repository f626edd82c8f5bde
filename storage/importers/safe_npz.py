"""Arrays of an npz file without running any code in it.

`numpy.load(allow_pickle=True)` runs whatever a pickle asks for, and VideoPose3D's files keep their poses in a
pickled dictionary. Here an object array is read with an unpickler that knows seven names, and maps each of
them to an inert class of this module: numpy itself is never called with values from the pickle before they
are checked.
"""

import io
import math
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy_format

from storage.errors import ImporterError

MAX_MEMBER_BYTES = 16 * 2**30
MAX_PICKLE_BYTES = 4 * 2**30
NUMBER_KINDS = "fiub"


class NpzArchive:
    """The members of an npz file, read one at a time."""

    def __init__(self, path: Path) -> None:
        self.where = str(path)
        try:
            self._zip = zipfile.ZipFile(path)
        except OSError as error:
            raise ImporterError(f"{path}: cannot be read: {error.strerror or error}") from error
        except zipfile.BadZipFile as error:
            raise ImporterError(f"{path}: no npz file, or truncated: {error}") from error
        self.names = tuple(
            name.removesuffix(".npy") for name in self._zip.namelist() if name.endswith(".npy")
        )

    def __enter__(self) -> "NpzArchive":
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def read(self, name: str) -> Any:
        """A member: an array of numbers, or the plain dictionary, list, text or array that an object array
        holds.

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
        except KeyError as error:
            raise ImporterError(f"{self.where}: no array {name!r}; it has {', '.join(self.names)}") from error
        except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, OSError, NotImplementedError) as error:
            raise ImporterError(f"{where}: damaged: {error}") from error
        except (ValueError, RuntimeError, SyntaxError, MemoryError) as error:
            if isinstance(error, ImporterError):
                raise
            raise ImporterError(f"{where}: not readable as an array: {error}") from error
        except Exception as error:
            # zlib.error and friends derive from Exception alone; the file is at fault in every case
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


def unpickle_arrays(content: bytes, where: str) -> Any:
    """Plain values and arrays of numbers out of a pickle; anything else in it is refused by name."""
    try:
        value = _ArrayUnpickler(io.BytesIO(content), where).load()
        return _plain(value, where, depth=0)
    except ImporterError:
        raise
    except RecursionError as error:
        raise ImporterError(f"{where}: its pickle is nested too deeply") from error
    except (
        Exception
    ) as error:  # a damaged pickle raises anything: IndexError, struct.error, UnpicklingError...
        raise ImporterError(f"{where}: its pickle is damaged: {type(error).__name__}: {error}") from error


class _Dtype:
    """Stands in for numpy.dtype; only plain numbers and objects are let through."""

    def __init__(self, code: str = "", *_: object) -> None:
        self.code = (
            code if isinstance(code, str) else code.decode("latin-1") if isinstance(code, bytes) else ""
        )
        self.order = "="

    def __setstate__(self, state: Any) -> None:
        order = state[1]
        self.order = order.decode("latin-1") if isinstance(order, bytes) else str(order)

    def numpy(self, where: str) -> np.dtype:
        code = self.code.lstrip("<>=|")
        known = len(code) >= 1 and code[0] in NUMBER_KINDS and code[1:] in ("1", "2", "4", "8")
        if not known and code not in ("O", "O8"):
            raise ImporterError(f"{where}: holds an array of type {self.code!r}; only numbers are read")
        return (
            np.dtype(object)
            if code[0] == "O"
            else np.dtype(code).newbyteorder(self.order if self.order in "<>" else "=")
        )


class _Array:
    """Stands in for numpy.ndarray: keeps the state until it is checked."""

    state: Any = None

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Scalar:
    """Stands in for a numpy scalar."""

    def __init__(self, dtype: Any = None, content: Any = None) -> None:
        self.dtype, self.content = dtype, content


class _FromBuffer:
    """Stands in for an array in pickle protocol 5."""

    def __init__(self, content: Any, dtype: Any, shape: Any, order: Any = "C", *_: object) -> None:
        self.content, self.dtype, self.shape, self.order = content, dtype, shape, order


def _latin1_bytes(text: str, encoding: str = "latin1") -> bytes:
    """What Python 2 pickles write for bytes."""
    return str(text).encode("latin-1")


ALLOWED = {
    "ndarray": _Array,
    "_reconstruct": _Array,
    "dtype": _Dtype,
    "scalar": _Scalar,
    "_frombuffer": _FromBuffer,
}
NUMPY_MODULES = (
    "numpy",
    "numpy.core.multiarray",
    "numpy._core.multiarray",
    "numpy.core.numeric",
    "numpy._core.numeric",
)


class _ArrayUnpickler(pickle.Unpickler):  # its find_class admits only the inert classes of this module
    def __init__(self, stream: io.BytesIO, where: str) -> None:
        super().__init__(stream, encoding="latin1")
        self._where = where

    def find_class(self, module: str, name: str) -> Any:
        if module in NUMPY_MODULES and name in ALLOWED:
            return ALLOWED[name]
        if (module, name) == ("_codecs", "encode"):
            return _latin1_bytes
        raise ImporterError(
            f"{self._where}: its pickle asks for {module}.{name}, which is no numpy array; such a file could "
            "run any code and is refused. Save it again with plain arrays"
        )


def _plain(value: Any, where: str, depth: int) -> Any:
    """Stand-ins turned into arrays and numbers, through at most 8 levels of dictionaries and lists."""
    if depth > 8:
        raise ImporterError(f"{where}: its pickle is nested deeper than 8 levels")
    if isinstance(value, dict):
        return {_text(key): _plain(item, where, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, where, depth + 1) for item in value]
    if isinstance(value, _Array):
        return _array(value, where, depth)
    if isinstance(value, _FromBuffer):
        dtype = _checked_dtype(value.dtype, where)
        return np.frombuffer(_bytes(value.content, where), dtype=dtype).reshape(
            value.shape, order=str(value.order)
        )
    if isinstance(value, _Scalar):
        return np.frombuffer(_bytes(value.content, where), dtype=_checked_dtype(value.dtype, where))[0]
    if value is None or isinstance(value, str | bytes | bytearray | int | float):
        return value
    raise ImporterError(
        f"{where}: its pickle holds a {type(value).__name__}; only arrays of numbers are read"
    )


def _array(value: _Array, where: str, depth: int) -> Any:
    if not isinstance(value.state, tuple) or len(value.state) != 5:
        raise ImporterError(f"{where}: its pickle holds an array without content; the file is damaged")
    _, shape, dtype, fortran, content = value.state
    kind = _checked_dtype(dtype, where, objects=True)
    if kind == np.dtype(object):
        items = [_plain(item, where, depth + 1) for item in content]
        return items[0] if shape in ((), (1,)) and len(items) == 1 else items
    return np.frombuffer(_bytes(content, where), dtype=kind).reshape(shape, order="F" if fortran else "C")


def _checked_dtype(dtype: Any, where: str, objects: bool = False) -> np.dtype:
    if not isinstance(dtype, _Dtype):
        raise ImporterError(f"{where}: its pickle holds an array without a type; the file is damaged")
    kind = dtype.numpy(where)
    if kind == np.dtype(object) and not objects:
        raise ImporterError(f"{where}: its pickle holds objects where numbers are wanted")
    return kind


def _bytes(content: Any, where: str) -> bytes:
    if isinstance(content, str):
        return content.encode("latin-1")
    if isinstance(content, bytes | bytearray | pickle.PickleBuffer):
        return bytes(content)
    raise ImporterError(
        f"{where}: its pickle holds a {type(content).__name__} where an array's bytes are wanted"
    )


def _text(key: Any) -> str:
    return key.decode("latin-1") if isinstance(key, bytes) else str(key)


def iterate_strings(values: Any, where: str) -> Iterator[tuple[str, Any]]:
    """Items of a dictionary, or an error that says what it is instead."""
    if not isinstance(values, dict):
        raise ImporterError(f"{where}: wanted a dictionary, got a {type(values).__name__}")
    yield from values.items()
