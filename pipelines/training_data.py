"""The batches of a training run: several sources mixed by share, a function of the seed and the step alone.

Every batch has the same number of rows from each source, in proportion to the shares. A source's rows come in an order
without end, pass after pass, each pass a permutation of its own; batch k takes the k-th stretch of it. So a batch needs
no state, does not depend on who reads, and a resumed run draws what the first one would have. Replicas that train
together compute the same batch and take every W-th row of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from pipelines.closed_loop.ordering import shuffled
from pipelines.errors import SettingsError
from poses.identity import stable_id
from poses.skeleton import Skeleton


class TrainingRows(Protocol):
    """Rows of one source by number, in memory or on disk."""

    def __len__(self) -> int: ...

    def inputs(self, rows: np.ndarray) -> Tensor:
        """(B, J, 2), or (B, T, J, 2) windows for temporal lifters; screen coordinates."""
        ...

    def targets(self, rows: np.ndarray) -> Tensor:
        """(B, J, 3), or (B, 1 or T, J, 3) where the inputs have a time axis; root-relative metres."""
        ...


class EndlessRows:
    """Row numbers in an order without end: every pass holds every row once, in an order of its own."""

    def __init__(self, n_rows: int, seed: int, purpose: str) -> None:
        self._n_rows, self._seed, self._purpose = n_rows, seed, purpose
        self._pass, self._order = -1, np.zeros(0, np.int64)

    def take(self, start: int, count: int) -> np.ndarray:
        """The row numbers at the positions start .. start + count - 1."""
        pieces: list[np.ndarray] = []
        while count:
            number, offset = divmod(start, self._n_rows)
            if number != self._pass:
                self._order = shuffled(self._n_rows, self._seed, self._purpose, number)
                self._pass = number
            pieces.append(self._order[offset : offset + count])
            start += len(pieces[-1])
            count -= len(pieces[-1])
        return np.concatenate(pieces)


@dataclass(frozen=True)
class ReplicaShare:
    """Which rows of every batch are this process's: those whose number in the batch is `rank` modulo `count`."""

    rank: int = 0
    count: int = 1


class MixedBatches:
    """Batches of several sources.

    Args:
        sources: The rows of each.
        shares: Weight of each source.
        batch_rows: Rows of a whole batch.
        mirror_share: Share of rows that are mirrored, drawn anew in every batch.
        skeletons: Whose joints change sides in a mirror: the keypoints' and the poses'.
        seed: Of order and mirroring.
        share: What this process takes of every batch.

    Raises:
        SettingsError: if a source would get no row, or replicas unequal numbers of rows.
    """

    def __init__(
        self,
        sources: Sequence[TrainingRows],
        shares: Sequence[float],
        batch_rows: int,
        mirror_share: float,
        skeletons: tuple[Skeleton, Skeleton],
        seed: int,
        share: ReplicaShare,
    ) -> None:
        if batch_rows % share.count:
            raise SettingsError(
                f"batch_rows = {batch_rows} cannot be shared out evenly to workers = {share.count}; choose a multiple"
            )
        self._sources, self._share = sources, share
        self._mirror_share, self._seed = mirror_share, seed
        self._mirrors = [torch.from_numpy(skeleton.mirror_index.astype(np.int64)) for skeleton in skeletons]
        self.rows_of_each = rows_of_each(shares, batch_rows)
        self._orders = [
            EndlessRows(len(rows), seed, f"train.{number}") for number, rows in enumerate(sources)
        ]
        self._source_of_row = np.repeat(np.arange(len(sources)), self.rows_of_each)
        self.batches_per_pass = max(1, round(len(sources[0]) / self.rows_of_each[0]))

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets of this process's rows of a step's batch."""
        drawn = [
            order.take(step * count, count)
            for order, count in zip(self._orders, self.rows_of_each, strict=True)
        ]
        mine = slice(self._share.rank, None, self._share.count)
        rows, source = np.concatenate(drawn)[mine], self._source_of_row[mine]
        chosen = [(windows, rows[source == number]) for number, windows in enumerate(self._sources)]
        inputs = torch.cat([windows.inputs(index) for windows, index in chosen if len(index)])
        targets = torch.cat([windows.targets(index) for windows, index in chosen if len(index)])
        if self._mirror_share:
            turned = self._turned(step)[mine]
            of_keypoints, of_joints = self._mirrors
            inputs[turned] = inputs[turned].index_select(-2, of_keypoints) * torch.tensor([-1.0, 1.0])
            targets[turned] = targets[turned].index_select(-2, of_joints) * torch.tensor([-1.0, 1.0, 1.0])
        return inputs, targets

    def _turned(self, step: int) -> Tensor:
        """(B,) which rows of the whole batch are mirrored."""
        key = stable_id("train.mirror", self._seed, step)
        draw = np.random.Generator(np.random.PCG64(key)).random(len(self._source_of_row))
        return torch.from_numpy(draw < self._mirror_share)


def rows_of_each(shares: Sequence[float], batch_rows: int) -> list[int]:
    """Rows of a batch that come from each source: in proportion to the shares, at least one, summing to the batch.

    Raises:
        SettingsError: if there are more sources than rows.
    """
    if len(shares) > batch_rows:
        raise SettingsError(
            f"batch_rows = {batch_rows} is too few for {len(shares)} sources; give at least one row to each"
        )
    edges = np.rint(np.cumsum(shares) / np.sum(shares) * batch_rows).astype(int)
    rows = np.diff(np.concatenate([[0], edges]))
    while rows.min() < 1:
        rows[rows.argmin()] += 1
        rows[rows.argmax()] -= 1
    return [int(count) for count in rows]
