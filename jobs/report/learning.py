"""The closed loop over time: losses, hardness, kept poses, and whatever else the loop wrote down."""

from collections.abc import Mapping, Sequence

import numpy as np

from jobs.report import charts
from jobs.report.sections import Panel, words

_LOSSES = (
    ("loss_generator", "Augmentor", "Generator loss"),
    ("loss_d3d", "3D critic", "Discriminator of body parts"),
    ("loss_d2d", "2D critic", "Discriminator of projections"),
    ("loss_lifter", "Estimator", "Loss of the lifter that learns from both"),
)
_HARDNESS = (("hardness_ba", "a", "after bone angles"), ("hardness_rt", "b", "after the camera too"))
_TIME_KEYS = ("iteration", "epoch", "step", "time", "timestamp", "seconds", "version", "wall_s", "wall_seconds")


def series_of(metrics: Sequence[Mapping[str, float]], key: str) -> np.ndarray:
    """One metric over all lines; NaN where a line does not have it or holds no number."""
    return np.array([_as_number(row.get(key)) for row in metrics], dtype=float)


def steps_of(metrics: Sequence[Mapping[str, float]]) -> tuple[np.ndarray, str]:
    """What to draw along: iterations where every line has one that grows, else epochs, else line numbers."""
    for key in ("iteration", "step", "epoch"):
        values = series_of(metrics, key)
        if len(values) and np.isfinite(values).all() and (np.diff(values) >= 0).all() and values[-1] > values[0]:
            return values, key
    return np.arange(1, len(metrics) + 1, dtype=float), "record"


def loss_panels(metrics: Sequence[Mapping[str, float]]) -> list[Panel]:
    """One panel per loss that was recorded."""
    steps, unit = steps_of(metrics)
    panels = []
    for key, title, note in _LOSSES:
        values = series_of(metrics, key)
        if np.isfinite(values).any():
            panels.append(Panel(title, charts.curves(steps, [("a", values)], f"{note} over {unit}s", width=260, height=160), note, _first_last(values)))
    return panels


def feedback_panels(metrics: Sequence[Mapping[str, float]]) -> list[Panel]:
    """How much harder the augmented poses are than their sources, and how many of them were kept."""
    steps, unit = steps_of(metrics)
    panels = []
    series = [(css, series_of(metrics, key), name) for key, css, name in _HARDNESS]
    series = [item for item in series if np.isfinite(item[1]).any()]
    if series:
        picture = charts.curves(steps, [(css, values) for css, values, _ in series], f"Hardness over {unit}s", width=460, height=210)
        note = "Estimator's error on augmented poses, as a multiple of its error on their sources"
        panels.append(Panel("Hardness", picture, note, keys=tuple((css, name) for css, _, name in series)))
    kept = series_of(metrics, "kept_fraction")
    if np.isfinite(kept).any():
        picture = charts.curves(steps, [("a", 100 * kept)], f"Kept poses over {unit}s", (0, 100), width=460, height=210)
        panels.append(Panel("Kept poses", picture, "Part that is in front of the camera and inside the image, %", _first_last(100 * kept)))
    return panels


def other_panels(metrics: Sequence[Mapping[str, float]], most: int = 12) -> list[Panel]:
    """Every other number that the loop recorded, under its own name."""
    known = {key for key, _, _ in (*_LOSSES, *_HARDNESS)} | {"kept_fraction", *_TIME_KEYS}
    steps, unit = steps_of(metrics)
    names = sorted({str(key) for row in metrics for key in row} - known)
    panels = []
    for name in names:
        values = series_of(metrics, name)
        if np.isfinite(values).any() and len(panels) < most:
            panels.append(Panel(words(name), charts.curves(steps, [("a", values)], f"{words(name)} over {unit}s"), "", _first_last(values)))
    return panels


def _first_last(values: np.ndarray) -> tuple[tuple[str, str, str], ...]:
    finite = values[np.isfinite(values)]
    tenth = max(1, len(finite) // 10)
    return (("from → to", _short(float(np.median(finite[:tenth]))), _short(float(np.median(finite[-tenth:])))),)


def _short(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")


def _as_number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else float("nan")
