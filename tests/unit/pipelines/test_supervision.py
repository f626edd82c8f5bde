"""Who is tried when, and who is given up, with a clock of our own."""

import pytest

from pipelines.errors import BadRowError, PoolError, TooManyBadRowsError
from pipelines.executor import BadRowPolicy, Failure, RetryPolicy
from pipelines.plan import Unit
from pipelines.progress import RecordingProgress
from pipelines.supervision import Supervisor, Task
from storage.commit import UnitCommit

DIED = Failure("died", "WorkerDied", "gone")
RAISED = Failure("raised", "ValueError", "poison")
TRANSIENT = Failure("transient", "StoreError", "slow down")
WHOLE = Failure("whole_unit", "UnitError", "damaged input")


def supervisor(n_units: int = 2, rows: int = 4, splittable: bool = True, **policy: object) -> Supervisor:
    units = [Unit(f"u{index}", "test", {}, rows) for index in range(n_units)]
    retry = RetryPolicy(max_attempts=3, backoff_s=1.0, deaths_before_suspect=2)
    return Supervisor(units, retry, BadRowPolicy.model_validate(policy), splittable, RecordingProgress())


def commit(task: Task) -> UnitCommit:
    return UnitCommit(run_id="r", unit_id=task.unit.unit_id, writer_id="w", files=(), rows=0)


def start(boss: Supervisor, now_s: float = 0.0) -> Task:
    task = boss.next_task(now_s)
    assert task is not None
    return task


def run_poisoned(boss: Supervisor, poison: dict[str, dict[int, Failure]]) -> None:
    """Play a worker on which the given rows fail, to the end."""
    now_s = 0.0
    while not boss.done:
        now_s += 100.0
        task = start(boss, now_s)
        known = {bad.row for bad in task.bad_rows}
        rows = range(task.unit.rows) if task.action == "run" else range(task.start_row, task.stop_row)
        hits = [poison.get(task.unit.unit_id, {}).get(row) for row in rows if row not in known]
        failures = [hit for hit in hits if hit is not None]
        if failures:
            boss.record_failure(task, failures[0], now_s)
        elif task.action == "run":
            boss.record_commit(task, commit(task))
        else:
            boss.record_probe_passed(task, now_s)


def test_all_units_are_committed_once() -> None:
    boss = supervisor(3)
    run_poisoned(boss, {})
    assert sorted(done.unit_id for done in boss.report.commits) == ["u0", "u1", "u2"]
    assert boss.next_task(0.0) is None


@pytest.mark.parametrize("searching", [False, True])
def test_no_room_to_write_ends_the_run_at_once(searching: bool) -> None:
    boss = supervisor(3)
    done = start(boss)
    boss.record_commit(done, commit(done))
    task = start(boss)
    if searching:
        boss.record_failure(task, RAISED, 0.0)
        task = start(boss)
        assert task.action == "probe"
    with pytest.raises(PoolError, match=r"unit u1: StoreFullError: disk full; the run ends here.*run again"):
        boss.record_failure(task, Failure("no_room", "StoreFullError", "disk full"), 0.0)
    assert boss.report.retries == {}
    assert [commit.unit_id for commit in boss.report.commits] == ["u0"]


def test_a_death_comes_back_after_backoff_and_twice_as_late_the_second_time() -> None:
    boss = supervisor(1)
    boss.record_failure(start(boss), DIED, 10.0)
    assert boss.next_task(10.9) is None
    assert boss.seconds_until_ready(10.0) == pytest.approx(1.0)
    boss.record_failure(start(boss, 11.0), DIED, 11.0)
    assert boss.seconds_until_ready(11.0) == pytest.approx(2.0)
    assert boss.report.retries == {"WorkerDied": 2}
    assert boss.report.workers_lost == 2


def test_a_suspect_waits_for_the_others_and_runs_alone() -> None:
    boss = supervisor(3)
    for now_s in (0.0, 50.0):
        task = start(boss, now_s)
        assert task.unit.unit_id == "u0"
        boss.record_failure(task, DIED, now_s)
        if now_s == 0.0:
            other = start(boss, 0.0)
    assert boss.next_task(100.0) is None, "u1 is in flight, the suspect must wait and nothing new may start"
    boss.record_commit(other, commit(other))
    suspect = start(boss, 100.0)
    assert suspect.unit.unit_id == "u0"
    assert suspect.alone
    assert boss.next_task(100.0) is None
    boss.record_commit(suspect, commit(suspect))
    assert start(boss, 100.0).unit.unit_id == "u2"


@pytest.mark.parametrize("failure", [RAISED, DIED])
def test_bad_rows_are_found_and_the_innocent_kept(failure: Failure) -> None:
    boss = supervisor(2, rows=9)
    run_poisoned(boss, {"u1": {2: failure, 7: failure}})
    assert {done.unit_id for done in boss.report.commits} == {"u0", "u1"}
    assert [bad.row for bad in boss.report.bad_rows["u1"]] == [2, 7]
    assert not boss.report.failed


def test_fail_policy_stops_at_the_first_bad_row() -> None:
    boss = supervisor(1, rows=4, on_bad_row="fail")
    with pytest.raises(BadRowError, match="unit u0, row 3: ValueError: poison"):
        run_poisoned(boss, {"u0": {3: RAISED}})


def test_the_limit_counts_bad_rows_of_all_units() -> None:
    allowed = supervisor(2, rows=4, max_bad_rows=3)
    run_poisoned(allowed, {"u0": {0: RAISED, 1: RAISED}, "u1": {2: RAISED}})
    assert len(allowed.report.commits) == 2
    boss = supervisor(2, rows=4, max_bad_rows=3)
    with pytest.raises(TooManyBadRowsError, match="max_bad_rows = 3"):
        run_poisoned(boss, {"u0": {0: RAISED, 1: RAISED}, "u1": {2: RAISED, 3: RAISED}})


def test_transient_errors_are_tried_again_then_given_up() -> None:
    boss = supervisor(1)
    for now_s in (0.0, 10.0, 20.0):
        boss.record_failure(start(boss, now_s), TRANSIENT, now_s)
    assert boss.done
    assert [failed.unit_id for failed in boss.report.failed] == ["u0"]
    assert boss.report.retries == {"StoreError": 2}


def test_whole_unit_failures_are_not_searched() -> None:
    boss = supervisor(2)
    boss.record_failure(start(boss), WHOLE, 0.0)
    task = start(boss)
    assert (task.unit.unit_id, task.action) == ("u1", "run")
    assert boss.report.failed[0].failure == WHOLE


def test_a_failure_without_a_bad_row_gives_the_unit_up() -> None:
    boss = supervisor(1, rows=2)
    boss.record_failure(start(boss), RAISED, 0.0)
    for _ in range(2):
        boss.record_probe_passed(start(boss), 0.0)
    assert boss.done
    assert "no row is to blame" in boss.report.failed[0].failure.message


def test_a_stage_that_cannot_probe_gives_the_unit_up() -> None:
    boss = supervisor(1, splittable=False)
    boss.record_failure(start(boss), RAISED, 0.0)
    assert boss.done
    assert boss.report.failed[0].failure == RAISED


def test_code_that_fails_on_every_row_is_not_blamed_on_rows() -> None:
    boss = supervisor(1, rows=4096)
    run_poisoned(boss, {"u0": dict.fromkeys(range(4096), RAISED)})
    assert "every row that was tried fails" in boss.report.failed[0].failure.message
    assert not boss.report.bad_rows


def test_a_job_whose_first_units_all_fail_stops_with_the_cause() -> None:
    boss = supervisor(5)
    for _ in range(2):
        boss.record_failure(start(boss), WHOLE, 0.0)
    third = start(boss)
    with pytest.raises(PoolError, match=r"first 3 units all failed.*u2: UnitError: damaged input"):
        boss.record_failure(third, WHOLE, 0.0)


def test_retries_start_in_the_order_of_their_times_however_many_wait() -> None:
    boss = supervisor(2_000)
    for _ in range(2_000):
        boss.record_failure(start(boss), Failure("lost", "NodeLost", "gone"), 10.0)
    assert boss.next_task(10.4) is None
    assert boss.seconds_until_ready(10.4) == pytest.approx(0.6)
    assert [start(boss, 11.0).unit.unit_id for _ in range(2_000)] == [f"u{index}" for index in range(2_000)]
