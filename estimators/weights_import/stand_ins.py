"""What the pickle reader builds: plain values, references to tensors, and inert placeholders for everything else.

`ALLOWED` is the whole list of names that a weight file may ask for. Each stands for a function of this module that
takes the arguments as plain values; no function of torch or numpy is ever called with what a file holds.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import torch

MAX_DIMENSIONS = 16


class HostileCallError(Exception):
    """An allowed name was called with arguments that no weight file has; the reader turns it into its error."""


@dataclass(frozen=True)
class Global:
    """An allowed name, not the thing that it names."""

    name: str
    make: Callable[..., Any]


@dataclass(frozen=True, eq=False)
class Inert:
    """Something that a file holds and nobody needs, such as numpy's random state. Its content is not kept."""

    what: str


@dataclass(frozen=True, eq=False)
class NumpyType:
    """A numpy dtype by its code, such as 'f8'."""

    code: str


@dataclass(frozen=True)
class StorageType:
    """Element type of a storage; None where the elements are bytes."""

    dtype: torch.dtype


@dataclass(frozen=True, eq=False)
class StorageRef:
    """Numbers kept elsewhere in the file.

    Attributes:
        key: Its name in the file.
        dtype: Of its elements.
        numel: Number of elements.
        start: Elements of the named storage before the first one.
    """

    key: str
    dtype: torch.dtype
    numel: int
    start: int = 0


@dataclass(frozen=True, eq=False)
class TensorRef:
    """A tensor that has not been read yet. Every element lies inside its storage, and no element is repeated."""

    storage: StorageRef
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def dtype(self) -> torch.dtype:
        """Of its elements."""
        return self.storage.dtype


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> TensorRef:
    """`torch._utils._rebuild_tensor` and `_v2`, with every number checked."""
    if not isinstance(storage, StorageRef):
        raise HostileCallError(f"builds a tensor on a {type(storage).__name__} instead of a storage")
    shape, steps = _sizes(size), _sizes(stride)
    if len(shape) != len(steps) or not is_count(offset):
        raise HostileCallError(f"builds a tensor of shape {shape} with strides {steps}, which do not fit")
    numel = prod(shape)
    last = offset + sum((length - 1) * step for length, step in zip(shape, steps, strict=True))
    if numel and (numel > storage.numel or last >= storage.numel):
        raise HostileCallError(
            f"builds a tensor of shape {shape}, strides {steps}, offset {offset} on a storage of {storage.numel:,} "
            "elements"
        )
    return TensorRef(storage, offset, shape, steps)


def _parameter(data: Any, *_: Any) -> TensorRef:
    if not isinstance(data, TensorRef):
        raise HostileCallError(f"builds a parameter from a {type(data).__name__}")
    return data


def _sizes(values: Any) -> tuple[int, ...]:
    if not isinstance(values, list | tuple) or len(values) > MAX_DIMENSIONS:
        raise HostileCallError(f"gives a {type(values).__name__} where sizes are wanted")
    if not all(is_count(value) for value in values):
        raise HostileCallError("gives sizes or strides that are no counts")
    return tuple(values)


def is_count(value: Any) -> bool:
    """Whether it is a whole number that can count the elements of a file."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**48


def _ordered(*arguments: Any) -> dict[Any, Any]:
    """OrderedDict(), or OrderedDict([[key, value], ...])."""
    pairs = arguments[0] if arguments else []
    if not isinstance(pairs, list) or any(not isinstance(p, list | tuple) or len(p) != 2 for p in pairs):
        raise HostileCallError("builds an OrderedDict from something else than pairs")
    return {plain_key(key): value for key, value in pairs}


def plain_key(key: Any) -> Any:
    """A dictionary key: text, bytes, an integer, None; anything else becomes a placeholder, which is never compared
    (hashing deeply nested tuples would exhaust the stack, and long integers can be made to collide)."""
    if key is None or isinstance(key, str | bytes) or (isinstance(key, int) and key.bit_length() <= 64):
        return key
    return Inert("dictionary key")


def _default_dict(*_: Any) -> dict[Any, Any]:
    return {}


def _latin1(text: Any, encoding: Any = "") -> bytes:
    """How Python 3 writes bytes in protocol 2."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise HostileCallError(f"encodes a {type(text).__name__} as {encoding!r:.20}; only latin1 is read")
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError as error:
        raise HostileCallError("encodes text beyond latin1") from error


def _numpy_type(code: Any = "", *_: Any) -> NumpyType:
    return NumpyType(code if isinstance(code, str) else "")


_SCALARS = {"f8": "<d", "f4": "<f", "i8": "<q", "i4": "<i"}


def _scalar(dtype: Any = None, content: Any = None, *_: Any) -> Any:
    """A numpy scalar as a plain number; a placeholder where it is of an unusual type."""
    code = _SCALARS.get(dtype.code.lstrip("<=")) if isinstance(dtype, NumpyType) else None
    raw = content.encode("latin-1", errors="replace") if isinstance(content, str) else content
    if code is None or not isinstance(raw, bytes) or len(raw) != struct.calcsize(code):
        return Inert("numpy scalar")
    return struct.unpack(code, raw)[0]


def _inert(what: str, *_: Any) -> Inert:
    return Inert(what)


def _numpy_globals() -> dict[tuple[str, str], Callable[..., Any]]:
    found: dict[tuple[str, str], Callable[..., Any]] = {("numpy", "dtype"): _numpy_type}
    array = partial(_inert, "numpy array")
    for core in ("numpy.core", "numpy._core"):
        found |= {
            (f"{core}.multiarray", "scalar"): _scalar,
            (f"{core}.multiarray", "_reconstruct"): array,
            (f"{core}.numeric", "_frombuffer"): array,
        }
    found["numpy", "ndarray"] = array
    for module in ("numpy.random", "numpy.random._pickle"):
        for name in ("__randomstate_ctor", "__RandomState_ctor", "__generator_ctor", "__bit_generator_ctor"):
            found[module, name] = partial(_inert, "numpy random state")
    for generator in ("MT19937", "PCG64"):
        found[f"numpy.random._{generator.lower()}", generator] = partial(_inert, "numpy random state")
    return found


STORAGE_TYPES = {
    "DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}  # fmt: skip


def _torch_globals() -> dict[tuple[str, str], Callable[..., Any]]:
    found: dict[tuple[str, str], Callable[..., Any]] = {
        ("torch._utils", "_rebuild_tensor"): _tensor,
        ("torch._utils", "_rebuild_tensor_v2"): _tensor,
        ("torch._utils", "_rebuild_parameter"): _parameter,
        ("torch", "Size"): partial(_inert, "torch.Size"),
        ("torch", "device"): partial(_inert, "torch.device"),
    }
    for name in ("float64", "float32", "float16", "bfloat16", "int64", "int32", "bool"):
        found["torch", name] = partial(_inert, "torch.dtype")
    return found


_CALLS: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): _ordered,
    ("collections", "defaultdict"): _default_dict,
    ("_codecs", "encode"): _latin1,
    **{(module, "dict"): _default_dict for module in ("builtins", "__builtin__")},
    **{(module, "set"): partial(_inert, "set") for module in ("builtins", "__builtin__")},
    **{(module, "bytes"): lambda *_: b"" for module in ("builtins", "__builtin__")},
    **_torch_globals(),
    **_numpy_globals(),
}
ALLOWED: dict[tuple[str, str], Global | StorageType] = {
    **{(module, name): Global(f"{module}.{name}", make) for (module, name), make in _CALLS.items()},
    **{
        (module, name): StorageType(dtype)
        for name, dtype in STORAGE_TYPES.items()
        for module in ("torch", "torch.cuda")
    },
}
"""Every (module, name) that a weight file may mention."""
