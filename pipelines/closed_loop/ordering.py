"""Shuffles that are a function of the seed, what they are for, and the pass: nothing to save, nothing to lose."""

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from poses.identity import stable_id


def shuffled(n_rows: int, seed: int, purpose: str, pass_index: int) -> Int[ndarray, " N"]:
    """A permutation of 0..n_rows-1 for one pass over the rows."""
    return np.random.Generator(np.random.PCG64(stable_id(seed, purpose, pass_index))).permutation(n_rows)


def batch_bounds(n_rows: int, batch_rows: int) -> list[tuple[int, int]]:
    """(start, stop) of the batches of one pass. The last one may be short, but never of a single row: BatchNorm has no
    statistics of one row, so that row joins the batch before it.
    """
    starts = list(range(0, n_rows, batch_rows))
    if len(starts) > 1 and n_rows - starts[-1] == 1:
        starts.pop()
    return list(zip(starts, [*starts[1:], n_rows], strict=True))


class RowStream:
    """Batches of row indices, pass after pass without end, each pass in a new order.

    Only the position has to be saved. A pass ends with a short batch, as in the published loop; `drop_short` leaves
    that one out, for diets that need every batch at full size.
    """

    def __init__(
        self, n_rows: int, batch_rows: int, seed: int, purpose: str, drop_short: bool = False
    ) -> None:
        self.n_rows = n_rows
        self.batch_rows = min(batch_rows, n_rows)
        self._seed = seed
        self._purpose = purpose
        self._bounds = batch_bounds(n_rows, self.batch_rows)
        if drop_short:
            self._bounds = self._bounds[: n_rows // self.batch_rows]
        self.batches_per_pass = len(self._bounds)
        self.position = 0
        self._order_pass = -1
        self._order: ndarray = np.zeros(0, np.int64)

    def next(self) -> Int[ndarray, " b"]:
        """Row indices of the next batch."""
        pass_index, batch = divmod(self.position, self.batches_per_pass)
        if pass_index != self._order_pass:
            self._order = shuffled(self.n_rows, self._seed, self._purpose, pass_index)
            self._order_pass = pass_index
        self.position += 1
        return self._order[slice(*self._bounds[batch])]
