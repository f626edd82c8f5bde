"""What the loop says of itself: the trainer's reports, and one line of metrics per round."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from storage.object_store import ObjectStore

NOT_SELECTED = "not_selected"
"""Good poses that were not needed; they count as refused by nobody."""


@dataclass(frozen=True)
class TrainingReport:
    """What the trainer did with its chunks, and how the estimator stands after it.

    `version` counts the trainer's updates to the weights that augmentors see; `staleness` is how many versions old the
    estimator was that the oldest of the chunks was made against.
    """

    round_index: int
    version: int
    lifter_steps: int
    staleness: int
    loss_lifter: float
    fakes: int
    rejected: dict[str, int] = field(default_factory=dict)
    augmentor_metrics: list[dict[str, float]] = field(default_factory=list)
    validation: dict[str, float] = field(default_factory=dict)
    unpaired: dict[str, float] = field(default_factory=dict)
    """Losses of RepNet and of the estimator on unpaired 2D; empty in a loop without."""


def with_unpaired(report: TrainingReport, learned: Sequence[dict[str, float]]) -> TrainingReport:
    """The report with what RepNet said of its steps in the round, piece by piece."""
    return replace(report, unpaired={**report.unpaired, **means_by_name(learned)})


def means_by_name(pieces: Sequence[dict[str, float]]) -> dict[str, float]:
    """Mean of every number over the pieces that have it."""
    names = dict.fromkeys(name for piece in pieces for name in piece)
    return {
        name: sum(piece[name] for piece in pieces if name in piece) / sum(name in piece for piece in pieces)
        for name in names
    }


def round_metrics(report: TrainingReport) -> dict[str, Any]:
    """The round in one flat line: means of the augmentor's numbers over its iterations, and the trainer's.

    What is not a number is left out: JSON has no word for it.
    """
    line: dict[str, Any] = {
        "epoch": report.round_index,
        "iteration": report.lifter_steps,
        "staleness": report.staleness,
        "fakes": report.fakes,
        "rejected": report.rejected,
    }
    if math.isfinite(report.loss_lifter):
        line["loss_lifter"] = report.loss_lifter
    names = sorted({name for metrics in report.augmentor_metrics for name in metrics})
    for name in names:
        values = [metrics[name] for metrics in report.augmentor_metrics if name in metrics]
        mean = sum(values) / len(values)
        if math.isfinite(mean):
            line[name] = mean
    seen = report.fakes + sum(report.rejected.values()) - report.rejected.get(NOT_SELECTED, 0)
    if seen:  # of the whole round; the monitor's number of this name is of the learned augmentor alone
        line["kept_fraction"] = report.fakes / seen
    line.update(
        {f"validation_{name}": value for name, value in report.validation.items() if math.isfinite(value)}
    )
    line.update({name: value for name, value in report.unpaired.items() if math.isfinite(value)})
    return line


class MetricsLog:
    """`metrics.jsonl` of a loop: one line per round; a resumed loop drops the lines past its checkpoint."""

    def __init__(self, store: ObjectStore, path: str) -> None:
        self._store = store
        self._path = path
        self._lines: list[dict[str, Any]] = []
        if store.exists(path):
            self._lines = [json.loads(line) for line in store.read_bytes(path).decode().splitlines() if line]

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Every line so far, oldest first."""
        return list(self._lines)

    def keep_until(self, rounds_done: int) -> None:
        """Drop what was said of rounds that will be run again."""
        self._lines = [line for line in self._lines if line["epoch"] < rounds_done]

    def add(self, line: dict[str, Any]) -> None:
        self._lines.append(line)
        text = "".join(json.dumps(entry) + "\n" for entry in self._lines)
        self._store.write_bytes(self._path, text.encode())
