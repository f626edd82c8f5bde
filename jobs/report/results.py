"""The evaluation tables and the numbers at the top of the page."""

from dataclasses import dataclass

import numpy as np

from jobs.report.formatting import compact, duration_text, percent, signed
from jobs.report.inputs import EvaluationTable, ReportInputs
from jobs.report.sections import words

_DATASET_LABELS = {
    "source": "source poses in",
    "augmented": "new 2D-3D pairs out",
    "dataset": "2D-3D pairs",
}


@dataclass(frozen=True)
class Cell:
    """One measured error: text, its change against the baseline, and how long its bar is (0..1)."""

    text: str
    spread: str
    change: str
    trend: str
    bar: float
    best: bool


@dataclass(frozen=True)
class TableView:
    """An evaluation table, ready to be laid out."""

    protocol: str
    unit: str
    columns: tuple[str, ...]
    baseline: str
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    note: str


@dataclass(frozen=True)
class Headline:
    """One of the large numbers."""

    value: str
    label: str
    note: str = ""
    good: bool = False


def table_view(table: EvaluationTable) -> TableView:
    """Cells with their change against the baseline column (the first one, unless the table names another)."""
    if table.kind == "metrics":
        return _metrics_view(table)
    base = _baseline_index(table)
    rows = []
    for r, row in enumerate(table.rows):
        values = table.mean[r]
        finite = values[np.isfinite(values)]
        cells = tuple(_cell(table, r, c, base, finite) for c in range(len(table.columns)))
        rows.append((words(row), cells))
    seeds = f"mean and standard deviation of {table.seeds} seeds" if table.seeds > 1 else "one seed"
    note = (
        f"{seeds[0].upper()}{seeds[1:]}; lower is better; the change is against “{words(table.columns[base])}”."
        if table.columns
        else ""
    )
    columns = tuple(words(column) for column in table.columns)
    return TableView(
        table.protocol,
        table.unit,
        columns,
        words(table.columns[base]) if table.columns else "",
        tuple(rows),
        note,
    )


def _metrics_view(table: EvaluationTable) -> TableView:
    """Plain numbers."""
    rows = tuple(
        (
            words(name),
            tuple(Cell(f"{v:.1f}" if np.isfinite(v) else "–", "", "", "", 0.0, False) for v in values),
        )
        for name, values in zip(table.rows, table.mean, strict=True)
    )
    return TableView(table.protocol, table.unit, tuple(map(words, table.columns)), "", rows, "One estimator.")


def headlines(inputs: ReportInputs) -> list[Headline]:
    """The large numbers: poses in, pairs out, kept part, what it was worth, time."""
    found = [
        Headline(compact(dataset.rows), _DATASET_LABELS[dataset.role])
        for dataset in inputs.datasets
        if dataset.rows is not None and dataset.role in _DATASET_LABELS
    ]
    for count in inputs.counts[:1]:
        made = count.kept + sum(count.rejected.values())
        if made:
            rejected = made - count.kept
            note = f"{compact(rejected)} rejected, each with its reason" if rejected else "none rejected"
            what = f"of {count.title[:1].lower()}{count.title[1:]} kept"
            found.append(Headline(percent(count.kept / made), what, note))
    worth = improvement(inputs.evaluations[0]) if inputs.evaluations else None
    if worth is not None:
        change, rows, column = worth
        found.append(
            Headline(
                signed(100 * change, 0, " %"),
                f"error on {rows}",
                f"{words(column)}, mean over the rows",
                good=change < -0.005,
            )
        )
    if inputs.seconds is not None:
        found.append(Headline(duration_text(inputs.seconds), "from start to finish"))
    return found


def improvement(table: EvaluationTable) -> tuple[float, str, str] | None:
    """Mean relative change of the last column against the baseline over the unseen (`target`) rows, else over all."""
    if table.kind != "variants" or len(table.columns) < 2 or not table.rows:
        return None
    base, last = _baseline_index(table), len(table.columns) - 1
    if base == last:
        return None
    unseen = [r for r, row in enumerate(table.rows) if row.startswith("target")]
    rows = unseen or [r for r, row in enumerate(table.rows) if "(trained on)" not in row]
    ratio = table.mean[rows, last] / table.mean[rows, base]
    ratio = ratio[np.isfinite(ratio)]
    if not len(ratio):
        return None
    return float(ratio.mean() - 1), "unseen motion" if unseen else "held-out motion", table.columns[last]


def _baseline_index(table: EvaluationTable) -> int:
    return table.columns.index(table.baseline) if table.baseline in table.columns else 0


def _cell(table: EvaluationTable, r: int, c: int, base: int, finite: np.ndarray) -> Cell:
    value = float(table.mean[r, c])
    if not np.isfinite(value):
        return Cell("–", "", "", "", 0.0, False)
    spread = table.spread[r, c] if table.spread is not None else np.nan
    reference = float(table.mean[r, base])
    change, trend = "", ""
    if c != base and np.isfinite(reference) and reference > 0:
        relative = value / reference - 1
        change = signed(100 * relative, 0, " %")
        trend = "better" if relative < -0.005 else "worse" if relative > 0.005 else "same"
    return Cell(
        text=f"{value:.1f}",
        spread=f"± {spread:.1f}" if np.isfinite(spread) else "",
        change=change,
        trend=trend,
        bar=value / float(finite.max()) if finite.max() > 0 else 0.0,
        best=len(finite) > 1 and value <= float(finite.min()),
    )
