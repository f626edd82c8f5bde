"""Writes that fail when the name is taken, per kind of store: what the commit protocol stands on.

fsspec's own `mode="create"` looks first and writes then where a file system does not say better, and two
writers can both pass. Only those are listed whose server decides in one step.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from storage.errors import StoreError

ADVICE = "two writers could both believe they won; use a local folder, S3, Google Storage or Azure"


@dataclass(frozen=True)
class ConditionalWrite:
    """How one kind of store writes a file unless the name is taken.

    Args:
        condition: What is sent to the server.
        create: `create(filesystem, path, data)` makes the file, or raises FileExistsError.
        repeats_unseen: Whether the client library repeats a write by itself, so that "the name is taken" may
            be its own doing even at our first attempt.
    """

    condition: str
    create: Callable[[Any, str, bytes], None]
    repeats_unseen: bool = False


def _create_by_mode(filesystem: Any, path: str, data: bytes) -> None:
    method = getattr(filesystem, "_pipe_file", filesystem.pipe_file)
    if "mode" not in inspect.signature(method).parameters:
        raise StoreError(
            f"{path}: this version of {type(filesystem).__module__.partition('.')[0]} has no conditional"
            " write; update it to the version that posemill's extras name"
        )
    filesystem.pipe_file(path, data, mode="create")


def _create_without_overwrite(filesystem: Any, path: str, data: bytes) -> None:
    filesystem.pipe_file(path, data, overwrite=False)


_S3 = ConditionalWrite("If-None-Match: *", _create_by_mode)
_GOOGLE = ConditionalWrite("ifGenerationMatch=0", _create_by_mode, repeats_unseen=True)
_AZURE = ConditionalWrite("If-None-Match: *", _create_without_overwrite, repeats_unseen=True)

CONDITIONAL_WRITES: dict[str, ConditionalWrite] = {
    "s3": _S3,
    "s3a": _S3,
    "gs": _GOOGLE,
    "gcs": _GOOGLE,
    "abfs": _AZURE,
    "abfss": _AZURE,
    "az": _AZURE,
}

_WHY_NOT: Mapping[str, str] = {
    "memory": "it lives in one process, and no other would see the commit",
    "http": "it is for reading only",
    "https": "it is for reading only",
}


def conditional_write(url: str, protocol: str) -> ConditionalWrite:
    """The conditional write of a kind of store.

    Raises:
        StoreError: if it has none, with the reason.
    """
    known = CONDITIONAL_WRITES.get(protocol)
    if known is not None:
        return known
    reason = _WHY_NOT.get(protocol, "fsspec looks first and writes then")
    raise StoreError(f"{url}: {protocol} has no write-if-absent ({reason}), so {ADVICE}")
