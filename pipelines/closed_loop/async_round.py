"""One round of the loop with augmentors running ahead of the trainer, within a bound on staleness."""

import math
from collections import Counter, deque
from dataclasses import dataclass, replace
from typing import Any

from pipelines.closed_loop.crew import Crew
from pipelines.closed_loop.order import LoopOrder
from pipelines.closed_loop.reports import TrainingReport, means_by_name, with_unpaired


@dataclass
class _Making:
    """A chunk on its way: who makes it, which share of the round it is, and whether it is there."""

    handle: Any
    augmentor: int
    share: float
    made: bool = False


class AsyncRound:
    """Augmentors and trainer at work at the same time.

    Chunks are consumed in the order in which they were asked for, and none is asked for while more than
    `max_staleness` others are on their way or being trained on. So the estimator that consumes a chunk is at most
    `max_staleness` versions past the one that the chunk was made against, however unequal the augmentors' speeds.
    """

    def __init__(self, order: LoopOrder, crew: Crew, round_index: int) -> None:
        self._crew = crew
        self._round_index = round_index
        self._max_ahead = order.max_staleness
        self._todo = deque(order.chunks())
        self._batches = order.batches_per_round
        self._free = deque(range(crew.n_augmentors))
        self._making: deque[_Making] = deque()
        self._training: tuple[Any, Any] | None = None
        self._weights = crew.weights()
        self._learned: list[Any] = []

    def run(self) -> TrainingReport:
        """Make and consume every chunk of the round.

        Raises:
            CrewLostError: if a member dies.
        """
        reports: list[TrainingReport] = []
        expected = len(self._todo)
        while len(reports) < expected:
            self._ask_for_chunks()
            self._start_training()
            self._wait(reports)
        return with_unpaired(merge_reports(reports), [self._crew.get(handle) for handle in self._learned])

    def _ask_for_chunks(self) -> None:
        while (
            self._todo and self._free and len(self._making) + (self._training is not None) <= self._max_ahead
        ):
            first, count = self._todo.popleft()
            augmentor = self._free.popleft()
            handle = self._crew.produce(augmentor, self._round_index, first, count, self._weights)
            self._making.append(_Making(handle, augmentor, count / self._batches))

    def _start_training(self) -> None:
        if self._training is None and self._making and self._making[0].made:
            chunk = self._making.popleft()
            learned = self._crew.learn_unpaired([chunk.handle])
            self._learned += [] if learned is None else [learned]
            self._training = self._crew.consume(self._round_index, [chunk.handle], chunk.share)

    def _wait(self, reports: list[TrainingReport]) -> None:
        waiting = [chunk.handle for chunk in self._making if not chunk.made]
        if self._training is not None:
            waiting.append(self._training[0])
        if not waiting:
            return
        ready = self._crew.ready(waiting)
        if self._training is not None and ready == self._training[0]:
            reports.append(self._crew.get(ready))
            self._weights = self._training[1]
            self._training = None
            return
        for chunk in self._making:
            if chunk.handle == ready:
                chunk.made = True
                self._free.append(chunk.augmentor)


def merge_reports(reports: list[TrainingReport]) -> TrainingReport:
    """One report of a round that was trained on in pieces."""
    last = reports[-1]
    rejected: Counter[str] = Counter()
    for report in reports:
        rejected.update(report.rejected)
    losses = [report.loss_lifter for report in reports if math.isfinite(report.loss_lifter)]
    validations = [report.validation for report in reports if report.validation]
    return replace(
        last,
        staleness=max(report.staleness for report in reports),
        loss_lifter=sum(losses) / len(losses) if losses else math.nan,
        fakes=sum(report.fakes for report in reports),
        rejected=dict(rejected),
        augmentor_metrics=[metrics for report in reports for metrics in report.augmentor_metrics],
        validation=validations[-1] if validations else {},
        unpaired=means_by_name([report.unpaired for report in reports]),
    )
