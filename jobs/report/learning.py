"""The closed loop over time: losses, hardness, what the feedback asked for, and whatever else the loop wrote down."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jobs.report import charts
from jobs.report.sections import Panel, words

_LOSSES = (
    ("loss_generator", "Augmentor", "Generator loss"),
    ("loss_d3d", "3D critic", "Discriminator of body parts"),
    ("loss_d2d", "2D critic", "Discriminator of projections"),
    ("loss_lifter", "Estimator", "Loss of the lifter that learns from both"),
)
_HARDNESS = (
    (("hardness_bone_angle", "hardness_ba"), "a", "after bone angles"),
    (("hardness_rigid_motion", "hardness_rt"), "b", "after the camera too"),
)
_VALIDATION = (
    (("validation_mpjpe_mm",), "a", "now"),
    (("validation_best_mpjpe_mm",), "b", "best so far, which is kept"),
)
_NOT_SELECTED = "not_selected"
_TIME_KEYS = (
    "iteration",
    "epoch",
    "step",
    "time",
    "timestamp",
    "seconds",
    "version",
    "wall_s",
    "wall_seconds",
)
_ODDS = re.compile(r"odds_(?P<factor>\w+)_(?P<bin>\d+)")
_FACTORS = {
    "tilt": ("Tilt of the body", ("upright", "any way")),
    "articulation": ("How far joints turn", ("little", "far")),
    "focal": ("Focal length", ("short", "long")),
    "scale": ("Size in the image", ("small", "large")),
}


def series_of(metrics: Sequence[Mapping[str, float]], key: str) -> np.ndarray:
    """One metric over all lines; NaN where a line does not have it or holds no number."""
    return np.array([_as_number(row.get(key)) for row in metrics], dtype=float)


def steps_of(metrics: Sequence[Mapping[str, float]]) -> tuple[np.ndarray, str]:
    """What to draw along: iterations where every line has one that grows, else epochs, else line numbers."""
    for key in ("iteration", "step", "epoch"):
        values = series_of(metrics, key)
        if (
            len(values)
            and np.isfinite(values).all()
            and (np.diff(values) >= 0).all()
            and values[-1] > values[0]
        ):
            return values, key
    return np.arange(1, len(metrics) + 1, dtype=float), "record"


def loss_panels(metrics: Sequence[Mapping[str, float]]) -> list[Panel]:
    """One panel per loss that was recorded."""
    steps, unit = steps_of(metrics)
    panels = []
    for key, title, note in _LOSSES:
        values = series_of(metrics, key)
        if np.isfinite(values).any():
            panels.append(
                Panel(
                    title,
                    charts.curves(steps, [("a", values)], f"{note} over {unit}s", width=260, height=160),
                    note,
                    _first_last(values),
                )
            )
    return panels


def feedback_panels(metrics: Sequence[Mapping[str, float]]) -> list[Panel]:
    """How much harder the augmented poses are than their sources, and how many of them were kept."""
    steps, unit = steps_of(metrics)
    panels = _lines_panel(
        metrics,
        _VALIDATION,
        "Error on held-out poses",
        "Estimator's MPJPE on the validation part of the source, mm",
        unit,
    )
    panels += _lines_panel(
        metrics,
        _HARDNESS,
        "Hardness",
        "Estimator's error on augmented poses, as a multiple of its error on their sources",
        unit,
    )
    kept = kept_fraction(metrics)
    if np.isfinite(kept).any():
        picture = charts.curves(
            steps, [("a", 100 * kept)], f"Kept poses over {unit}s", (0, 100), width=400, height=200
        )
        panels.append(
            Panel(
                "Kept poses",
                picture,
                "Part that is in front of the camera and inside the image, %",
                _first_last(100 * kept),
            )
        )
    return panels


def _lines_panel(
    metrics: Sequence[Mapping[str, float]],
    lines: Sequence[tuple[tuple[str, ...], str, str]],
    title: str,
    note: str,
    unit: str,
) -> list[Panel]:
    """One panel with a line per metric; none if no metric was recorded."""
    steps, _ = steps_of(metrics)
    found = [(css, _first_recorded(metrics, names), name) for names, css, name in lines]
    found = [item for item in found if np.isfinite(item[1]).any()]
    if not found:
        return []
    series = [(css, values) for css, values, _ in found]
    picture = charts.curves(steps, series, f"{title} over {unit}s", width=400, height=200)
    return [Panel(title, picture, note, keys=tuple((css, name) for css, _, name in found))]


def _first_recorded(metrics: Sequence[Mapping[str, float]], names: Sequence[str]) -> np.ndarray:
    """The first of several names of one metric that any line has."""
    for name in names:
        values = series_of(metrics, name)
        if np.isfinite(values).any():
            return values
    return np.full(len(metrics), np.nan)


def kept_fraction(metrics: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Part of the made poses that could be used, from the counts where the loop wrote them, else as it says.

    Poses that were good but not selected count as usable.
    """
    said = series_of(metrics, "kept_fraction")
    counted = np.full(len(metrics), np.nan)
    for i, row in enumerate(metrics):
        fakes, rejected = _as_number(row.get("fakes")), row.get("rejected")
        if np.isfinite(fakes) and isinstance(rejected, Mapping):
            total = fakes + sum(rejected.values())
            counted[i] = (fakes + rejected.get(_NOT_SELECTED, 0)) / total if total else np.nan
    return np.where(np.isfinite(counted), counted, said)


def steering_panels(metrics: Sequence[Mapping[str, float]]) -> list[Panel]:
    """What the estimator's errors asked for: the odds of each factor's bins, at the beginning and at the end."""
    names = {str(key) for row in metrics for key in row}
    found: dict[str, list[int]] = {}
    for match in filter(None, map(_ODDS.fullmatch, sorted(names))):
        found.setdefault(match["factor"], []).append(int(match["bin"]))
    panels = []
    for factor, bins in found.items():
        odds = np.stack([series_of(metrics, f"odds_{factor}_{i}") for i in sorted(bins)], axis=1)
        odds = odds[np.isfinite(odds).all(axis=1)]
        if len(odds):
            title, ends = _FACTORS.get(factor, (words(factor), ("low", "high")))
            picture = charts.bar_pairs(
                100 * odds[0], 100 * odds[-1], ends, f"{title}: odds of its bins in percent"
            )
            panels.append(Panel(title, picture))
    return panels


def other_panels(metrics: Sequence[Mapping[str, float]], most: int = 48) -> list[Panel]:
    """Every other number that the loop recorded, under its own name."""
    known = {key for key, _, _ in _LOSSES} | {"kept_fraction", *_TIME_KEYS}
    known |= {name for names, _, _ in (*_HARDNESS, *_VALIDATION) for name in names}
    steps, unit = steps_of(metrics)
    names = sorted(
        name for name in {str(key) for row in metrics for key in row} - known if not _ODDS.fullmatch(name)
    )
    panels = []
    for name in names:
        values = series_of(metrics, name)
        if np.isfinite(values).any() and len(panels) < most:
            panels.append(
                Panel(
                    words(name),
                    charts.curves(steps, [("a", values)], f"{words(name)} over {unit}s"),
                    "",
                    _first_last(values),
                )
            )
    return panels


def _first_last(values: np.ndarray) -> tuple[tuple[str, str, str], ...]:
    finite = values[np.isfinite(values)]
    tenth = max(1, len(finite) // 10)
    return (
        ("from → to", _short(float(np.median(finite[:tenth]))), _short(float(np.median(finite[-tenth:])))),
    )


def _short(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")


def _as_number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else float("nan")
