"""When a stored file was written, from what fsspec's file systems tell of it."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

_KEYS = ("LastModified", "last_modified", "mtime", "updated", "modified", "created")
"""s3fs, adlfs, gcsfs and local, gcsfs, others, memory."""


def modified_unix_s(info: Mapping[str, Any]) -> float | None:
    """Seconds since 1970; None where the store does not say."""
    for key in _KEYS:
        seconds = _seconds(info.get(key))
        if seconds is not None:
            return seconds
    return None


def _seconds(value: Any) -> float | None:
    if isinstance(value, str) and value:
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    return float(value) if isinstance(value, int | float) else None
