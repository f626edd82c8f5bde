"""Closed loops that are killed in mid-epoch, twice each, and run again: the numbers of an undisturbed loop."""

import random
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from tests.faults.campaign.cases import Case, Verdict, in_child
from tests.faults.campaign.workbench import Workbench
from tests.faults.test_loop_killed import FILES, TRIES, Runner, killed_twice
from tests.unit.pipelines.closed_loop.small_dataset import make_small_dataset

KIND = "closed loop killed in mid-epoch"


def loops(bench: Workbench, draw: random.Random, short: bool) -> Iterator[Case]:
    """Both kinds of loop; the short form leaves them to tests/faults/test_loop_killed.py."""
    del bench
    for kind in () if short else ("feedback", "poseaug"):
        yield Case(KIND, kind, partial(_loop, kind, draw.getrandbits(32)), injected=2)


def _loop(kind: str, seed: int, folder: Path) -> Sequence[Verdict]:
    made: list[str] = []
    source = folder / "source"
    in_child(lambda: make_small_dataset(source), folder / "source.txt")
    runner = Runner(str(source))
    runner.run_undisturbed(kind, folder / "undisturbed")
    draw = random.Random(seed)
    folders = (folder / f"try-{attempt}" for attempt in range(TRIES))
    killed = next((out for out in folders if killed_twice(runner, kind, out, draw)), None)
    if killed is not None:
        runner.start(kind, killed)
        made += [] if runner.exit_status() == 0 else ["the loop did not come to its end"]
        wanted = runner.undisturbed[kind]
        made += [name for name in FILES if (killed / name).read_bytes() != (wanted / name).read_bytes()]
    runner.close()
    return [Verdict(KIND, kind, 2, 0 if killed is None else 2, ", ".join(made))]
