"""Two drivers on one dataset at once: with the same plan, with different ones, retrying, and one that is killed."""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from pipelines.context import RunContext
from pipelines.in_process import InProcessExecutor
from pipelines.mass_augment import run_augment
from pipelines.plan import stored_run_ids
from storage.errors import DatasetError
from storage.manifest import manifest_versions
from storage.object_store import open_store
from storage.reader import Dataset
from tests.faults.campaign.cases import Case, Verdict, start_child, wait_for
from tests.faults.campaign.judge import same_dataset
from tests.faults.campaign.strikes import Point, Watch, die
from tests.faults.campaign.workbench import JOBS, OUT, QUICK, SEED, Job, Workbench, augment_settings

SAME, OTHER, KILLED = "two drivers, one plan", "two drivers, two plans", "two drivers, one killed"
_LONGEST_S = 0.03
_PATIENCE_S = 60.0


def two_drivers(bench: Workbench, draw: random.Random, short: bool) -> Iterator[Case]:
    """Each driver waits for moments drawn from a seed before and after its writes, so that they interleave anew."""
    seeds = [draw.getrandbits(32) for _ in range(1 if short else 3)]
    for seed in seeds:
        for name in ("augment",) if short else ("import", "augment", "chain", "retry", "on top"):
            yield Case(SAME, f"{name}: seed {seed}", partial(_race, bench, JOBS[name], seed))
        yield Case(OTHER, f"augment: seed {seed}", partial(_two_plans, bench, seed))
    for name in () if short else ("import", "augment", "retry"):
        for point in draw.sample(bench.points(name)[4:-6], 2):
            work = partial(_one_killed, bench, JOBS[name], point, draw.getrandbits(32))
            yield Case(KILLED, f"{name}: {point}", work)


class _Gate:
    """Where drivers wait for each other."""

    def __init__(self, folder: Path, name: str = "ready") -> None:
        self._folder, self._name = folder, name

    def meet(self, count: int) -> None:
        """In a driver: until so many are here."""
        (self._folder / f"{self._name}-{os.getpid()}").touch()
        deadline_s = time.monotonic() + _PATIENCE_S
        while len(list(self._folder.glob(f"{self._name}-*"))) < count and time.monotonic() < deadline_s:
            time.sleep(0.001)

    def met(self) -> int:
        """How many came."""
        return len(list(self._folder.glob(f"{self._name}-*")))


def _dawdle(seed: int) -> Callable[[Point], None]:
    draw = random.Random(seed)
    return lambda point: time.sleep(draw.uniform(0.0, _LONGEST_S))


def _started(folder: Path, works: Sequence[Callable[[], None]]) -> list[int]:
    """Exit statuses of drivers that begin together."""
    gate = _Gate(folder)

    def driver(work: Callable[[], None]) -> None:
        gate.meet(len(works))
        work()

    pids = [
        start_child(partial(driver, work), folder / f"driver{number}.txt")
        for number, work in enumerate(works)
    ]
    return [wait_for(pid) for pid in pids]


def _words(folder: Path, number: int) -> str:
    return (folder / f"driver{number}.txt").read_text(errors="replace")[-1500:]


def _race(bench: Workbench, job: Job, seed: int, folder: Path) -> Sequence[Verdict]:
    out = folder / OUT
    bench.begin(job, out)

    def driver(number: int) -> None:
        Watch(_dawdle(seed + number)).install()
        begun_s = time.monotonic()
        try:
            bench.run(job, str(out), folder / "marks")
        finally:
            (folder / f"worked-{number}").write_text(f"{begun_s} {time.monotonic()}")

    statuses = _started(folder, [partial(driver, 0), partial(driver, 1)])
    problems = [
        f"driver {number} ended with {status}: {_words(folder, number)}"
        for number, status in enumerate(statuses)
        if status and "settled its rows meanwhile" not in _words(folder, number)
    ]
    if statuses == [0, 0] or not problems:
        bench.run(job, str(out), folder / "marks")
        problems += same_dataset(out, bench.reference(job.name))
    return [Verdict(SAME, f"{job.name}: seed {seed}", 1, int(_met(folder)), "; ".join(problems))]


def _met(folder: Path) -> bool:
    """Whether both drivers were at work at the same time, for longer than either waited at a write."""
    times = [path.read_text().split() for path in folder.glob("worked-*")]
    together_s = min(float(ended) for _, ended in times) - max(float(begun) for begun, _ in times)
    return len(times) == 2 and together_s > _LONGEST_S


def _two_plans(bench: Workbench, seed: int, folder: Path) -> Sequence[Verdict]:
    """Both find the dataset empty before either freezes its plan. No more than one goes on; the other is told."""
    out, dawdle = folder / OUT, _dawdle(seed)
    both = _Gate(folder, "found-empty")

    def driver(number: int) -> None:
        def on_point(point: Point) -> None:
            if point.when == "before" and point.path.endswith("plan.json") and point.call == "put_if_absent":
                both.meet(2)
            dawdle(point)

        Watch(on_point).install()
        settings = augment_settings(str(bench.reference("import")), first_copy=1 + 2 * number)
        run_augment(settings, RunContext(str(out), InProcessExecutor(retry=QUICK), SEED))

    statuses = _started(folder, [partial(driver, 0), partial(driver, 1)])
    store = open_store(out)
    problems: list[str] = []
    for number, status in enumerate(statuses):
        if status and "PlanMismatchError" not in _words(folder, number):
            problems.append(f"driver {number} ended with {status}: {_words(folder, number)}")
    plans = stored_run_ids(store)
    if len(plans) > 1 or statuses == [0, 0]:
        problems.append(f"both plans are frozen: {plans}")
    if 0 in statuses:
        problems += _only_copies(out, first=1 + 2 * statuses.index(0))
    elif manifest_versions(store):
        problems.append("both were refused, and yet there is a version")
    return [Verdict(OTHER, f"augment: seed {seed}", 1, int(both.met() == 2), "; ".join(problems))]


def _only_copies(out: Path, first: int) -> list[str]:
    try:
        copies = set(Dataset.open(out).read_pairs().copy.tolist())
    except DatasetError as error:
        return [str(error)]
    return [] if copies == {first, first + 1} else [f"copies {sorted(copies)} in the dataset"]


def _one_killed(bench: Workbench, job: Job, point: Point, seed: int, folder: Path) -> Sequence[Verdict]:
    """One is killed at a write; the other begins shortly before, goes on beside it, and ends well."""
    out, mark, near = folder / OUT, folder / "kill", folder / "near"
    bench.begin(job, out)
    points = bench.points(job.name)
    before = points[points.index(point) - 2]
    dawdle = _dawdle(seed)

    def victim() -> None:
        def on_point(here: Point) -> None:
            if here == before:
                near.touch()
                time.sleep(_LONGEST_S)
            if here == point:
                die(mark)

        Watch(on_point).install()
        bench.run(job, str(out), folder / "marks")

    def other() -> None:
        while not near.exists():
            time.sleep(0.001)
        Watch(dawdle).install()
        bench.run(job, str(out), folder / "marks")

    statuses = _started(folder, [victim, other])
    fired = statuses[0] == -signal.SIGKILL and mark.exists()
    problems = [f"the other ended with {statuses[1]}: {_words(folder, 1)}"] if statuses[1] else []
    bench.run(job, str(out), folder / "marks")
    problems += same_dataset(out, bench.reference(job.name))
    return [Verdict(KILLED, f"{job.name}: {point}", 1, int(fired), "; ".join(problems))]
