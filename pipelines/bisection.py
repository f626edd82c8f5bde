"""Which rows of a unit break the stage? Halving finds k bad rows of n in about 2 k log2(n) probes."""

from pipelines.executor import BadRow, Failure


class Bisection:
    """The search as a state machine: ask `next_range`, probe it anywhere, `record` what came of it.

    A range that fails is halved; a single row that fails is bad. A single row on which the worker died is
    probed once more before it is blamed, because workers die for other reasons as well.

    Args:
        n_rows: Rows of the unit, known to fail as a whole.
        hopeless_after: The search is hopeless, and over, when this many rows are bad and no probe has passed
            yet: then the fault is in the code or its surroundings, not in rows.
    """

    def __init__(self, n_rows: int, hopeless_after: int = 8) -> None:
        self._hopeless_after = hopeless_after
        self._any_passed = n_rows == 1
        self._pending = [(0, n_rows)] if n_rows == 1 else _halves(0, n_rows)
        self._confirming: Failure | None = None
        self.bad_rows: list[BadRow] = []

    @property
    def hopeless(self) -> bool:
        """Whether every row seems to fail."""
        return not self._any_passed and len(self.bad_rows) >= self._hopeless_after

    def next_range(self) -> tuple[int, int] | None:
        """The next range [start, stop) to probe, or None when the search is over."""
        return self._pending[-1] if self._pending and not self.hopeless else None

    def record(self, failure: Failure | None) -> None:
        """Take the outcome of the range last given by `next_range`; None means that it passed."""
        start, stop = self._pending.pop()
        confirming, self._confirming = self._confirming, None
        if failure is None:
            self._any_passed = True
            return
        if stop - start > 1:
            self._pending += _halves(start, stop)
        elif failure.kind == "raised" or confirming is not None:
            self.bad_rows.append(BadRow(start, failure))
        else:
            self._confirming = failure
            self._pending.append((start, stop))


def _halves(start: int, stop: int) -> list[tuple[int, int]]:
    """Upper half first: the list is worked from its end, so rows come in order."""
    middle = (start + stop) // 2
    return [(middle, stop), (start, middle)]
