"""The campaign's cases: each in a process of its own, forked from one that has imported everything and done nothing.

So a driver costs milliseconds instead of the seconds that importing torch takes, and whatever a fault leaves behind
(threads, patches, clients of a store) goes with its process.
"""

import json
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

POLL_S = 0.01
FAILED = 70
"""Exit status of a process that raised."""


@dataclass(frozen=True)
class Verdict:
    """What became of some faults of one kind.

    Attributes:
        kind: Row of the table.
        what: Where they struck.
        injected: Faults that were planned.
        fired: Those that really happened.
        problem: What was wrong afterwards; "" if nothing was lost, doubled or damaged.
        seconds: That it took.
    """

    kind: str
    what: str
    injected: int
    fired: int
    problem: str = ""
    seconds: float = 0.0

    @property
    def survived(self) -> int:
        """Faults after which everything was right."""
        return 0 if self.problem else self.fired


@dataclass(frozen=True)
class Case:
    """Some faults and the look at what they left, to be done in a process of its own.

    Attributes:
        kind, what, injected: Of the verdict, if the case itself breaks.
        work: Gets an empty folder; does everything and judges.
    """

    kind: str
    what: str
    work: Callable[[Path], Sequence[Verdict]]
    injected: int = 1
    timeout_s: float = 400.0


@dataclass
class _Running:
    case: Case
    folder: Path
    pid: int
    since_s: float


def run_cases(
    cases: Iterable[Case], folder: Path, jobs: int, tell: Callable[[Verdict], None], keep: bool = False
) -> None:
    """Runs every case, some at a time.

    Args:
        folder: Each case gets a folder of its own below; it is removed unless something was wrong.
        jobs: Cases at a time.
        tell: Gets every verdict, on this thread.
        keep: Keep all folders.
    """
    waiting = list(enumerate(cases))[::-1]
    running: list[_Running] = []
    while waiting or running:
        while waiting and len(running) < jobs:
            number, case = waiting.pop()
            place = folder / f"{case.kind.replace(' ', '-')}-{number:04d}"
            place.mkdir(parents=True)
            running.append(_Running(case, place, _forked(case, place), time.monotonic()))
        for one in [one for one in running if _has_ended(one)]:
            running.remove(one)
            verdicts = _verdicts(one)
            for verdict in verdicts:
                tell(verdict)
            if not keep and all(verdict.survived == verdict.injected for verdict in verdicts):
                shutil.rmtree(one.folder, ignore_errors=True)
        time.sleep(POLL_S)


def in_child(work: Callable[[], object], log: Path) -> int:
    """Does something in a forked child and waits; its exit status, negative for the signal that ended it."""
    return wait_for(start_child(work, log))


def start_child(work: Callable[[], object], log: Path) -> int:
    """Begins something in a forked child, whose output goes to a file; its process id."""
    pid = os.fork()
    if pid:
        return pid
    status = FAILED
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        work()
        status = 0
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        sys.stdout.flush()
        os._exit(status)


def wait_for(pid: int) -> int:
    """The exit status of a child."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _forked(case: Case, folder: Path) -> int:
    def work() -> None:
        os.setpgid(0, 0)
        start_s = time.monotonic()
        made = case.work(folder)
        each_s = (time.monotonic() - start_s) / max(1, len(made))
        values = [asdict(verdict) | {"seconds": verdict.seconds or each_s} for verdict in made]
        (folder / "verdicts.json").write_text(json.dumps(values))

    return start_child(work, folder / "log.txt")


def _has_ended(one: _Running) -> bool:
    """Whether the case is over; one that takes too long is ended."""
    if os.waitid(os.P_PID, one.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if time.monotonic() - one.since_s > one.case.timeout_s:
            os.killpg(one.pid, signal.SIGKILL)
        return False
    return True


def _verdicts(one: _Running) -> list[Verdict]:
    status, case = wait_for(one.pid), one.case
    path = one.folder / "verdicts.json"
    if status == 0 and path.exists():
        return [Verdict(**values) for values in json.loads(path.read_text())]
    log = (one.folder / "log.txt").read_text(errors="replace")[-2000:]
    seconds = time.monotonic() - one.since_s
    problem = f"the case itself ended with status {status}, see {one.folder}:\n{log}"
    return [Verdict(case.kind, case.what, case.injected, 0, problem, seconds)]
