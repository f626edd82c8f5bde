"""POSIX tar files (ustar) of plain small files: the same bytes for the same content.

Owner, group, mode and time are zero or fixed. Names have at most 100 bytes.
"""

from typing import Any

from storage.errors import ExportError

BLOCK = 512
MAX_NAME_BYTES = 100
MAX_FILE_BYTES = 8**11 - 1

_AFTER_NAME = b"0000644\0" + b"0000000\0" + b"0000000\0"
_AFTER_SIZE = b"00000000000\0"
_TAIL = b"0" + bytes(100) + b"ustar\x0000" + bytes(64) + b"0000000\0" + b"0000000\0" + bytes(155) + bytes(12)
_FIXED_SUM = sum(_AFTER_NAME) + sum(_AFTER_SIZE) + 8 * 32 + sum(_TAIL)
END = bytes(2 * BLOCK)
"""What every tar file ends with."""


def tar_member(name: bytes, data: "bytes | memoryview") -> bytes:
    """A regular file as a tar file holds it: header, content, padding.

    Raises:
        ExportError: if the name or the content is too long for ustar.
    """
    if not 0 < len(name) <= MAX_NAME_BYTES or len(data) > MAX_FILE_BYTES:
        raise ExportError(
            f"tar member {name[:40]!r}: wanted a name of 1 to {MAX_NAME_BYTES} bytes and content below 8 GiB,"
            f" got {len(name)} and {len(data):,} bytes"
        )
    size = b"%011o\0" % len(data)
    checksum = _FIXED_SUM + sum(name) + sum(size)
    header = (
        name.ljust(MAX_NAME_BYTES, b"\0") + _AFTER_NAME + size + _AFTER_SIZE + b"%06o\0 " % checksum + _TAIL
    )
    return b"".join((header, data, bytes(-len(data) % BLOCK)))


class TarWriter:
    """Appends members to a tar in the making.

    Args:
        sink: Anything with `write`.
    """

    def __init__(self, sink: Any) -> None:
        self._sink = sink
        self._held: list[bytes] = []
        self._held_bytes = 0

    def add(self, name: bytes, data: "bytes | memoryview") -> None:
        """One file."""
        member = tar_member(name, data)
        self._held.append(member)
        self._held_bytes += len(member)
        if self._held_bytes >= 4 << 20:
            self._flush()

    def close(self) -> None:
        """Writes the end of the archive."""
        self._held.append(END)
        self._flush()

    def _flush(self) -> None:
        self._sink.write(b"".join(self._held))
        self._held, self._held_bytes = [], 0
