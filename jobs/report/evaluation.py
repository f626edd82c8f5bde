"""Reads `evaluation.json` into tables."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jobs.report.inputs import EvaluationTable


def evaluation_tables(document: Any) -> list[EvaluationTable]:
    """Tables of a document `{"tables": [...]}`, a list of tables, or one table.

    A table is `{"protocol", "rows", "columns", "mean_mm", "spread_mm"?, "seeds"?, "baseline"?}` with one list of numbers
    (or nulls) per row.
    """
    found = document.get("tables", document) if isinstance(document, Mapping) else document
    tables: Sequence[Any] = found if isinstance(found, list) else [found]
    return [_table(table) for table in tables]


def _table(table: Mapping[str, Any]) -> EvaluationTable:
    rows, columns = tuple(map(str, table["rows"])), tuple(map(str, table["columns"]))
    spread = table.get("spread_mm")
    return EvaluationTable(
        protocol=str(table["protocol"]),
        rows=rows,
        columns=columns,
        mean=_numbers(table["mean_mm"]),
        spread=None if spread is None else _numbers(spread),
        seeds=int(table.get("seeds", 1)),
        baseline=table.get("baseline"),
    )


def _numbers(values: Sequence[Sequence[float | None]]) -> np.ndarray:
    return np.array([[np.nan if value is None else value for value in row] for row in values], dtype=float)
