"""Rows that could not be used, kept with stage, reason and raw row: to look at, and to run again."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from storage.digests import DigestingFile
from storage.errors import DAMAGED, ShardError
from storage.object_store import ObjectStore

QUARANTINE_SCHEMA = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("row", pa.int64()),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("traceback", pa.string(), nullable=False),
        pa.field("raw_json", pa.string(), nullable=False),
        pa.field("run_id", pa.string(), nullable=False),
        pa.field("unit_id", pa.string(), nullable=False),
        pa.field("unit_row", pa.int64()),
    ]
)
LATER_COLUMNS = {"run_id": "", "unit_id": "", "unit_row": None}
"""Columns that quarantine files did not have at first, and what stands for them."""


@dataclass(frozen=True)
class QuarantinedRow:
    """One row, frame or file that a stage could not use.

    Args:
        source: The file (and clip) that it came from.
        row: Row or frame in the source; None when the whole source is meant.
        reason: Why, in words.
        stage: The stage that gave it up.
        traceback: Where the code raised; empty when the reason says all.
        raw_json: The row as JSON, enough to run it again; empty when the source is enough.
        run_id, unit_id: Of the unit that left it out; the writer fills them in.
        unit_row: Number of the row in its unit, if a whole row of the unit was left out; None if only a part
            was, such as some frames of a file.
    """

    source: str
    row: int | None
    reason: str
    stage: str
    traceback: str = ""
    raw_json: str = ""
    run_id: str = ""
    unit_id: str = ""
    unit_row: int | None = None

    @property
    def unit_key(self) -> tuple[str, str]:
        """(run id, unit id)."""
        return self.run_id, self.unit_id


def write_quarantine(path: Path, rows: Sequence[QuarantinedRow]) -> DigestingFile:
    """Writes the rows as Parquet; the closed file tells its digest and size."""
    columns = {field.name: [getattr(row, field.name) for row in rows] for field in fields(QuarantinedRow)}
    sink = DigestingFile(path)
    table = pa.table(columns, schema=QUARANTINE_SCHEMA)
    pq.write_table(table, pa.PythonFile(sink, mode="w"), compression="zstd", write_page_checksum=True)
    sink.close()
    return sink


def read_quarantine(store: ObjectStore, path: str) -> list[QuarantinedRow]:
    """The rows of one quarantine file.

    Raises:
        ShardError: if the file cannot be read as one.
    """
    try:
        with store.open_input(path) as file:
            table = pq.read_table(file, page_checksum_verification=True)
        names = [
            name
            for name in QUARANTINE_SCHEMA.names
            if name in table.schema.names or name not in LATER_COLUMNS
        ]
        return [QuarantinedRow(**row) for row in table.select(names).to_pylist()]
    except (pa.ArrowException, OSError, KeyError) as error:
        raise ShardError(f"{store.url}/{path}: wanted a quarantine file, got: {error}; {DAMAGED}") from error


def count_whole_rows(rows: Iterable[QuarantinedRow]) -> int:
    """How many whole rows of units were left out; what `max_bad_rows` counts."""
    return sum(row.unit_row is not None for row in rows)


def reasons(rows: Iterable[QuarantinedRow]) -> dict[str, int]:
    """How often each `stage: reason` occurs, most frequent first."""
    return dict(Counter(f"{row.stage}: {row.reason}" for row in rows).most_common())
