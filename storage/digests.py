"""Digests of files and folders, and a file object that digests what it writes."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from storage.object_store import ObjectStore

NAME_DIGITS = 24
"""Hex digits of the sha256 in a file's name (96 bits)."""

_BLOCK_BYTES = 4 << 20


class DigestingFile:
    """A binary file for sequential writing that knows the sha256 and size of what went in."""

    def __init__(self, path: Path) -> None:
        self._file: BinaryIO = open(path, "xb")  # noqa: SIM115 - closed by close()
        self._sha256 = hashlib.sha256()
        self.size_bytes = 0

    def write(self, data: "bytes | memoryview") -> int:
        """Writes and digests."""
        view = memoryview(data)
        self._sha256.update(view)
        self._file.write(view)
        self.size_bytes += view.nbytes
        return view.nbytes

    def tell(self) -> int:
        """Bytes written so far."""
        return self.size_bytes

    def flush(self) -> None:
        """Hands everything to the system."""
        self._file.flush()

    def close(self) -> None:
        """Closes the file; the digest stays."""
        self._file.close()

    @property
    def closed(self) -> bool:
        """Whether the file is closed."""
        return self._file.closed

    def readable(self) -> bool:
        """It is for writing only."""
        return False

    def writable(self) -> bool:
        """It is for writing."""
        return True

    def seekable(self) -> bool:
        """It only grows."""
        return False

    def hexdigest(self) -> str:
        """The sha256 of everything written."""
        return self._sha256.hexdigest()


def stored_digest(store: ObjectStore, path: str) -> str:
    """The sha256 of a stored file, read in blocks."""
    sha256 = hashlib.sha256()
    with store.open_input(path) as file:
        while block := file.read(_BLOCK_BYTES):
            sha256.update(block)
    return sha256.hexdigest()


def tree_digest(files: Iterable[tuple[str, str]]) -> str:
    """The digest of a folder: sha256 over its sorted lines `<relative path>\\0<sha256>\\n`."""
    sha256 = hashlib.sha256()
    for path, digest in sorted(files):
        sha256.update(f"{path}\0{digest}\n".encode())
    return sha256.hexdigest()


def stored_tree(store: ObjectStore, path: str) -> tuple[str, int]:
    """Digest and size in bytes of a stored folder."""
    names = store.list(path)
    digests = [(name[len(path) + 1 :], stored_digest(store, name)) for name in names]
    return tree_digest(digests), sum(store.size_bytes(name) for name in names)


def local_tree_digest(folder: Path) -> tuple[str, int]:
    """Digest and size in bytes of a folder on this machine."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    digests = []
    for file in files:
        with open(file, "rb") as opened:
            digests.append(
                (file.relative_to(folder).as_posix(), hashlib.file_digest(opened, "sha256").hexdigest())
            )
    return tree_digest(digests), sum(file.stat().st_size for file in files)


def content_name(folder: str, digest: str, suffix: str) -> str:
    """`pairs/3f9c....parquet`: the path of a file by what is in it."""
    return f"{folder}/{digest[:NAME_DIGITS]}{suffix}"
