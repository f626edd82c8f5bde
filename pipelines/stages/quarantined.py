"""Bad rows as quarantine rows, with everything that is needed to look at them and to run them again; and back.

A unit that retries quarantined rows names them in its payload: `{"quarantine": {"again": [[path, number], ...],
"carried": [...]}}`. Row i of the unit is the i-th of `again`; `carried` are rows of the same quarantine file that
cannot be retried and stay as they are.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pipelines.executor import BadRow
from pipelines.plan import Unit
from poses.batch import ARRAY_COLUMNS, TEXT_COLUMNS, PoseBatch
from poses.skeleton import Skeleton
from storage.object_store import ObjectStore
from storage.quarantine import QuarantinedRow, read_quarantine

QUARANTINE = "quarantine"
_EXTRA = "extra."


@dataclass(frozen=True)
class RetriedRows:
    """The quarantined rows of a unit that retries some."""

    again: tuple[QuarantinedRow, ...]
    carried: tuple[QuarantinedRow, ...]

    def still_bad(self, bad: BadRow) -> QuarantinedRow:
        """A row that fails again, with today's reason."""
        return replace(
            self.again[bad.row],
            reason=str(bad.failure),
            traceback=bad.failure.traceback,
            unit_row=bad.row,
        )


def retried_rows(store: ObjectStore, unit: Unit) -> RetriedRows | None:
    """The rows that a unit retries; None for a unit that is no retry."""
    named = unit.payload.get(QUARANTINE)
    if named is None:
        return None
    files: dict[str, list[QuarantinedRow]] = {}

    def row(path: str, number: int) -> QuarantinedRow:
        if path not in files:
            files[path] = read_quarantine(store, path)
        return files[path][number]

    again, carried = (tuple(row(*place) for place in named[key]) for key in ("again", "carried"))
    return RetriedRows(again, carried)


def bad_pairs(
    batch: PoseBatch, bad_rows: Iterable[BadRow], source: str, start_row: int, stage: str
) -> list[QuarantinedRow]:
    """Quarantine rows of pairs that broke a stage.

    Args:
        batch: The unit's rows before anything was left out.
        bad_rows: Their numbers in `batch`, and why.
        source: The pairs file.
        start_row: Row of the file that is row 0 of `batch`.
        stage: Name of the stage.
    """
    return [
        QuarantinedRow(
            source=source,
            row=start_row + bad.row,
            reason=str(bad.failure),
            stage=stage,
            traceback=bad.failure.traceback,
            raw_json=pair_json(batch, bad.row),
            unit_row=bad.row,
        )
        for bad in bad_rows
    ]


def bad_windows(
    batch: PoseBatch,
    bad_rows: Iterable[BadRow],
    source: str,
    first_rows: Sequence[int],
    stage: str,
    frames: int,
) -> list[QuarantinedRow]:
    """Quarantine rows of windows that broke a stage: one for each window, with all of its frames.

    Args:
        batch: The unit's windows before anything was left out, frame after frame.
        bad_rows: Numbers of the windows, and why.
        source: The pairs file.
        first_rows: Row of the file that is the first frame of every window of the unit.
        stage: Name of the stage.
        frames: Of a window.
    """
    return [
        QuarantinedRow(
            source=source,
            row=int(first_rows[bad.row]),
            reason=str(bad.failure),
            stage=stage,
            traceback=bad.failure.traceback,
            raw_json=_list_json(
                pair_json(batch, row) for row in range(bad.row * frames, (bad.row + 1) * frames)
            ),
            unit_row=bad.row,
        )
        for bad in bad_rows
    ]


def _list_json(texts: Iterable[str]) -> str:
    return f"[{', '.join(texts)}]"


def pair_json(batch: PoseBatch, row: int) -> str:
    """One row as strict JSON; numbers that are not finite become the strings "nan", "inf" and "-inf".

    Every value comes back as it was: a float32 has an exact decimal, and "types" has the types of extra columns.
    """
    columns: dict[str, Any] = {name: getattr(batch, name)[row] for name in (*ARRAY_COLUMNS, *TEXT_COLUMNS)}
    columns |= {f"{_EXTRA}{name}": values[row] for name, values in batch.extra.items()}
    types = {name: str(values.dtype) for name, values in batch.extra.items()}
    return strict_json({"skeleton": batch.skeleton.name, "types": types, **columns})


def pairs_of_json(texts: Sequence[str], skeleton: Skeleton) -> PoseBatch:
    """The rows that `pair_json` wrote, alone or as windows, as a batch. Rows of one unit have the same extra columns.

    Raises:
        KeyError: if a column is missing.
    """
    rows: list[dict[str, Any]] = []
    for text in texts:
        read = json.loads(text)
        rows += read if isinstance(read, list) else [read]
    if not rows:
        return PoseBatch.empty(skeleton)
    types: Mapping[str, str] = rows[0]["types"]
    core = {
        name: np.asarray([_numbers(row[name]) for row in rows], dtype)
        for name, dtype in ARRAY_COLUMNS.items()
    }
    names = {name: np.asarray([row[name] for row in rows], object) for name in TEXT_COLUMNS}
    extra = {
        name: np.asarray([_value(row[f"{_EXTRA}{name}"], kind) for row in rows], kind)
        for name, kind in types.items()
    }
    columns: dict[str, Any] = {**core, **names}
    return PoseBatch(skeleton, **columns, extra=extra)


def strict_json(values: Mapping[str, Any]) -> str:
    """JSON with sorted keys of values that may be numpy's and may not be finite."""
    return json.dumps(
        {name: _plain(value) for name, value in values.items()}, sort_keys=True, allow_nan=False
    )


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return [_plain(item) for item in value.tolist()]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _value(value: Any, kind: str) -> Any:
    return value if kind == "object" else _numbers(value)


def _numbers(value: Any) -> Any:
    """The numbers again, those that are not finite from their names."""
    if isinstance(value, list):
        return [_numbers(item) for item in value]
    return float(value) if isinstance(value, str) else value
