"""One line of the benchmark table."""

from dataclasses import dataclass


@dataclass(frozen=True)
class BenchmarkRow:
    """A figure beside its limit, both measured in the same run.

    Attributes:
        name: What was measured.
        value: The figure.
        unit: Its unit.
        limit: The limit or reference in the same unit; None where there is none.
        limit_name: What the limit is.
        ratio: value / limit for rates, limit / value for times: 1 is the limit.
        goal: The ratio that the project asks for; None where it only reports.
        note: Anything the reader must know, such as why the row was left out.
    """

    name: str
    value: float | None
    unit: str
    limit: float | None = None
    limit_name: str = ""
    ratio: float | None = None
    goal: float | None = None
    note: str = ""


def rate_row(
    name: str, rate: float, unit: str, limit: float, limit_name: str, goal: float | None = None
) -> BenchmarkRow:
    """A row whose value is a rate: higher is better."""
    return BenchmarkRow(name, rate, unit, limit, limit_name, rate / limit, goal)


def time_row(
    name: str, seconds: float, limit_seconds: float, limit_name: str, goal: float | None = None
) -> BenchmarkRow:
    """A row whose value is a time: lower is better; the ratio is limit / value."""
    return BenchmarkRow(name, seconds, "s", limit_seconds, limit_name, limit_seconds / seconds, goal)
