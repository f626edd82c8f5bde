"""Schedules by name, beside those that test_trainer.py looks at."""

import pytest
from pydantic import TypeAdapter, ValidationError

from estimators.lifters.training.schedules import OneCycleSchedule, Schedule, StepSchedule, WarmupSchedule

schedules: TypeAdapter[Schedule] = TypeAdapter(Schedule)


def test_steps_down_at_milestones() -> None:
    by_epoch = StepSchedule(milestones=(5, 10, 15))
    assert [by_epoch.factor(999, epoch) for epoch in (4, 5, 10, 15)] == pytest.approx([1, 0.1, 0.01, 0.001])
    by_step = StepSchedule(milestones=(2,), decay=0.5, unit="step")
    assert [by_step.factor(step, 0) for step in (1, 2)] == [1, 0.5]


def test_one_cycle_goes_up_and_down() -> None:
    cycle = OneCycleSchedule(steps=101, warmup_share=0.3, start_factor=0.1, final_factor=0.01)
    factors = [cycle.factor(step, 0) for step in range(120)]
    peak = factors.index(max(factors))
    assert factors[0] == pytest.approx(0.1)
    assert max(factors) > 0.999
    assert peak in (29, 30)
    assert factors[100] == pytest.approx(0.01)
    assert factors[119] == pytest.approx(0.01)
    assert factors[:peak] == sorted(factors[:peak])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)


def test_warm_up_multiplies_another_schedule() -> None:
    made = schedules.validate_python(
        {"kind": "warmup", "steps": 4, "then": {"kind": "step", "milestones": [3], "unit": "step"}}
    )
    assert [made.factor(step, 0) for step in range(5)] == pytest.approx([0.25, 0.5, 0.75, 0.1, 0.1])
    assert [WarmupSchedule(steps=2).factor(step, 7) for step in range(3)] == [0.5, 1, 1]


def test_every_schedule_has_a_name() -> None:
    for kind in ("constant", "linear_poseaug", "exponential"):
        assert schedules.validate_python({"kind": kind}).factor(0, 0) == 1.0
    with pytest.raises(ValidationError, match="one_cycle"):
        schedules.validate_python({"kind": "onecycle", "steps": 3})
