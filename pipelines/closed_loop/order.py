"""The order of a loop's work: how many rounds, in which pieces, how far ahead."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LoopOrder:
    """How long the loop runs and in which pieces; see `ClosedLoopSettings` for what each means."""

    mode: str
    pretrain_rounds: int
    rounds: int
    batches_per_round: int
    chunk_batches: int
    max_staleness: int
    checkpoint_every_rounds: int
    lifter_steps: int | None = None
    max_crew_losses: int = 3
    """Losses of a crew in a row, without a checkpoint between them, that end the loop."""
    collapse_restarts: int = 0
    """Restarts after a collapse of the augmentor before the loop is given up; 0 only tells of a collapse."""

    @property
    def total_rounds(self) -> int:
        """Pretraining passes and loop rounds together; checkpoints count these."""
        return self.pretrain_rounds + self.rounds

    def chunks(self) -> list[tuple[int, int]]:
        """(first batch, number of batches) of every chunk of a round."""
        starts = range(0, self.batches_per_round, self.chunk_batches)
        return [(start, min(self.chunk_batches, self.batches_per_round - start)) for start in starts]
