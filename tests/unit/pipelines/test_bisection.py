"""Halving finds exactly the bad rows, in few probes, and does not blame a row for one unexplained death."""

from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.bisection import Bisection
from pipelines.executor import Failure

RAISED = Failure("raised", "ValueError", "poison")
DIED = Failure("died", "WorkerDied", "gone")


def search(n_rows: int, poison: dict[int, Failure]) -> tuple[list[int], int]:
    bisection, probes = Bisection(n_rows, hopeless_after=n_rows + 1), 0
    while (bounds := bisection.next_range()) is not None:
        hit = [poison[row] for row in range(*bounds) if row in poison]
        bisection.record(hit[0] if hit else None)
        probes += 1
    return [bad.row for bad in bisection.bad_rows], probes


@given(
    st.integers(1, 300).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1), max_size=5)))
)
@settings(max_examples=60, deadline=None)
def test_finds_exactly_the_bad_rows(case: tuple[int, set[int]]) -> None:
    n_rows, bad = case
    found, _ = search(n_rows, {row: DIED if row % 2 else RAISED for row in bad})
    assert found == sorted(bad)


def test_one_row_of_many_takes_few_probes() -> None:
    found, probes = search(65_536, {40_001: RAISED})
    assert found == [40_001]
    assert probes <= 2 * 16


def test_one_death_is_confirmed_before_a_row_is_blamed() -> None:
    bisection = Bisection(2)
    assert bisection.next_range() == (0, 1)
    bisection.record(DIED)
    assert bisection.next_range() == (0, 1)
    bisection.record(None)
    assert bisection.next_range() == (1, 2)
    bisection.record(DIED)
    bisection.record(DIED)
    assert bisection.next_range() is None
    assert [bad.row for bad in bisection.bad_rows] == [1]


def test_a_search_in_which_nothing_passes_ends_early() -> None:
    bisection = Bisection(65_536)
    probes = 0
    while bisection.next_range() is not None:
        bisection.record(RAISED)
        probes += 1
    assert bisection.hopeless
    assert probes < 40


def test_a_unit_of_one_row_may_be_all_bad() -> None:
    bisection = Bisection(1)
    bisection.record(RAISED)
    assert not bisection.hopeless
    assert [bad.row for bad in bisection.bad_rows] == [0]
