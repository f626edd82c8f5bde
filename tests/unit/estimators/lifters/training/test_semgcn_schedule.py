"""SemGCN's released schedule: looked up at the first update and at whole periods only."""

import pytest

from estimators.lifters.training.schedules import ReleasedExponentialSchedule


def test_the_rate_stands_still_between_whole_periods() -> None:
    schedule = ReleasedExponentialSchedule()
    first = 0.96**1e-5
    assert [schedule.factor(step, 0) for step in (0, 1, 99_998)] == [first] * 3
    assert [schedule.factor(step, 0) for step in (99_999, 100_000, 199_998)] == [0.96] * 3
    assert schedule.factor(199_999, 0) == pytest.approx(0.96**2)


def test_it_is_not_a_function_of_the_epoch() -> None:
    schedule = ReleasedExponentialSchedule(decay=0.5, period=10)
    assert schedule.factor(25, 0) == schedule.factor(25, 9) == 0.25
