"""Numbers and times as a reader wants to see them."""

import math

_SI = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
_BYTES = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def thousands(value: float) -> str:
    """`1234567` -> `1,234,567`."""
    return f"{value:,.0f}"


def compact(value: float) -> str:
    """Three significant digits with an SI letter: `1234567` -> `1.23 M`; small whole numbers as they are."""
    for factor, letter in _SI:
        if abs(value) >= factor * (0.9995 if factor > 1e3 else 10):
            return f"{_three_digits(value / factor)} {letter}"
    return thousands(value)


def bytes_text(size_bytes: float) -> str:
    """`456123456` -> `456 MB` (powers of ten, as on a disk's label)."""
    for factor, unit in _BYTES:
        if size_bytes >= factor:
            return f"{_three_digits(size_bytes / factor)} {unit}"
    return f"{size_bytes:.0f} B"


def duration_text(seconds: float) -> str:
    """`161` -> `2 min 41 s`, `7300` -> `2 h 2 min`, `0.25` -> `0.25 s`."""
    if seconds < 10:
        return f"{seconds:.2g} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def percent(fraction: float, digits: int = 1) -> str:
    """`0.9412` -> `94.1 %`; `1.0` -> `100 %`; never rounds a real loss up to 100 % nor a real part down to 0 %."""
    if not math.isfinite(fraction):
        return "–"
    text = f"{100 * fraction:.{digits}f}"
    if float(text) == 100 and fraction < 1:
        return f"> {100 - 10**-digits:.{digits}f} %"
    if float(text) == 0 and fraction > 0:
        return f"< {10**-digits:.{digits}f} %"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text} %"


def signed(value: float, digits: int = 0, unit: str = "") -> str:
    """With a real minus sign: `-3.2` -> `−3`."""
    if not math.isfinite(value):
        return "–"
    rounded = f"{abs(value):.{digits}f}"
    sign = "" if float(rounded) == 0 else ("−" if value < 0 else "+")
    return f"{sign}{rounded}{unit}"


def tick_text(value: float, step: float) -> str:
    """A tick's label with as many digits as the step needs."""
    if step >= 1000 and value >= 1000:
        return compact(value)
    digits = next((d for d in range(9) if abs(step * 10**d - round(step * 10**d)) < 1e-6), 0)
    return f"{value:,.{digits}f}".replace("-", "−")


def _three_digits(value: float) -> str:
    digits = 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
