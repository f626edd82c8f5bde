"""Measured tables are put into documents without touching the words around them."""

from pathlib import Path

import pytest

from benchmarks.__main__ import MARK, table
from benchmarks.document import with_rows_replaced, write_below, write_between
from benchmarks.row import BenchmarkRow, rate_row


def test_below_a_marker(tmp_path: Path) -> None:
    document = tmp_path / "table.md"
    document.write_text(f"# Words\n\n{MARK}\n\nold\n")
    write_below(document, MARK, "new")
    assert document.read_text() == f"# Words\n\n{MARK}\n\nnew\n"


def test_between_two_markers(tmp_path: Path) -> None:
    document = tmp_path / "table.md"
    document.write_text("head\n<!-- a -->\nold\n<!-- b -->\ntail\n")
    write_between(document, "<!-- a -->", "<!-- b -->", "new")
    assert document.read_text() == "head\n<!-- a -->\n\nnew\n\n<!-- b -->\ntail\n"


@pytest.mark.parametrize("text", ["no marker", f"{MARK} twice {MARK}"])
def test_a_document_without_its_marker_is_left_alone(tmp_path: Path, text: str) -> None:
    document = tmp_path / "table.md"
    document.write_text(text)
    with pytest.raises(ValueError, match="once, found it"):
        write_below(document, MARK, "new")
    assert document.read_text() == text


def test_rows_measured_again_replace_their_own_lines_only() -> None:
    old = [
        rate_row("net, batch 32", 10.0, "poses/s", 5.0, "published form"),
        rate_row("net, batch 32", 10.0, "poses/s", 12.0, "bare products"),
        BenchmarkRow("waits", 0.1, "of 1", note="3 rows"),
    ]
    again = [
        rate_row("net, batch 32", 20.0, "poses/s", 5.0, "published form"),
        BenchmarkRow("waits", 0.2, "of 1", note="4 rows"),
        BenchmarkRow("another", 1.0, "s"),
    ]
    text = f"Measured on a machine.\n\n{table(old)}"
    assert with_rows_replaced(text, table(again)) == (
        f"Measured on a machine.\n\n{table([again[0], old[1], again[1], again[2]])}"
    )
