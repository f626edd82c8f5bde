"""SIGKILL of the driver at every write, between the halves of a write, and again while it resumes."""

import random
import shutil
import signal
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from tests.faults.campaign.cases import Case, Verdict, in_child
from tests.faults.campaign.judge import same_dataset, sound_or_absent
from tests.faults.campaign.strikes import Point, kill_at, read_points, recorded, write_points
from tests.faults.campaign.workbench import JOBS, OUT, Job, Workbench

COARSE, FINE, TWICE = "driver killed: at a write", "driver killed: inside a write", "driver killed: twice"


def at_every_write(bench: Workbench, draw: random.Random, short: bool) -> Iterator[Case]:
    """Before and after every write of every job; the short form takes one of every kind in one job."""
    for job in JOBS.values():
        points = bench.points(job.name)
        if short:
            points = {"augment": _one_of_each_kind(points, draw), "retry": draw.sample(points, 1)}.get(
                job.name, []
            )
        for point in points:
            yield Case(COARSE, f"{job.name}: {point}", partial(_killed_once, bench, job, point, COARSE))


def inside_writes(bench: Workbench, draw: random.Random, short: bool) -> Iterator[Case]:
    """Points between the halves of a write, drawn from all of them."""
    for name, count in (("import", 30), ("augment", 15), ("retry", 15)):
        for point in draw.sample(bench.points(name, fine=True), int(name == "retry") if short else count):
            yield Case(FINE, f"{name}: {point}", partial(_killed_once, bench, JOBS[name], point, FINE))


def twice(bench: Workbench, draw: random.Random, short: bool) -> Iterator[Case]:
    """Again, while the run after the first crash is on its way."""
    for name, count in (("import", 4), ("augment", 3), ("chain", 2), ("retry", 3)):
        for _ in range(int(name == "retry") if short else count):
            first, seed = draw.choice(bench.points(name)[:-6]), draw.getrandbits(32)
            work = partial(_killed_twice, bench, JOBS[name], first, seed)
            yield Case(TWICE, f"{name}: {first}", work, injected=2)


def _one_of_each_kind(points: Sequence[Point], draw: random.Random) -> list[Point]:
    """One point of every folder, and of the card."""
    kinds: dict[str, list[Point]] = {}
    for point in points:
        kinds.setdefault(point.path.split("/")[0], []).append(point)
    return [draw.choice(chosen) for chosen in kinds.values()]


def killed(bench: Workbench, job: Job, out: Path, point: Point, folder: Path, mark: str = "kill") -> bool:
    """Runs the job in a child that is killed at a point; whether it was."""

    def driver() -> None:
        kill_at(point, folder / mark)
        bench.run(job, str(out), folder / "marks")

    status = in_child(driver, folder / "driver.txt")
    return status == -signal.SIGKILL and (folder / mark).exists()


def resumed(bench: Workbench, job: Job, out: Path, folder: Path) -> list[str]:
    """What a reader sees after the crash; then the job again, in this process, and whether all is as it should be."""
    problems = sound_or_absent(out)
    bench.run(job, str(out), folder / "marks")
    return problems + same_dataset(out, bench.reference(job.name))


def _killed_once(bench: Workbench, job: Job, point: Point, kind: str, folder: Path) -> Sequence[Verdict]:
    out = folder / OUT
    bench.begin(job, out)
    fired = killed(bench, job, out, point, folder)
    problems = resumed(bench, job, out, folder)
    return [Verdict(kind, f"{job.name}: {point}", 1, int(fired), "; ".join(problems))]


def _killed_twice(bench: Workbench, job: Job, first: Point, seed: int, folder: Path) -> Sequence[Verdict]:
    """The second time at a point that is drawn from those which the resumed run comes by."""
    out, rehearsal = folder / OUT, folder / "rehearsal" / OUT
    bench.begin(job, out)
    fired = killed(bench, job, out, first, folder)
    shutil.copytree(out, rehearsal)
    listed = folder / "points.json"

    def rehearse() -> None:
        points = recorded(lambda: bench.run(job, str(rehearsal), folder / "marks"))
        write_points(listed, points)

    in_child(rehearse, folder / "rehearsal.txt")
    second = random.Random(seed).choice(read_points(listed))
    fired_again = killed(bench, job, out, second, folder, "second")
    problems = resumed(bench, job, out, folder)
    what = f"{job.name}: {first}, then {second}"
    return [Verdict(TWICE, what, 2, fired + fired_again, "; ".join(problems))]
