"""Paths inside a dataset: relative, with forward slashes, and never out of the root.

Manifests come from other people's machines and buckets; a path in them must not reach a file beside the
dataset.
"""

import posixpath
from urllib.parse import quote

from storage.errors import StoreError

MAX_NAME_BYTES = 200
"""File systems allow 255 bytes a name; temporary names add a suffix."""


def checked_path(path: str) -> str:
    """The path itself when it is a plain relative path below the dataset's root.

    Raises:
        StoreError: if it is empty, absolute, has a drive, a backslash, an empty, `.` or `..` part, or a
            control character.
    """
    reason = _fault(path)
    if reason:
        raise StoreError(
            f"path {path!r}: {reason}; wanted a relative path below the dataset's root, such as"
            " 'pairs/3f9c.parquet'"
        )
    return path


def _fault(path: str) -> str | None:
    """Why the path is refused, or None."""
    if not path:
        return "it is empty"
    if "\\" in path:
        return "it has a backslash"
    if any(ord(character) < 32 or ord(character) == 127 for character in path):
        return "it has a control character"
    if posixpath.isabs(path):
        return "it is absolute"
    parts = path.split("/")
    if ":" in parts[0]:
        return "it has a drive or a scheme"
    if any(part in ("", ".", "..") for part in parts):
        return "it has an empty part, '.' or '..'"
    return None


def is_hidden(path: str) -> bool:
    """Whether the file, or a folder on the way to it, has a name that starts with a dot."""
    return path.startswith(".") or "/." in path


def name_part(identifier: str) -> str:
    """A run or unit id as one part of a path: letters, digits and `_.-~` stay, anything else becomes %XX.

    Raises:
        StoreError: if it is empty, hidden (starts with a dot) or longer than 200 bytes when quoted.
    """
    quoted = quote(identifier, safe="=,+@")
    if not quoted or quoted.startswith(".") or len(quoted) > MAX_NAME_BYTES:
        raise StoreError(
            f"id {identifier!r} cannot name a file: wanted 1 to {MAX_NAME_BYTES} bytes (quoted) that do not"
            f" start with a dot, got {len(quoted)} bytes; choose a shorter or plainer id"
        )
    return quoted


def manifest_path(version: int) -> str:
    """Where a version of a dataset stands."""
    return f"manifests/v{version:06d}.json"
