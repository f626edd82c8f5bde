"""Reads `evaluation.json` into tables.

Its rows are what `pipelines.evaluate` writes (`part`, `rig`, `protocol`, `metrics`), and where several estimators were
compared also `variant` and `seed`; `baseline` and `loop` name two of the variants. One variant gives a table of its
metrics; several give a table of variants per protocol, by its main error. Numbers of different protocols never
share a table, and an estimator whose checkpoint was chosen on a test split is shown with that said beside its name.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from jobs.errors import ReportError
from jobs.report.inputs import EvaluationTable

COMPARED_METRICS = ("mpjpe_mm", "pa_mpjpe_reflection_mm", "absolute_mpjpe_mm")
"""What variants are compared by: the first that the rows have."""
_METRICS = {
    "mpjpe_mm": "MPJPE, mm",
    "pa_mpjpe_mm": "PA-MPJPE, mm",
    "n_mpjpe_mm": "N-MPJPE, mm",
    "pa_mpjpe_reflection_mm": "PA-MPJPE with reflections (RepNet's), mm",
    "absolute_mpjpe_mm": "MPJPE in camera coordinates, mm",
    "root_error_m": "root, m",
    "root_error_relative": "root, % of its depth",
    "velocity_mm_per_frame": "velocity, mm a frame",
    "pck_150": "PCK at 150 mm, %",
    "auc": "AUC, %",
}
_RIGS = {"h36m_like": "H36M-like cameras", "mpi_inf_3dhp_like": "3DHP-like cameras"}
_PERCENT = ("pck_150", "auc", "root_error_relative")
_PROTOCOLS = {
    "frame_mean_with_root": "mean over frames, root joint counted",
    "frame_mean_without_root": "mean over frames, root joint left out",
    "action_mean_with_root": "mean over actions, root joint counted",
    "action_mean_without_root": "mean over actions, root joint left out",
    "released_poseaug": "as PoseAug's released evaluation (16 joints, root counted, mean over frames)",
    "released_semgcn": "as SemGCN's released evaluation (16 joints, root counted, mean over actions)",
    "released_repnet": "as RepNet's released evaluation (16 joints, mirrored poses count as right, mean over frames)",
    "camera_frame_mean": "in camera coordinates (a trajectory model gives the root), mean over frames",
    "released_motionbert": "as MotionBERT's released evaluation (scale from the ground truth, mean over actions)",
}
_CHOSEN_ON_TEST = "checkpoint chosen on the test split"


def evaluation_tables(document: Any) -> list[EvaluationTable]:
    """Tables of an evaluation.

    Raises:
        ReportError: if the document has no rows of the expected form.
    """
    rows = document.get("rows") if isinstance(document, Mapping) else None
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) and "metrics" in row for row in rows):
        raise ReportError("evaluation.json: wanted {'rows': [{'part', 'rig', 'protocol', 'metrics'}, ...]}")
    baseline, own = document.get("baseline"), document.get("loop")
    protocols = dict.fromkeys(str(row.get("protocol", "")) for row in rows)
    tables: list[EvaluationTable] = []
    for protocol in protocols:
        chosen = [row for row in rows if str(row.get("protocol", "")) == protocol]
        tables.append(evaluation_table(chosen, baseline, own))
    return tables


def evaluation_table(
    rows: Sequence[Mapping[str, Any]], baseline: Any = None, own: Any = None
) -> EvaluationTable:
    """One table of rows of one protocol.

    Args:
        rows: As `pipelines.evaluate` writes them.
        baseline: The variant that the others are compared with.
        own: The variant that comes last.

    Raises:
        ReportError: if the rows have different protocols, or one of them has none.
    """
    protocols = sorted({str(row.get("protocol") or "") for row in rows})
    if len(protocols) != 1 or not protocols[0]:
        named = ", ".join(name or "(none named)" for name in protocols) or "(no rows)"
        raise ReportError(
            f"evaluation table: wanted rows of one named protocol, got {named}; make a table for each: their numbers "
            "differ by millimetres for the same poses"
        )
    variants = _ordered(dict.fromkeys(str(row.get("variant", "")) for row in rows), baseline, own)
    if len(variants) > 1:
        return _compare(protocols[0], rows, variants, baseline)
    return _single(protocols[0], rows)


def _is_chosen_on_test(rows: Iterable[Mapping[str, Any]]) -> bool:
    return any(row.get("selected_on") == "test" for row in rows)


def _ordered(variants: Iterable[str], baseline: Any, own: Any) -> list[str]:
    """The baseline first, the run's own loop last, the others between them as they come."""
    return sorted(variants, key=lambda name: (name == own, name != baseline))


def protocol_words(protocol: str, metric: str) -> str:
    """`frame_mean_with_root` -> `MPJPE, mean over frames, root joint counted (frame_mean_with_root)`."""
    known = _PROTOCOLS.get(protocol)
    return f"{metric}, {known} ({protocol})" if known else f"{metric}, {protocol or 'protocol not named'}"


def _compare(
    protocol: str, rows: Sequence[Mapping[str, Any]], variants: Sequence[str], baseline: Any
) -> EvaluationTable:
    """Variants side by side: means over seeds, and their standard deviation where there are several."""
    parts = _part_names(rows)
    metric = next(
        (name for name in COMPARED_METRICS if any(name in row["metrics"] for row in rows)),
        COMPARED_METRICS[0],
    )
    named = {
        variant: f"{variant} ({_CHOSEN_ON_TEST})"
        if _is_chosen_on_test(row for row in rows if str(row.get("variant", "")) == variant)
        else variant
        for variant in variants
    }
    mean, spread, seeds = (np.full((len(parts), len(variants)), np.nan) for _ in range(3))
    for r, part in enumerate(parts):
        for c, variant in enumerate(variants):
            values = [
                _number(row["metrics"].get(metric))
                for row in rows
                if _part_name(row, rows) == part and str(row.get("variant", "")) == variant
            ]
            finite = [value for value in values if np.isfinite(value)]
            if finite:
                mean[r, c], seeds[r, c] = np.mean(finite), len(finite)
                spread[r, c] = np.std(finite, ddof=1) if len(finite) > 1 else np.nan
    count = int(np.nanmax(seeds)) if np.isfinite(seeds).any() else 1
    return EvaluationTable(
        protocol=protocol_words(protocol, _METRICS[metric].removesuffix(", mm")),
        rows=tuple(parts),
        columns=tuple(named[variant] for variant in variants),
        mean=mean,
        spread=spread if count > 1 else None,
        seeds=count,
        baseline=named[str(baseline)] if baseline in variants else None,
    )


def _single(protocol: str, rows: Sequence[Mapping[str, Any]]) -> EvaluationTable:
    """One estimator: its metrics side by side."""
    parts = _part_names(rows)
    names = [name for name in _METRICS if any(name in row["metrics"] for row in rows)]
    mean = np.full((len(parts), len(names)), np.nan)
    for row in rows:
        for c, name in enumerate(names):
            value = _number(row["metrics"].get(name))
            mean[parts.index(_part_name(row, rows)), c] = value * (100 if name in _PERCENT else 1)
    title = protocol_words(protocol, "All metrics")
    if _is_chosen_on_test(rows):
        title += f"; {_CHOSEN_ON_TEST}"
    return EvaluationTable(
        title, tuple(parts), tuple(_METRICS[name] for name in names), mean, unit="", kind="metrics"
    )


def _part_names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the table's rows: camera rig by camera rig; what was trained on comes last and says so."""
    rigs = list(dict.fromkeys(str(row.get("rig", "")) for row in rows))
    ordered = sorted(rows, key=lambda row: (_is_trained_on(row), rigs.index(str(row.get("rig", "")))))
    return list(dict.fromkeys(_part_name(row, rows) for row in ordered))


def _part_name(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """The part, and the rig where there are several."""
    part, rig = str(row.get("part", "")) or "all", str(row.get("rig", ""))
    several = len({str(other.get("rig", "")) for other in rows}) > 1
    name = f"{part}, {_RIGS.get(rig, rig)}" if several and rig else part
    return f"{name} (trained on)" if _is_trained_on(row) else name


def _is_trained_on(row: Mapping[str, Any]) -> bool:
    return "train" in str(row.get("part", ""))


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else float("nan")
