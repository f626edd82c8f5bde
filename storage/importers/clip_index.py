"""An index of clips (CSV): key, subject and action for files whose names do not tell them."""

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from storage.errors import ImporterError

COLUMNS = ("key", "subject", "action_class")
HDM05_ACTOR = re.compile(r"(?:^|/)HDM_([A-Za-z0-9]+)_")


@dataclass(frozen=True)
class IndexRow:
    """What the index says about one clip."""

    key: str
    subject: str
    action: str


@dataclass(frozen=True)
class ClipIndex:
    """Rows by key, and by the file they are read from."""

    by_key: Mapping[str, IndexRow] = field(default_factory=dict)
    by_file: Mapping[str, IndexRow] = field(default_factory=dict)

    def find(self, file: Path, keys: tuple[str, ...]) -> IndexRow | None:
        """The row of a clip: by its file (for files of one clip), else by the first key that is there."""
        row = self.by_file.get(str(file.resolve()))
        return row or next((self.by_key[key] for key in keys if key in self.by_key), None)


@lru_cache(maxsize=8)
def read_index(path: Path | None) -> ClipIndex:
    """An index CSV with the columns key, subject, action_class, and optionally file (relative to the CSV's
    folder).

    Raises:
        ImporterError: if it cannot be read, lacks a column, or names a key twice.
    """
    if path is None:
        return ClipIndex()
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream)
            missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
            if missing:
                raise ImporterError(
                    f"{path}: an index wants the columns {', '.join(COLUMNS)}; missing: {', '.join(missing)}"
                )
            rows = list(reader)
    except OSError as error:
        raise ImporterError(f"{path}: cannot read the index: {error.strerror or error}") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise ImporterError(f"{path}: the index is no CSV in UTF-8: {error}") from error
    by_key: dict[str, IndexRow] = {}
    by_file: dict[str, IndexRow] = {}
    for values in rows:
        if not values["key"] or "\0" in (values.get("file") or ""):
            raise ImporterError(
                f"{path}: wanted a key and a plain file name in every row, got {str(values)[:120]}"
            )
        row = IndexRow(values["key"], values["subject"] or "", values["action_class"] or "")
        if row.key in by_key:
            raise ImporterError(f"{path}: the key {row.key!r} comes twice")
        by_key[row.key] = row
        if values.get("file"):
            by_file[str((path.parent / values["file"]).resolve())] = row
    return ClipIndex(by_key, by_file)


def subject_of(key: str, pattern: str | None) -> str:
    """Who moves, out of a clip's key: see `ImportOptions.subject_pattern`. "unknown" where nothing tells."""
    match = re.search(pattern, key) if pattern is not None else HDM05_ACTOR.search(key)
    if match is not None and match[1]:
        return match[1]
    if pattern is not None or "/" not in key:
        return "unknown"
    return key.split("/")[-2]
