"""Bad rows and units as quarantine rows: everything that is needed to look at them and to run them again."""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from pipelines.executor import BadRow
from poses.batch import ARRAY_COLUMNS, TEXT_COLUMNS, PoseBatch
from storage.quarantine import QuarantinedRow


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
        )
        for bad in bad_rows
    ]


def pair_json(batch: PoseBatch, row: int) -> str:
    """One row as strict JSON; numbers that are not finite become the strings "nan", "inf" and "-inf"."""
    columns: dict[str, Any] = {name: getattr(batch, name)[row] for name in (*ARRAY_COLUMNS, *TEXT_COLUMNS)}
    columns |= {f"extra.{name}": values[row] for name, values in batch.extra.items()}
    return strict_json({"skeleton": batch.skeleton.name, **columns})


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
