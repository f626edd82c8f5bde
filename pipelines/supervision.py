"""Who is tried when, and who is given up: the supervisor's decisions, without processes, clocks or Ray.

Rules:
- A worker that dies takes its unit back to the queue, with backoff. After `deaths_before_suspect` deaths the
  unit is a suspect: it runs alone, with nothing else in flight. If the worker dies again, the unit is
  searched for the row.
- An exception of the stage is searched for its row at once. Transient errors (OSError) are tried again first.
- A unit that finds no room to write ends the run: it would be found full again, and every other unit after it.
- A search that finds no row after deaths clears the unit: it is tried again, `max_attempts` searches in all.
- A node that is lost, or what it held, blames nobody: the unit goes back to the queue, with backoff.
- Bad rows found, the unit is run again without them and committed once, under its own id.
"""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from pipelines.bisection import Bisection
from pipelines.errors import BadRowError, PoolError, TooManyBadRowsError
from pipelines.executor import BadRow, BadRowPolicy, ExecutionReport, FailedUnit, Failure, RetryPolicy
from pipelines.plan import Unit
from pipelines.progress import Progress
from storage.commit import UnitCommit


@dataclass(frozen=True)
class Task:
    """One call of a worker: run a unit, or probe some of its rows."""

    unit: Unit
    action: Literal["run", "probe"]
    bad_rows: tuple[BadRow, ...] = ()
    start_row: int = 0
    stop_row: int = 0
    alone: bool = False


@dataclass
class _Case:
    """What is known of one unit."""

    unit: Unit
    attempts: int = 0
    deaths: int = 0
    losses: int = 0
    searches: int = 0
    ready_at_s: float = 0.0
    bad_rows: tuple[BadRow, ...] = ()
    first_failure: Failure | None = None
    search: Bisection | None = None
    search_done: bool = False


@dataclass
class Supervisor:
    """The queue of one run.

    Args:
        units: What to do.
        retry: Attempts and waits.
        policy: What becomes of bad rows.
        splittable: Whether the stage can probe rows.
        progress: Is told of retries and bad rows.
    """

    units: Sequence[Unit]
    retry: RetryPolicy
    policy: BadRowPolicy
    splittable: bool
    progress: Progress
    report: ExecutionReport = field(default_factory=ExecutionReport)

    def __post_init__(self) -> None:
        self._fresh = iter(self.units)
        self._n_fresh = len(self.units)
        self.stopping = False
        """Set it, and nothing new is started."""
        self._waiting: list[tuple[float, int, _Case]] = []
        """A heap by the time when they may start, of those that may start beside others."""
        self._suspects: list[_Case] = []
        self._n_queued = 0
        self._in_flight: dict[str, _Case] = {}
        self._alone_in_flight = False

    @property
    def done(self) -> bool:
        """Whether nothing is queued or in flight."""
        return self.n_open == 0

    @property
    def n_open(self) -> int:
        """Units neither committed nor given up."""
        return self._n_fresh + len(self._waiting) + len(self._suspects) + len(self._in_flight)

    @property
    def n_queued(self) -> int:
        """Units that shall still be started, now or after a wait."""
        return 0 if self.stopping else self.n_open - len(self._in_flight)

    @property
    def n_in_flight(self) -> int:
        """Units that a worker has."""
        return len(self._in_flight)

    @property
    def troubled(self) -> bool:
        """Whether some open unit has failed before, and so may come back."""
        return any(case.deaths or case.losses or case.attempts or case.search for case in self._open_cases())

    def next_task(self, now_s: float) -> Task | None:
        """The next call for an idle worker, or None if none may start now."""
        if self._alone_in_flight or self.stopping:
            return None
        case = self._take(now_s)
        if case is None:
            return None
        self._in_flight[case.unit.unit_id] = case
        if case.search is not None:
            bounds = case.search.next_range()
            if bounds is None:
                raise AssertionError(f"unit {case.unit.unit_id}: queued for a search that is over")
            return Task(case.unit, "probe", (), *bounds)
        self._alone_in_flight = self._is_suspect(case)
        return Task(case.unit, "run", case.bad_rows, alone=self._alone_in_flight)

    def _take(self, now_s: float) -> _Case | None:
        """A case whose wait is over; suspects only when nothing is in flight, and then before all others."""
        suspect = next((case for case in self._suspects if case.ready_at_s <= now_s), None)
        if suspect is not None:
            if self._in_flight:
                return None
            self._suspects.remove(suspect)
            return suspect
        if self._waiting and self._waiting[0][0] <= now_s:
            return heapq.heappop(self._waiting)[2]
        return self._take_fresh()

    def _queue(self, case: _Case) -> None:
        """The case waits for its time, and a suspect for its turn alone."""
        if self._is_suspect(case):
            self._suspects.append(case)
        else:
            self._n_queued += 1  # those of one time start in the order in which they came
            heapq.heappush(self._waiting, (case.ready_at_s, self._n_queued, case))

    def _open_cases(self) -> Iterator[_Case]:
        """All that were begun and are not done."""
        yield from (case for _, _, case in self._waiting)
        yield from self._suspects
        yield from self._in_flight.values()

    def _take_fresh(self) -> _Case | None:
        if self._n_fresh == 0:
            return None
        self._n_fresh -= 1
        return _Case(next(self._fresh))

    def _is_suspect(self, case: _Case) -> bool:
        return case.search is None and case.deaths >= self.retry.deaths_before_suspect

    def seconds_until_ready(self, now_s: float) -> float:
        """How long until a waiting unit may start; 0 if one may start now, infinity if none waits."""
        if self._n_fresh and not self.stopping:
            return 0.0
        times_s = [case.ready_at_s for case in self._suspects]
        times_s += [ready_at_s for ready_at_s, _, _ in self._waiting[:1]]
        return max(0.0, min(times_s, default=float("inf")) - now_s)

    def abandon(self, task: Task) -> None:
        """The task never started, through no fault of the unit: queue it again."""
        self._queue(self._land(task))

    def record_commit(self, task: Task, commit: UnitCommit) -> None:
        """The unit is done."""
        case = self._land(task)
        self.report.commits.append(commit)
        if case.bad_rows:
            self.report.bad_rows[case.unit.unit_id] = list(case.bad_rows)

    def record_probe_passed(self, task: Task, now_s: float) -> None:
        """The rows probed are innocent."""
        self._continue_search(self._land(task), None, now_s)

    def record_failure(self, task: Task, failure: Failure, now_s: float) -> None:
        """The task failed.

        Raises:
            BadRowError: if a row is found bad and the policy is "fail".
            PoolError: if there is no room to write.
            TooManyBadRowsError: if the policy's limit is passed.
        """
        case = self._land(task)
        if failure.kind == "no_room":
            raise PoolError(_no_room(case.unit, failure))
        if failure.kind in ("died", "timed_out"):
            self.report.workers_lost += 1
        if failure.kind == "lost" and case.losses < self.retry.max_losses:
            case.losses += 1
            self._retry(case, failure, now_s)
        elif case.search is not None:
            self._record_failed_probe(case, failure, now_s)
        elif failure.kind == "whole_unit":
            self._give_up(case, failure)
        elif failure.kind == "transient":
            case.attempts += 1
            if case.attempts >= self.retry.max_attempts:
                self._give_up(case, failure)
            else:
                self._retry(case, failure, now_s)
        elif failure.kind == "raised":
            self._start_search(case, failure, now_s)
        else:
            case.deaths += 1
            if case.deaths > self.retry.deaths_before_suspect:
                self._start_search(case, failure, now_s)
            else:
                self._retry(case, failure, now_s)

    def _land(self, task: Task) -> _Case:
        if task.alone:
            self._alone_in_flight = False
        return self._in_flight.pop(task.unit.unit_id)

    def _record_failed_probe(self, case: _Case, failure: Failure, now_s: float) -> None:
        """A probe that meets a transient error is repeated; any other outcome moves the search."""
        if failure.kind == "transient" and case.attempts + 1 < self.retry.max_attempts:
            case.attempts += 1
            self._retry(case, failure, now_s)
        elif failure.kind in ("transient", "whole_unit"):
            self._give_up(case, failure)
        else:
            self._continue_search(case, failure, now_s)

    def _retry(self, case: _Case, failure: Failure, now_s: float) -> None:
        tries = max(1, case.attempts + case.deaths + case.losses)
        wait_s = min(self.retry.max_backoff_s, self.retry.backoff_s * 2 ** min(tries - 1, 30))
        case.ready_at_s = now_s + wait_s
        self._queue(case)
        self.report.retries[failure.error_class] = self.report.retries.get(failure.error_class, 0) + 1
        self.progress.log(f"unit {case.unit.unit_id}: {failure}; tried again in {wait_s:.1f} s")

    def _start_search(self, case: _Case, failure: Failure, now_s: float) -> None:
        if case.search_done or not self.splittable or case.unit.rows == 0:
            self._give_up(case, failure)
            return
        case.search_done = True
        case.searches += 1
        case.first_failure = failure
        case.search = Bisection(case.unit.rows)
        case.ready_at_s = now_s
        self._queue(case)
        self.progress.log(f"unit {case.unit.unit_id}: {failure}; searching its {case.unit.rows} rows")

    def _n_bad_rows(self, case: _Case) -> int:
        """Bad rows known in the whole run, this case's (which is not queued now) among them."""
        open_cases = [case, *self._open_cases()]
        found = [other.search.bad_rows if other.search else other.bad_rows for other in open_cases]
        return sum(map(len, found)) + sum(map(len, self.report.bad_rows.values()))

    def _continue_search(self, case: _Case, failure: Failure | None, now_s: float) -> None:
        search = case.search
        if search is None:
            raise AssertionError(f"unit {case.unit.unit_id}: a probe came back, but no search is on")
        known = len(search.bad_rows)
        search.record(failure)
        if len(search.bad_rows) > known:
            self._blame(case, search.bad_rows[-1])
        case.ready_at_s = now_s
        if search.next_range() is not None:
            self._queue(case)
            return
        case.search = None
        case.deaths = 0
        if search.hopeless:
            self._give_up(
                case, _reworded(case.first_failure, "every row that was tried fails, so no row is to blame")
            )
            return
        if not search.bad_rows:
            self._clear(case, now_s)
            return
        case.bad_rows = tuple(sorted(search.bad_rows, key=lambda bad: bad.row))
        self._queue(case)

    def _clear(self, case: _Case, now_s: float) -> None:
        """No row is to blame. Workers die for other reasons as well, so a unit that lost some is tried again."""
        failure = _reworded(case.first_failure, "every part of the unit passes alone, so no row is to blame")
        if failure.kind in ("raised", "transient") or case.searches >= self.retry.max_attempts:
            self._give_up(case, failure)
            return
        case.search_done = False
        self._retry(case, failure, now_s)

    def _blame(self, case: _Case, bad: BadRow) -> None:
        where = f"unit {case.unit.unit_id}, row {bad.row}"
        if self.policy.on_bad_row == "fail":
            raise BadRowError(
                f"{where}: {bad.failure}; set on_bad_row to quarantine or skip to go on without it\n"
                f"{bad.failure.traceback}"
            )
        if self._n_bad_rows(case) > self.policy.max_bad_rows:
            raise TooManyBadRowsError(
                f"{where}: {bad.failure}; that is one bad row more than max_bad_rows = {self.policy.max_bad_rows}; "
                "look at the quarantine, mend the input or raise the limit"
            )
        self.progress.log(f"{where}: {bad.failure}; {self.policy.on_bad_row}")

    def _give_up(self, case: _Case, failure: Failure) -> None:
        self.report.failed.append(FailedUnit(case.unit.unit_id, failure))
        self.progress.log(f"unit {case.unit.unit_id}: given up: {failure}")
        if not self.report.commits and len(self.report.failed) >= self.retry.max_failed_units_at_start:
            raise PoolError(
                f"the first {len(self.report.failed)} units all failed, none was done; the last, "
                f"{case.unit.unit_id}: {failure}\n{failure.traceback}".rstrip()
            )


def _no_room(unit: Unit, failure: Failure) -> str:
    return (
        f"unit {unit.unit_id}: {failure}; the run ends here, since no other unit would find room either; it goes on "
        f"from here when it is run again\n{failure.traceback}".rstrip()
    )


def _reworded(first: Failure | None, words: str) -> Failure:
    """The failure that a search began with, and why the search found no culprit."""
    if first is None:
        raise AssertionError("a search began without a failure")
    return replace(first, message=f"{first.message} ({words})")
