"""Measured tables in documents: what a command wrote is replaced, the words around it stay."""

import re
from pathlib import Path

_NUMBERS = re.compile(r" \(.*\)$")
_LIMIT = re.compile(r"^[\d.,e+-]+ \((.*)\)$")


def write_below(document: Path, mark: str, text: str) -> None:
    """Replace everything below a marker line.

    Raises:
        ValueError: if the document does not have the marker, or has it twice.
    """
    head, _ = _split(document, document.read_text(), mark)
    document.write_text(f"{head.rstrip()}\n\n{mark}\n\n{text}\n")


def write_between(document: Path, begin: str, end: str, text: str) -> None:
    """Replace everything between two marker lines.

    Raises:
        ValueError: if the document does not have both, once each.
    """
    head, rest = _split(document, document.read_text(), begin)
    _, tail = _split(document, rest, end)
    document.write_text(f"{head}{begin}\n\n{text}\n\n{end}{tail}")


def with_rows_replaced(table: str, rows: str) -> str:
    """A benchmark table in which the lines of some rows are new ones; rows that it does not have come last.

    A row is known by its name, without the figures in brackets behind it, and by the name of its limit.

    Args:
        table: Text with a Markdown table whose first column is the name and whose fourth is the limit.
        rows: Another such table.
    """
    new = {key: line for line in rows.splitlines() if (key := _key(line)) is not None}
    lines = [new.pop(key, line) if (key := _key(line)) is not None else line for line in table.splitlines()]
    last = max(number for number, line in enumerate(lines) if line.startswith("|"))
    return "\n".join([*lines[: last + 1], *new.values(), *lines[last + 1 :]])


def _key(line: str) -> tuple[str, str] | None:
    cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
    if not line.startswith("|") or len(cells) < 4 or cells[0] == "what":
        return None
    limit = _LIMIT.match(cells[3])
    return _NUMBERS.sub("", cells[0]), limit.group(1) if limit else cells[3]


def _split(document: Path, text: str, mark: str) -> tuple[str, str]:
    parts = text.split(mark)
    if len(parts) != 2:
        raise ValueError(f"{document}: wanted the line {mark!r} once, found it {len(parts) - 1} times")
    return parts[0], parts[1]
