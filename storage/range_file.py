"""Random access to a stored file by ranged reads that are tried again, for Arrow and what stands on it."""

import io
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
from pyarrow import fs as arrow_fs

READ_AHEAD_BYTES = 1 << 20
"""Least size of a request: small reads that follow each other cost one."""

ReadRange = Callable[[int, int], bytes]
"""(start, stop) -> the bytes between."""


class RangeFile(io.RawIOBase):
    """A file that is read by ranges; not for several threads at once (Arrow gives each reader its own).

    Args:
        read_range: Reads the bytes [start, stop) of the file.
        size_bytes: Its size.
    """

    def __init__(self, read_range: ReadRange, size_bytes: int) -> None:
        super().__init__()
        self._read_range, self._size = read_range, size_bytes
        self._position = 0
        self._block, self._block_start = b"", 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(start + offset, 0)
        return self._position

    def size(self) -> int:
        """Size in bytes; Arrow asks for it."""
        return self._size

    def read(self, size: int | None = -1, /) -> bytes:
        stop = self._size if size is None or size < 0 else min(self._position + size, self._size)
        if stop <= self._position:
            return b""
        data = self._range(self._position, stop)
        self._position += len(data)
        return data

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def _range(self, start: int, stop: int) -> bytes:
        """The bytes [start, stop), from the block at hand if they are in it."""
        block_stop = self._block_start + len(self._block)
        if not self._block_start <= start <= stop <= block_stop:
            if stop - start >= READ_AHEAD_BYTES:
                return self._read_range(start, stop)
            first = start if start + READ_AHEAD_BYTES <= self._size else max(self._size - READ_AHEAD_BYTES, 0)
            last = min(first + READ_AHEAD_BYTES, self._size)
            self._block, self._block_start = self._read_range(first, last), first
        return self._block[start - self._block_start : stop - self._block_start]


class ReadingHandler(arrow_fs.FSSpecHandler):
    """fsspec for Arrow, whose reads go through our own store and are tried again like all others.

    Args:
        filesystem: For listings.
        open_file: Opens a full path for random access.
        describe: (full path) -> size in bytes, or None when there is no such file.
    """

    def __init__(
        self, filesystem: Any, open_file: Callable[[str], RangeFile], size_of: Callable[[str], int | None]
    ) -> None:
        super().__init__(filesystem)
        self._open_file, self._size_of = open_file, size_of

    def get_file_info(self, paths: Sequence[str]) -> list[arrow_fs.FileInfo]:
        found: list[arrow_fs.FileInfo] = []
        for path in paths:
            size_bytes = self._size_of(path)
            kind = arrow_fs.FileType.NotFound if size_bytes is None else arrow_fs.FileType.File
            found.append(arrow_fs.FileInfo(path, kind, size=size_bytes))
        return found

    def open_input_stream(self, path: str) -> pa.NativeFile:
        return pa.PythonFile(self._open_file(path), mode="r")

    def open_input_file(self, path: str) -> pa.NativeFile:
        return pa.PythonFile(self._open_file(path), mode="r")
