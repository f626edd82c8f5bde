"""The bound on staleness, with a crew whose members finish in an order that hypothesis chooses."""

from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.closed_loop.async_round import AsyncRound
from pipelines.closed_loop.order import LoopOrder
from pipelines.closed_loop.reports import TrainingReport


@dataclass
class ImaginaryCrew:
    """Handles are numbers; `choices` says which of those waited for is ready first."""

    n_augmentors: int
    choices: list[int]
    version: int = 0
    handles: int = 0
    made_against: dict[int, int] = field(default_factory=dict)
    weights_of: dict[int, int] = field(default_factory=dict)
    reports: dict[int, TrainingReport] = field(default_factory=dict)
    asked: list[tuple[int, int]] = field(default_factory=list)
    training: int | None = None

    def _handle(self) -> int:
        self.handles += 1
        return self.handles

    def weights(self) -> int:
        handle = self._handle()
        self.weights_of[handle] = self.version
        return handle

    def produce(
        self, augmentor: int, round_index: int, first_batch: int, n_batches: int, weights: int
    ) -> int:
        handle = self._handle()
        self.made_against[handle] = self.weights_of[weights]
        self.asked.append((first_batch, n_batches))
        return handle

    def consume(self, round_index: int, chunks: list[int], share: float) -> tuple[int, int]:
        report, weights = self._handle(), self._handle()
        staleness = self.version - self.made_against[chunks[0]]
        self.reports[report] = TrainingReport(round_index, self.version + 1, 0, staleness, 1.0, 10)
        self.weights_of[weights] = self.version + 1
        return report, weights

    def learn_unpaired(self, chunks: list[int]) -> None:
        """This loop has no unpaired data."""

    def ready(self, handles: list[int]) -> int:
        return handles[(self.choices.pop() if self.choices else 0) % len(handles)]

    def get(self, handle: int) -> TrainingReport:
        self.version += 1
        return self.reports[handle]


def order(batches: int, max_staleness: int) -> LoopOrder:
    return LoopOrder("async", 0, 1, batches, 2, max_staleness, 1)


def run(crew: Any, batches: int, max_staleness: int) -> TrainingReport:
    return AsyncRound(order(batches, max_staleness), crew, 0).run()


@settings(max_examples=60, deadline=None)
@given(
    augmentors=st.integers(1, 4),
    max_staleness=st.integers(0, 4),
    batches=st.integers(1, 17),
    choices=st.lists(st.integers(0, 7), max_size=60),
)
def test_no_chunk_is_staler_than_allowed_and_none_is_lost(
    augmentors: int, max_staleness: int, batches: int, choices: list[int]
) -> None:
    crew = ImaginaryCrew(augmentors, choices)
    report = run(crew, batches, max_staleness)
    assert report.staleness <= max_staleness
    assert sum(count for _, count in crew.asked) == batches
    assert len(crew.reports) == len(crew.asked) == -(-batches // 2)


def test_augmentors_do_run_ahead() -> None:
    crew = ImaginaryCrew(2, [0] * 40)
    assert run(crew, 12, 2).staleness > 0


def test_without_allowed_staleness_every_chunk_sees_the_newest_estimator() -> None:
    crew = ImaginaryCrew(3, [1, 2, 0, 1] * 10)
    assert run(crew, 12, 0).staleness == 0


class _CrewWithRepNet(ImaginaryCrew):
    """Every chunk that RepNet learns from gives the next number."""

    def __init__(self, n_augmentors: int) -> None:
        super().__init__(n_augmentors, [])
        self.learned: dict[int, float] = {}

    def learn_unpaired(self, chunks: list[int]) -> Any:
        handle = self._handle()
        self.learned[handle] = float(len(self.learned))
        return handle

    def get(self, handle: int) -> Any:
        return {"repnet_critic": self.learned[handle]} if handle in self.learned else super().get(handle)


def test_repnet_learns_from_every_chunk_and_its_numbers_are_averaged() -> None:
    crew = _CrewWithRepNet(2)
    report = run(crew, batches=9, max_staleness=2)
    assert len(crew.learned) == 5  # chunks of 2 batches
    assert report.unpaired == {"repnet_critic": 2.0}
