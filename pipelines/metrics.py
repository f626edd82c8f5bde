"""Numbers of a running job for Prometheus, through the exporter that every Ray node has; nothing without Ray.

Ray puts `ray_` before the names. All carry the tags run_id, job and stage (the pool), so that a dashboard can tell
runs apart; `docs/observability.md` lists them.
"""

import sys
from collections.abc import Mapping
from typing import Any, Literal

SECONDS_BOUNDARIES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3600.0)
_TAGS = ("run_id", "job", "stage")
_CLASS = "error_class"
Kind = Literal["counter", "gauge", "histogram"]

METRICS: Mapping[str, tuple[Kind, str, tuple[str, ...]]] = {
    "posemill_units_done": ("counter", "Units committed", _TAGS),
    "posemill_units_failed": ("counter", "Units given up, by class of error", (*_TAGS, _CLASS)),
    "posemill_units_retried": ("counter", "Repeated attempts, by class of error", (*_TAGS, _CLASS)),
    "posemill_rows": ("counter", "Pairs written", _TAGS),
    "posemill_bytes": ("counter", "Bytes written", _TAGS),
    "posemill_bad_rows": ("counter", "Rows put into quarantine", _TAGS),
    "posemill_unit_seconds": ("histogram", "Seconds that a unit took", _TAGS),
    "posemill_pool_size": ("gauge", "Workers that the pool has", _TAGS),
    "posemill_queue_length": ("gauge", "Units neither committed nor given up", _TAGS),
}
"""Name -> kind, what it counts, tags."""


class RunMetrics:
    """The metrics of one run. Every call does nothing while this process is not connected to Ray."""

    def __init__(self, run_id: str, job: str) -> None:
        self._tags = {"run_id": run_id, "job": job, "stage": job}
        self._made: dict[str, Any] = {}

    def stage(self, name: str) -> None:
        """What follows is of this pool."""
        self._tags = {**self._tags, "stage": name}

    def count(self, name: str, amount: float = 1.0, error_class: str | None = None) -> None:
        """Add to a counter."""
        metric = self._metric(name)
        if metric is not None and amount > 0:
            metric.inc(amount, tags=self._with(error_class))

    def set(self, name: str, value: float) -> None:
        """Set a gauge."""
        metric = self._metric(name)
        if metric is not None:
            metric.set(value, tags=self._tags)

    def observe(self, name: str, value: float) -> None:
        """Add to a histogram."""
        metric = self._metric(name)
        if metric is not None:
            metric.observe(value, tags=self._tags)

    def _with(self, error_class: str | None) -> dict[str, str]:
        return self._tags if error_class is None else {**self._tags, _CLASS: error_class}

    def _metric(self, name: str) -> Any:
        """The metric; None without Ray. It is made when it is first used, by then the executor has connected."""
        ray = sys.modules.get("ray")
        if ray is None or not ray.is_initialized():
            self._made.clear()
            return None
        if name not in self._made:
            self._made[name] = _make(name)
        return self._made[name]


def _make(name: str) -> Any:
    from ray.util.metrics import Counter, Gauge, Histogram

    kind, text, tags = METRICS[name]
    if kind == "histogram":
        return Histogram(name, description=text, boundaries=list(SECONDS_BOUNDARIES), tag_keys=tags)
    return (Counter if kind == "counter" else Gauge)(name, description=text, tag_keys=tags)
