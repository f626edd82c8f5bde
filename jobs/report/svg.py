"""A few words of SVG: scales, ticks, paths. Colours are CSS classes, so that one picture fits light and dark pages."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from markupsafe import Markup


@dataclass(frozen=True)
class Plot:
    """A plotting area inside a picture, in the picture's own units; y grows upwards in data, downwards on paper."""

    width: float
    height: float
    x_domain: tuple[float, float]
    y_domain: tuple[float, float]
    left: float = 40
    right: float = 10
    top: float = 10
    bottom: float = 26

    def x(self, value: float) -> float:
        low, high = self.x_domain
        return self.left + (value - low) / ((high - low) or 1) * (self.width - self.left - self.right)

    def y(self, value: float) -> float:
        low, high = self.y_domain
        return (
            self.height
            - self.bottom
            - (value - low) / ((high - low) or 1) * (self.height - self.top - self.bottom)
        )


def picture(
    width: float, height: float, parts: Iterable[str], description: str, css: str = "chart"
) -> Markup:
    """An `<svg>` that scales with its column and says to screen readers what it shows."""
    body = "".join(parts)
    return Markup(
        f'<svg class="{css}" viewBox="0 0 {number(width)} {number(height)}" role="img" '
        f'aria-label="{escape(description)}" preserveAspectRatio="xMidYMid meet">{body}</svg>'
    )


def number(value: float) -> str:
    """One decimal, no trailing zero, and never `nan` in a path."""
    if not math.isfinite(value):
        return "0"
    return (
        f"{value:.1f}".removesuffix(".0").replace("-0", "0")
        if abs(value) < 0.05
        else f"{value:.1f}".removesuffix(".0")
    )


def line(x1: float, y1: float, x2: float, y2: float, css: str, extra: str = "") -> str:
    """A straight line."""
    return f'<line class="{css}" x1="{number(x1)}" y1="{number(y1)}" x2="{number(x2)}" y2="{number(y2)}"{extra}/>'


def rectangle(x: float, y: float, width: float, height: float, css: str, extra: str = "") -> str:
    """An axis-parallel rectangle."""
    size = f'width="{number(width)}" height="{number(height)}"'
    return f'<rect class="{css}" x="{number(x)}" y="{number(y)}" {size}{extra}/>'


def circle(x: float, y: float, radius: float, css: str, extra: str = "") -> str:
    """A circle."""
    return f'<circle class="{css}" cx="{number(x)}" cy="{number(y)}" r="{number(radius)}"{extra}/>'


def text(x: float, y: float, words: str, css: str = "tick", anchor: str = "middle") -> str:
    """Words at a point; they are escaped here."""
    return (
        f'<text class="{css}" x="{number(x)}" y="{number(y)}" text-anchor="{anchor}">{escape(words)}</text>'
    )


def polyline(points: Sequence[tuple[float, float]], css: str) -> str:
    """An open path through the points."""
    if not points:
        return ""
    return f'<path class="{css}" d="M{" ".join(f"{number(x)},{number(y)}" for x, y in points)}"/>'


def area(points: Sequence[tuple[float, float]], css: str) -> str:
    """A closed path through the points."""
    if not points:
        return ""
    return f'<path class="{css}" d="M{" ".join(f"{number(x)},{number(y)}" for x, y in points)}Z"/>'


def nice_step(span: float, wanted: int) -> float:
    """1, 2, 2.5 or 5 times a power of ten, so that about `wanted` steps fill the span."""
    if span <= 0 or not math.isfinite(span):
        return 1.0
    raw = span / max(1, wanted)
    power = 10.0 ** math.floor(math.log10(raw))
    return next(f * power for f in (1, 2, 2.5, 5, 10) if f * power >= raw * (1 - 1e-9))


def nice_ticks(low: float, high: float, wanted: int = 4) -> tuple[list[float], float]:
    """Round numbers inside [low, high] and the step between them."""
    step = nice_step(high - low, wanted)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [i * step for i in range(first, last + 1)], step


def nice_domain(values: np.ndarray, wanted: int = 4, include_zero: bool = False) -> tuple[float, float]:
    """A range of round numbers around the values; outliers beyond the outer half percent do not stretch it."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return 0.0, 1.0
    low, high = (float(q) for q in np.quantile(finite, (0.005, 0.995)))
    if include_zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if high - low < 1e-12:
        low, high = low - 0.5 * (abs(low) or 1), high + 0.5 * (abs(high) or 1)
    step = nice_step(high - low, wanted)
    return math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
