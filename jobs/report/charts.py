"""The report's charts: histograms of two datasets, ranges, the viewpoint map, curves over time, bars.

Two series everywhere: `source` (grey, filled) and `augmented` (violet, drawn as a line on a light fill), so that they
stay apart in print and for colour-blind readers.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from markupsafe import Markup

from jobs.report import svg
from jobs.report.formatting import tick_text
from jobs.report.statistics import AZIMUTH_EDGES_DEG, ELEVATION_EDGES_DEG, Summary

_VIEW_LEVELS = 6


def histogram_pair(
    source: Float[np.ndarray, " N"] | None,
    augmented: Float[np.ndarray, " M"] | None,
    description: str,
    domain: tuple[float, float] | None = None,
    width: float = 360,
    height: float = 170,
    bins: int = 44,
    ticks: Sequence[float] | None = None,
) -> Markup:
    """Two distributions on one axis, each as a smooth outline with the same area; medians as small marks."""
    series = [
        (css, v[np.isfinite(v)]) for css, v in (("source", source), ("augmented", augmented)) if v is not None
    ]
    series = [(css, v) for css, v in series if len(v)]
    if not series:
        return nothing(width, height, "no values")
    low, high = domain or svg.nice_domain(np.concatenate([v for _, v in series]), 5)
    edges = np.linspace(low, high, bins + 1)
    outlines = [(css, _density(v, edges), float(np.median(v))) for css, v in series]
    peak = max(float(density.max()) for _, density, _ in outlines) or 1.0
    plot = svg.Plot(width, height, (low, high), (0, peak * 1.06), left=12, right=12, top=8, bottom=26)
    parts = _x_axis(plot, 5, values=ticks)
    middles = (edges[:-1] + edges[1:]) / 2
    for css, density, median in outlines:
        top = [(plot.x(m), plot.y(d)) for m, d in zip(middles, density, strict=True)]
        base = plot.y(0)
        parts.append(svg.area([(top[0][0], base), *top, (top[-1][0], base)], f"fill {css}"))
        parts.append(svg.polyline(top, f"stroke {css}"))
        if low <= median <= high:
            parts.append(svg.line(plot.x(median), base, plot.x(median), base + 5, f"median {css}"))
    return svg.picture(width, height, parts, description)


def range_rows(
    labels: Sequence[str],
    source: Sequence[Summary] | None,
    augmented: Sequence[Summary] | None,
    description: str,
    domain: tuple[float, float],
    width: float = 360,
    row_height: float = 28,
) -> Markup:
    """One row per label: a bar from the 5 % to the 95 % quantile and a dot at the median, source above augmented."""
    series = [(css, s) for css, s in (("source", source), ("augmented", augmented)) if s is not None]
    if not series or not labels:
        return nothing(width, 60, "no values")
    height = row_height * len(labels) + 30
    plot = svg.Plot(width, height, domain, (0, 1), left=112, right=12, top=6, bottom=24)
    parts = _x_axis(plot, 4, grid=True)
    for i, label in enumerate(labels):
        middle = plot.top + (i + 0.5) * row_height
        parts.append(svg.text(plot.left - 10, middle + 4, label, "label", "end"))
        for (css, rows), offset in zip(series, (-4.5, 4.5) if len(series) == 2 else (0,), strict=True):
            summary = rows[i]
            if np.isfinite(summary.median):
                y = middle + offset
                parts.append(svg.line(plot.x(summary.low), y, plot.x(summary.high), y, f"range {css}"))
                parts.append(svg.circle(plot.x(summary.median), y, 3.4, f"dot {css}"))
    return svg.picture(width, height, parts, description)


def range_domain(summaries: Sequence[Summary]) -> tuple[float, float]:
    """From zero to a round number above the largest finite end."""
    highest = max((s.high for s in summaries if np.isfinite(s.high)), default=1.0)
    step = svg.nice_step(highest, 4)
    return 0.0, float(np.ceil(highest / step - 1e-9) * step)


def viewpoint_map(share: Float[np.ndarray, "E A"], css: str, peak: float, description: str) -> Markup:
    """Where the cameras stand: azimuth to the right, elevation up, darker where more poses are seen from there."""
    width, height = 430.0, 262.0
    plot = svg.Plot(width, height, (-180, 180), (-90, 90), left=52, right=10, top=8, bottom=30)
    parts = [
        svg.rectangle(plot.left, plot.top, plot.x(180) - plot.left, plot.y(-90) - plot.top, "map", ' rx="4"'),
    ]
    level = np.ceil(np.sqrt(np.clip(share / (peak or 1), 0, 1)) * _VIEW_LEVELS).astype(int)
    for e, a in np.argwhere(level).tolist():
        left, right = (plot.x(float(edge)) for edge in AZIMUTH_EDGES_DEG[a : a + 2])
        bottom, top = (plot.y(float(edge)) for edge in ELEVATION_EDGES_DEG[e : e + 2])
        parts.append(
            svg.rectangle(
                left + 0.4, top + 0.4, right - left - 0.8, bottom - top - 0.8, f"cell {css} l{level[e, a]}"
            )
        )
    for azimuth, words in ((-180, ""), (-90, "right side"), (0, "in front"), (90, "left side"), (180, "")):
        parts.append(svg.line(plot.x(azimuth), plot.top, plot.x(azimuth), plot.y(-90), "meridian"))
        parts.append(svg.text(plot.x(azimuth), height - 10, words))
    parts.append(svg.text(plot.x(-180), height - 10, "behind", anchor="start"))
    parts.append(svg.text(plot.x(180), height - 10, "behind", anchor="end"))
    for elevation, words in ((60, "above"), (0, "level"), (-60, "below")):
        if elevation == 0:
            parts.append(svg.line(plot.left, plot.y(0), plot.x(180), plot.y(0), "meridian"))
        parts.append(svg.text(plot.left - 8, plot.y(elevation) + 4, words, anchor="end"))
    return svg.picture(width, height, parts, description)


def curves(
    steps: Float[np.ndarray, " N"],
    series: Sequence[tuple[str, Float[np.ndarray, " N"]]],
    description: str,
    y_domain: tuple[float, float] | None = None,
    width: float = 360,
    height: float = 190,
) -> Markup:
    """Values over iterations: the raw ones pale, a running median on top."""
    usable = [(css, v) for css, v in series if np.isfinite(v).any()]
    if not usable or not len(steps):
        return nothing(width, height, "not recorded")
    everything = np.concatenate([v for _, v in usable])
    domain = y_domain or svg.nice_domain(everything, 4, include_zero=bool(np.nanmin(everything) >= 0))
    x_low, x_high = float(steps.min()), float(steps.max())
    plot = svg.Plot(
        width, height, (x_low, x_high if x_high > x_low else x_low + 1), domain, left=46, right=12, top=10
    )
    parts = _y_axis(plot) + _x_axis(plot, 4)
    for css, values in usable:
        finite = np.isfinite(values)
        at, raw = thin(steps[finite], values[finite], 240)
        clipped = np.clip(raw, *domain)
        parts.append(
            svg.polyline([(plot.x(s), plot.y(v)) for s, v in zip(at, clipped, strict=True)], f"raw {css}")
        )
        smooth = np.clip(running_median(raw, len(raw) // 24), *domain)
        parts.append(
            svg.polyline([(plot.x(s), plot.y(v)) for s, v in zip(at, smooth, strict=True)], f"curve {css}")
        )
        if len(at) == 1:
            parts.append(svg.circle(plot.x(at[0]), plot.y(clipped[0]), 3.4, f"dot {css}"))
    return svg.picture(width, height, parts, description)


def bar_pairs(
    before: Float[np.ndarray, " N"], after: Float[np.ndarray, " N"], ends: tuple[str, str], description: str
) -> Markup:
    """Two bars a bin, the earlier one grey; the axis names its two ends only."""
    width, height = 260.0, 150.0
    top = svg.nice_domain(np.concatenate([before, after, [0.0]]), 3, include_zero=True)
    plot = svg.Plot(
        width, height, (0, len(after)), (0, max(top[1], float(after.max()), float(before.max()))), left=34
    )
    parts = _y_axis(plot)
    bar = (plot.x(1) - plot.x(0)) * 0.38
    for i, pair in enumerate(zip(before, after, strict=True)):
        for css, value, offset in (("source", pair[0], -bar), ("augmented", pair[1], 0.0)):
            y = plot.y(float(value))
            parts.append(
                svg.rectangle(
                    plot.x(i + 0.5) + offset, y, bar * 0.92, plot.y(0) - y, f"solid {css}", ' rx="1.5"'
                )
            )
    parts.append(svg.text(plot.left, height - 8, ends[0], anchor="start"))
    parts.append(svg.text(width - plot.right, height - 8, ends[1], anchor="end"))
    return svg.picture(width, height, parts, description)


def nothing(width: float, height: float, words: str) -> Markup:
    """A placeholder that says why nothing is drawn."""
    return svg.picture(width, height, [svg.text(width / 2, height / 2, words, "label")], words)


def thin(
    steps: Float[np.ndarray, " N"], values: Float[np.ndarray, " N"], wanted: int
) -> tuple[Float[np.ndarray, " M"], Float[np.ndarray, " M"]]:
    """At most `wanted` points: means over runs of neighbours, so that nothing between them is ignored."""
    if len(steps) <= wanted:
        return steps, values
    starts = np.unique(np.linspace(0, len(steps), wanted, endpoint=False).astype(int))
    sizes = np.diff([*starts, len(steps)])
    return np.add.reduceat(steps, starts) / sizes, np.add.reduceat(values, starts) / sizes


def running_median(values: Float[np.ndarray, " N"], half: int) -> Float[np.ndarray, " N"]:
    """Median over `half` neighbours on either side (fewer at the ends)."""
    return np.array([np.median(values[max(0, i - half) : i + half + 1]) for i in range(len(values))])


def _density(values: Float[np.ndarray, " N"], edges: Float[np.ndarray, " E"]) -> Float[np.ndarray, " B"]:
    counts, _ = np.histogram(values, bins=edges)
    padded = np.pad(counts.astype(float), 2)
    smooth = np.convolve(padded, (0.06, 0.24, 0.4, 0.24, 0.06), mode="same")[2:-2]
    return smooth / max(1, len(values))


def _x_axis(
    plot: svg.Plot, wanted: int, grid: bool = False, values: Sequence[float] | None = None
) -> list[str]:
    base = plot.height - plot.bottom
    ticks, step = (list(values), values[1] - values[0]) if values else svg.nice_ticks(*plot.x_domain, wanted)
    parts = [svg.line(plot.left, base, plot.width - plot.right, base, "axis")]
    for value in ticks:
        x = plot.x(value)
        if grid:
            parts.append(svg.line(x, plot.top, x, base, "grid"))
        anchor = "start" if x < 16 else "end" if x > plot.width - 16 else "middle"
        parts.append(svg.text(x, base + 18, tick_text(value, step), anchor=anchor))
    return parts


def _y_axis(plot: svg.Plot) -> list[str]:
    ticks, step = svg.nice_ticks(*plot.y_domain, 4)
    parts: list[str] = []
    for value in ticks:
        parts.append(svg.line(plot.left, plot.y(value), plot.width - plot.right, plot.y(value), "grid"))
        parts.append(svg.text(plot.left - 8, plot.y(value) + 4, tick_text(value, step), anchor="end"))
    return parts
