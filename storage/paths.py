"""Paths inside a dataset: relative, with forward slashes, and never out of the root.

Manifests come from other people's machines and buckets; a path in them must not reach a file beside the
dataset.
"""

import posixpath
import re
from urllib.parse import quote

from storage.errors import StoreError

MAX_NAME_BYTES = 200
"""File systems allow 255 bytes a name; temporary names add a suffix."""

MAX_PART_BYTES = 255
MAX_PATH_BYTES = 1024
"""What file systems and object stores take."""

_NAME = r"[0-9A-Za-z][0-9A-Za-z._=+,@-]{0,199}"
_DATA_PATH = re.compile(rf"(?:pairs|quarantine)/{_NAME}\.parquet|sequences/{_NAME}\.zarr")


def checked_path(path: str) -> str:
    """The path itself when it is a plain relative path below the dataset's root.

    Raises:
        StoreError: if it is empty, absolute, too long, has a drive, a backslash, an empty, `.` or `..` part, a
            wildcard, or a character that does not show.
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
    odd = next((character for character in path if not character.isprintable()), None)
    if odd is not None:
        return f"it has a character that does not show, {odd!r}"
    if any(wildcard in path for wildcard in "*?"):
        return "it has a wildcard"
    if posixpath.isabs(path):
        return "it is absolute"
    parts = path.split("/")
    if ":" in parts[0]:
        return "it has a drive or a scheme"
    if any(part in ("", ".", "..") for part in parts):
        return "it has an empty part, '.' or '..'"
    if any(len(part.encode()) > MAX_PART_BYTES for part in parts) or len(path.encode()) > MAX_PATH_BYTES:
        return f"it is longer than {MAX_PART_BYTES} bytes a part or {MAX_PATH_BYTES} in all"
    return None


def checked_data_path(path: str) -> str:
    """The path of a data file as a manifest or commit names it, when it is one that a writer makes.

    These names reach other programs as they are (DuckDB expands wildcards, object stores read a version from
    `?versionId=`), so only plain letters may be in them.

    Raises:
        StoreError: if it is anything but `pairs/NAME.parquet`, `sequences/NAME.zarr` or
            `quarantine/NAME.parquet`, NAME of letters, digits and `._=+,@-`, not starting with a dot.
    """
    checked_path(path)
    if not _DATA_PATH.fullmatch(path):
        raise StoreError(
            f"path {path!r}: wanted pairs/NAME.parquet, sequences/NAME.zarr or quarantine/NAME.parquet with a"
            " plain name"
        )
    return path


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
