"""Plain values out of a pickle, without Python's unpickler: a reader of the opcodes that knows no code to run.

Python's `pickle` resolves names and calls them; this reader knows the short list of `stand_ins.ALLOWED`, whose
entries build inert values. It reads Python 2's pickles too (opcode INT for integers beyond 32 bits, which
`torch.load(weights_only=True)` refuses; byte strings as text). Memory and time are bounded by the length of the
pickle: nothing is allocated by a number that a file names, nothing is walked recursively.
"""

import pickletools
import warnings
from collections.abc import Callable
from io import BytesIO
from typing import Any

from estimators.errors import CheckpointError
from estimators.weights_import.stand_ins import ALLOWED, Global, HostileCallError, plain_key

MAX_OPERATIONS = 3_000_000
"""The largest official file (VideoPose3D with its optimiser) has some ten thousand."""
MAX_INTEGER_BITS = 256
_MARK = object()
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
    "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8",
}  # fmt: skip
_REFUSED = {
    "EXT1": "the extension registry", "EXT2": "the extension registry", "EXT4": "the extension registry",
    "NEXT_BUFFER": "buffers outside the file", "READONLY_BUFFER": "buffers outside the file",
}  # fmt: skip


def read_pickle(stream: BytesIO, where: str, persistent: Callable[[Any], Any] | None = None) -> Any:
    """The value of the pickle that begins at the stream's position; leaves the stream behind its end.

    Args:
        stream: A seekable stream in memory.
        where: For error messages.
        persistent: Gives the value of a persistent id; without it such ids are refused. It raises HostileCallError.

    Returns:
        Plain values (dict, list, tuple, text, numbers, None) with `TensorRef` and `Inert` among them. What the pickle
        shares is shared, and lists may hold themselves: do not walk it without end.

    Raises:
        CheckpointError: if it is damaged, too long, or asks for a name that no weight file needs.
    """
    machine = _Machine(where, persistent)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # odd escapes in the text of protocol 0
            for operation, argument, _ in pickletools.genops(stream):
                machine.step(operation.name, argument)
        return machine.result()
    except HostileCallError as error:
        raise CheckpointError(
            f"{where}: its pickle {error}; no weight file does that, so it is refused. Take the published file again"
        ) from error
    except CheckpointError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, AttributeError) as error:
        raise CheckpointError(
            f"{where}: its pickle is damaged ({type(error).__name__}: {error!s:.100}); fetch the file again"
        ) from error


class _Machine:
    """The stack and the memo of one pickle."""

    def __init__(self, where: str, persistent: Callable[[Any], Any] | None) -> None:
        self._where = where
        self._persistent = persistent
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._count = 0

    def result(self) -> Any:
        """The value that the pickle ends with."""
        (value,) = self._stack
        return value

    def step(self, name: str, argument: Any) -> None:
        """One opcode."""
        self._count += 1
        if self._count > MAX_OPERATIONS:
            raise CheckpointError(
                f"{self._where}: its pickle has more than {MAX_OPERATIONS:,} operations, no weight file needs so many; "
                "save the state dict alone"
            )
        if name in _LITERALS:
            self._stack.append(_checked(argument))
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name])
        elif name in _REFUSED:
            raise HostileCallError(f"uses {_REFUSED[name]}")
        else:
            getattr(self, f"_{name.lower()}")(argument)

    def _to_mark(self) -> list[Any]:
        """Pops everything above the last mark, and the mark."""
        for index in range(len(self._stack) - 1, -1, -1):
            if self._stack[index] is _MARK:
                items = self._stack[index + 1 :]
                del self._stack[index:]
                return items
        raise ValueError("no mark on the stack")

    def _pop_value(self) -> Any:
        value = self._stack.pop()
        if value is _MARK:
            raise ValueError("a mark where a value is wanted")
        return value

    def _proto(self, version: int) -> None:
        if version > 5:
            raise ValueError(f"pickle protocol {version}")

    def _frame(self, _: int) -> None:
        """Frames only help readers of streams."""

    def _stop(self, _: None) -> None:
        if any(value is _MARK for value in self._stack):
            raise ValueError("an open mark at the end")

    def _mark(self, _: None) -> None:
        self._stack.append(_MARK)

    def _pop(self, _: None) -> None:
        self._stack.pop()

    def _pop_mark(self, _: None) -> None:
        self._to_mark()

    def _dup(self, _: None) -> None:
        value = self._pop_value()
        self._stack += [value, value]

    def _put(self, index: int) -> None:
        if self._stack[-1] is _MARK:
            raise ValueError("a mark where a value is wanted")
        self._memo[index] = self._stack[-1]

    _binput = _long_binput = _put

    def _memoize(self, _: None) -> None:
        self._put(len(self._memo))

    def _get(self, index: int) -> None:
        self._stack.append(self._memo[index])

    _binget = _long_binget = _get

    def _empty_list(self, _: None) -> None:
        self._stack.append([])

    _empty_set = _empty_list

    def _list(self, _: None) -> None:
        self._stack.append(self._to_mark())

    _frozenset = _list

    def _append(self, _: None) -> None:
        self._extend([self._pop_value()])

    def _appends(self, _: None) -> None:
        self._extend(self._to_mark())

    _additems = _appends

    def _extend(self, items: list[Any]) -> None:
        """Into the list below; what is no list is a placeholder, whose content nobody keeps."""
        if isinstance(self._stack[-1], list):
            self._stack[-1].extend(items)

    def _empty_tuple(self, _: None) -> None:
        self._stack.append(())

    def _tuple(self, _: None) -> None:
        self._stack.append(tuple(self._to_mark()))

    def _tuple1(self, _: None) -> None:
        self._stack.append((self._pop_value(),))

    def _tuple2(self, _: None) -> None:
        second, first = self._pop_value(), self._pop_value()
        self._stack.append((first, second))

    def _tuple3(self, _: None) -> None:
        third, second, first = self._pop_value(), self._pop_value(), self._pop_value()
        self._stack.append((first, second, third))

    def _empty_dict(self, _: None) -> None:
        self._stack.append({})

    def _dict(self, _: None) -> None:
        items = self._to_mark()
        self._stack.append({})
        self._insert(items)

    def _setitem(self, _: None) -> None:
        value, key = self._pop_value(), self._pop_value()
        self._insert([key, value])

    def _setitems(self, _: None) -> None:
        self._insert(self._to_mark())

    def _insert(self, items: list[Any]) -> None:
        target = self._stack[-1]
        for key, value in zip(items[::2], items[1::2], strict=True):
            if isinstance(target, dict):
                target[plain_key(key)] = value

    def _global(self, names: str) -> None:
        module, _, name = names.partition(" ")
        self._stack.append(self._named(module, name))

    def _stack_global(self, _: None) -> None:
        name, module = self._pop_value(), self._pop_value()
        self._stack.append(self._named(module, name))

    def _named(self, module: Any, name: Any) -> Any:
        if not isinstance(module, str) or not isinstance(name, str):
            raise HostileCallError("makes up a name from something else than text")
        if (module, name) not in ALLOWED:
            raise CheckpointError(
                f"{self._where}: its pickle asks for {f'{module}.{name}'!r:.120}; wanted tensors, numbers and text "
                "only. Such a file could run any code and is refused: if you trust its maker, load it there and save "
                "`model.state_dict()` as safetensors"
            )
        return ALLOWED[module, name]

    def _reduce(self, _: None) -> None:
        arguments, function = self._pop_value(), self._pop_value()
        self._call(function, arguments)

    _newobj = _reduce

    def _newobj_ex(self, _: None) -> None:
        words, arguments, function = self._pop_value(), self._pop_value(), self._pop_value()
        if not isinstance(words, dict) or words:
            raise HostileCallError("calls a name with keywords")
        self._call(function, arguments)

    def _obj(self, _: None) -> None:
        function, *arguments = self._to_mark()
        self._call(function, tuple(arguments))

    def _inst(self, names: str) -> None:
        module, _, name = names.partition(" ")
        self._call(self._named(module, name), tuple(self._to_mark()))

    def _call(self, function: Any, arguments: Any) -> None:
        if not isinstance(function, Global):
            raise HostileCallError(f"calls a {type(function).__name__}")
        if not isinstance(arguments, tuple):
            raise HostileCallError(f"calls {function.name} with a {type(arguments).__name__}")
        self._stack.append(function.make(*arguments))

    def _build(self, _: None) -> None:
        """Attributes of what lies below: an OrderedDict's metadata, the content of a placeholder. Nobody needs them."""
        self._pop_value()
        if self._stack[-1] is _MARK:
            raise ValueError("a mark where a value is wanted")

    def _persid(self, identity: Any) -> None:
        if self._persistent is None:
            raise HostileCallError("names something outside itself")
        self._stack.append(self._persistent(identity))

    def _binpersid(self, _: None) -> None:
        self._persid(self._pop_value())


def _checked(value: Any) -> Any:
    if isinstance(value, int) and value.bit_length() > MAX_INTEGER_BITS:
        raise HostileCallError(f"holds an integer of {value.bit_length():,} bits")
    return value
