"""The members of a plain tar file, in order, from memory-bounded reads; nothing is ever unpacked to disk.

Only regular files with ordinary relative names are read. Links, devices, sparse files, names with `..` or a
leading `/`, wrong checksums, members larger than the limit, compressed archives: each is an error that says
which member and why.
"""

from collections.abc import Iterator
from typing import Any

from storage.errors import ImporterError, StoreError
from storage.exporters.ustar import BLOCK
from storage.paths import checked_path

_KINDS = {
    b"1": "a hard link", b"2": "a symbolic link", b"3": "a device", b"4": "a device", b"5": "a folder",
    b"6": "a pipe", b"g": "a pax header", b"x": "a pax header", b"L": "a long GNU name", b"S": "a sparse file",
}  # fmt: skip
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")


def tar_members(source: Any, where: str, max_member_bytes: int) -> Iterator[tuple[str, bytes]]:
    """Name and content of every member.

    Args:
        source: A file at its start, with `read`.
        where: Names the file in errors.
        max_member_bytes: Larger members are refused before they are read.

    Raises:
        ImporterError: if the file is no such tar, is truncated, or holds what is refused.
    """
    while True:
        header = bytes(source.read(BLOCK))
        if header == bytes(BLOCK):
            return
        if header.startswith(_COMPRESSED):
            raise ImporterError(f"{where}: a compressed archive; unpack it to a plain .tar first")
        if len(header) < BLOCK:
            raise ImporterError(f"{where}: the tar file ends without its end mark; it is truncated")
        name, size = _checked_header(header, where, max_member_bytes)
        data = bytes(source.read(size))
        padding = -size % BLOCK
        if len(data) < size or len(source.read(padding)) < padding:
            raise ImporterError(
                f"{where}: {name}: wanted {size:,} bytes, the file ends before; it is truncated"
            )
        yield name, data


def _checked_header(header: bytes, where: str, max_member_bytes: int) -> tuple[str, int]:
    """Name and size of a regular file with a sound header."""
    checksum = _octal(header[148:156], f"{where}: checksum")
    if sum(header) - sum(header[148:156]) + 8 * 32 != checksum or header[257:262] != b"ustar":
        raise ImporterError(f"{where}: no tar file, or damaged: a header's checksum is wrong")
    raw = header[:100].rstrip(b"\0")
    kind = header[156:157]
    if kind not in (b"0", b"\0"):
        raise ImporterError(
            f"{where}: member {raw!r} is {_KINDS.get(kind, f'of type {kind!r}')}; only regular files are read"
        )
    try:
        name = checked_path(raw.decode("utf-8"))
    except (UnicodeDecodeError, StoreError) as error:
        raise ImporterError(f"{where}: member {raw!r} has a name that is refused: {error}") from error
    if header[345:500].strip(b"\0"):
        raise ImporterError(f"{where}: {name}: its name is longer than 100 bytes, which no export has")
    size = _octal(header[124:136], f"{where}: {name}: size")
    if size > max_member_bytes:
        raise ImporterError(f"{where}: {name}: {size:,} bytes, more than the {max_member_bytes:,} allowed")
    return name, size


def _octal(field: bytes, where: str) -> int:
    digits = field.strip(b" \0")
    if not digits or not all(digit in b"01234567" for digit in digits):
        raise ImporterError(f"{where}: wanted octal digits, got {field!r}")
    return int(digits, 8)
