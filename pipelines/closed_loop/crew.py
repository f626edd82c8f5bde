"""Who works in the loop, and how they are called: the same calls in this process or on Ray.

`Crew` is the interface that the driver (`loop.py`) speaks. Its handles are plain values in the in-process crew and
object references on Ray, so chunks and weights go from actor to actor without passing through the driver.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from pipelines.closed_loop.augmentors import LoopAugmentor
from pipelines.closed_loop.checkpoint import LoopState, MemberState
from pipelines.closed_loop.trainer_worker import TrainerWorker
from pipelines.closed_loop.unpaired_member import RepNetMember

AUGMENTOR_NAME = "augmentor-{index}"
TRAINER_NAME = "trainer"
UNPAIRED_NAME = "repnet"


class Crew(Protocol):
    """The members of a loop: augmentors 0..A-1, one trainer and, where there is unpaired data, a RepNet."""

    @property
    def n_augmentors(self) -> int: ...

    def produce(
        self, augmentor: int, round_index: int, first_batch: int, n_batches: int, weights: Any
    ) -> Any:
        """Ask an augmentor for the chunk of `n_batches` batches of a round; gives a handle to a `PoseChunk`."""
        ...

    def consume(self, round_index: int, chunks: list[Any], share: float) -> tuple[Any, Any]:
        """Ask the trainer to train on chunks and on `share` of a pass over the real poses; gives two handles: to a
        `TrainingReport` and to the weights after it."""
        ...

    def pretrain(self, round_index: int) -> Any:
        """Ask the trainer for one pass over the real poses; gives a handle to a `TrainingReport`."""
        ...

    def weights(self) -> Any:
        """A handle to the estimator's weights as the trainer has them after all that was asked before."""
        ...

    def learn_unpaired(self, chunks: list[Any]) -> Any:
        """Ask RepNet for its steps beside these chunks; gives a handle to their mean losses by name, None in a loop
        without unpaired data."""
        ...

    def supervise(self, rounds_learned: int) -> None:
        """Give the trainer RepNet as it stands after `rounds_learned` rounds, for the weak loss; nothing happens where
        there is none."""
        ...

    def ready(self, handles: list[Any]) -> Any:
        """Wait until one of the handles is there and give that one."""
        ...

    def get(self, handle: Any) -> Any:
        """The value behind a handle.

        Raises:
            CrewLostError: if the member that owed it died.
        """
        ...

    def state(self, rounds_done: int) -> LoopState: ...

    def load_state(self, state: LoopState) -> None: ...

    def complaints(self) -> tuple[str, ...]:
        """Why augmentors count as collapsed, each with its name; empty while all are healthy."""
        ...

    def close(self) -> None: ...


class InProcessCrew:
    """The crew in this process: handles are values, calls happen at once, in the order they are made."""

    def __init__(
        self,
        augmentors: list[LoopAugmentor],
        trainer: TrainerWorker,
        unpaired: RepNetMember | None = None,
    ) -> None:
        self.augmentors = augmentors
        self.trainer = trainer
        self.unpaired = unpaired

    @property
    def n_augmentors(self) -> int:
        return len(self.augmentors)

    def produce(
        self, augmentor: int, round_index: int, first_batch: int, n_batches: int, weights: Any
    ) -> Any:
        return self.augmentors[augmentor].produce(round_index, first_batch, n_batches, weights)

    def consume(self, round_index: int, chunks: list[Any], share: float) -> tuple[Any, Any]:
        return self.trainer.consume(round_index, chunks, share)

    def pretrain(self, round_index: int) -> Any:
        return self.trainer.pretrain(round_index)

    def weights(self) -> Any:
        return self.trainer.weights()

    def learn_unpaired(self, chunks: list[Any]) -> Any:
        return None if self.unpaired is None else self.unpaired.learn(chunks)

    def supervise(self, rounds_learned: int) -> None:
        if self.unpaired is not None and self.trainer.wants_supervision:
            self.trainer.hear(self.unpaired.weights(), rounds_learned)

    def ready(self, handles: list[Any]) -> Any:
        return handles[0]

    def get(self, handle: Any) -> Any:
        return handle

    def state(self, rounds_done: int) -> LoopState:
        members: dict[str, MemberState] = {TRAINER_NAME: self.trainer.state()}
        for index, augmentor in enumerate(self.augmentors):
            members[AUGMENTOR_NAME.format(index=index)] = augmentor.state()
        if self.unpaired is not None:
            members[UNPAIRED_NAME] = self.unpaired.state()
        return LoopState(rounds_done, members)

    def load_state(self, state: LoopState) -> None:
        self.trainer.load_state(state.members[TRAINER_NAME])
        for index, augmentor in enumerate(self.augmentors):
            augmentor.load_state(state.members[AUGMENTOR_NAME.format(index=index)])
        if self.unpaired is not None:
            self.unpaired.load_state(state.members[UNPAIRED_NAME])

    def complaints(self) -> tuple[str, ...]:
        return name_complaints([augmentor.complaints() for augmentor in self.augmentors])

    def close(self) -> None:
        """Nothing to release."""


def name_complaints(by_augmentor: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Every augmentor's complaints in one row, with its name."""
    return tuple(
        f"{AUGMENTOR_NAME.format(index=index)}: {reason}"
        for index, reasons in enumerate(by_augmentor)
        for reason in reasons
    )


CrewFactory = Callable[[int], Crew]
"""Raises a crew; the number counts the restarts after collapses and goes into the augmentors' seeds."""
