"""Arrays of numbers out of a pickle, without running any code in it.

The unpickler knows a handful of numpy's names and maps each to an inert class of this module; numpy itself is
never called with values from the pickle before they are checked. Anything else is refused by name.
"""

import io
import pickle
import pickletools
from typing import Any

import numpy as np

from storage.errors import ImporterError

NUMBER_KINDS = "fiub"
MAX_DEPTH = 8
MAX_OPERATIONS = 5_000_000
"""A file of arrays has some dozens per array; more are lists of single numbers, or ill will."""
MAX_INTEGER_BYTES = 8
_WRITES_MEMO = ("PUT", "BINPUT", "LONG_BINPUT")
_LONG_INTEGERS = ("LONG", "LONG1", "LONG4", "INT")


def unpickle_arrays(content: bytes, where: str) -> Any:
    """Plain values and arrays of numbers out of a pickle; anything else in it is refused by name."""
    try:
        _check_operations(content, where)
        value = _ArrayUnpickler(io.BytesIO(content), where).load()
        return _Plain(where).of(value)
    except ImporterError:
        raise
    except RecursionError as error:
        raise ImporterError(f"{where}: its pickle is nested too deeply") from error
    except (
        Exception
    ) as error:  # a damaged pickle raises anything: IndexError, struct.error, UnpicklingError...
        raise ImporterError(f"{where}: its pickle is damaged: {type(error).__name__}: {error}") from error


def _check_operations(content: bytes, where: str) -> None:
    """Look through the pickle before it is loaded: a few bytes of it can ask for any amount of memory or work.

    `PUT 2147483647` makes the unpickler allocate 34 GB for a table of that length; integers beyond 64 bits can share
    one hash, so that a dictionary of them takes hours.
    """
    for count, (operation, argument, _) in enumerate(pickletools.genops(content)):
        if count >= MAX_OPERATIONS:
            raise ImporterError(
                f"{where}: its pickle has more than {MAX_OPERATIONS:,} operations; save it again with plain arrays"
            )
        if operation.name in _WRITES_MEMO and isinstance(argument, int):
            if argument > count:
                raise ImporterError(
                    f"{where}: its pickle numbers an object {argument:,} after {count:,} operations; it is damaged"
                )
        elif operation.name not in _LONG_INTEGERS or not isinstance(argument, int):
            continue
        elif argument.bit_length() > 8 * MAX_INTEGER_BYTES:
            raise ImporterError(
                f"{where}: its pickle holds an integer of {argument.bit_length():,} bits; 64 are read"
            )


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
        if code[0] == "O":
            return np.dtype(object)
        return np.dtype(code).newbyteorder(">" if self.order == ">" else "<")


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


def _no_bytes() -> bytes:
    """How old protocols write b""; it takes no arguments, so that no size can be asked for."""
    return b""


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
        if module in ("builtins", "__builtin__") and name == "bytes":
            return _no_bytes
        raise ImporterError(
            f"{self._where}: its pickle asks for {module}.{name}, which is no numpy array; such a file could "
            "run any code and is refused. Save it again with plain arrays"
        )


class _Plain:
    """Stand-ins turned into arrays and numbers; what a pickle holds twice is turned once, so that a few bytes
    of nested references cannot ask for endless work."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._done: dict[int, Any] = {}

    def of(self, value: Any, depth: int = 0) -> Any:
        if depth > MAX_DEPTH:
            raise ImporterError(f"{self._where}: its pickle is nested deeper than {MAX_DEPTH} levels")
        if id(value) not in self._done:
            self._done[id(value)] = self._turn(value, depth)
        return self._done[id(value)]

    def _turn(self, value: Any, depth: int) -> Any:
        where = self._where
        if isinstance(value, dict):
            return {_text(key): self.of(item, depth + 1) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.of(item, depth + 1) for item in value]
        if isinstance(value, _Array):
            return self._array(value, depth)
        if isinstance(value, _FromBuffer):
            numbers = np.frombuffer(_bytes(value.content, where), dtype=_checked_dtype(value.dtype, where))
            return numbers.reshape(tuple(value.shape), order="F" if value.order == "F" else "C")
        if isinstance(value, _Scalar):
            return np.frombuffer(_bytes(value.content, where), dtype=_checked_dtype(value.dtype, where))[0]
        if value is None or isinstance(value, str | bytes | bytearray | int | float):
            return value
        raise ImporterError(
            f"{where}: its pickle holds a {type(value).__name__}; only arrays of numbers are read"
        )

    def _array(self, value: _Array, depth: int) -> Any:
        where = self._where
        if not isinstance(value.state, tuple) or len(value.state) != 5:
            raise ImporterError(f"{where}: its pickle holds an array without content; the file is damaged")
        _, shape, dtype, fortran, content = value.state
        kind = _checked_dtype(dtype, where, objects=True)
        if kind == np.dtype(object):
            items = [self.of(item, depth + 1) for item in content]
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
