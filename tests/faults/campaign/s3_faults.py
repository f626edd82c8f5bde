"""An S3 endpoint that answers 500, 503, late, half, not at all, or not after having written; and dead drivers on it."""

import json
import os
import random
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from poses.errors import PosemillError
from tests.faults import faulty_s3 as answers
from tests.faults.campaign.cases import Case, Verdict, start_child, wait_for
from tests.faults.campaign.judge import same_dataset
from tests.faults.campaign.strikes import Point, kill_at
from tests.faults.campaign.workbench import JOBS, Job, Workbench
from tests.faults.faulty_s3 import Fault, FaultyS3, always, at, faulty_s3, no_faults

WAITS = {"POSEMILL_STORE_FIRST_WAIT_S": "0.01", "POSEMILL_STORE_LONGEST_WAIT_S": "0.1"}
IMPATIENT = WAITS | {"POSEMILL_STORE_REQUEST_TIMEOUT_S": "2"}
GIVES_UP = WAITS | {"POSEMILL_STORE_ATTEMPTS": "3"}
LOST = "S3: answer lost after writing"
FAULTS: dict[str, tuple[Fault, str]] = {
    "S3: 500": (answers.INTERNAL_ERROR, ""),
    "S3: 503 SlowDown": (answers.SLOW_DOWN, ""),
    "S3: answers late": (answers.late(0.3), ""),
    "S3: does not answer in time": (answers.late(3.0), ""),
    LOST: (answers.LOST_ANSWER, "PUT"),
    "S3: connection cut": (answers.CUT, ""),
    "S3: half an answer": (answers.HALF_ANSWER, "GET"),
    "S3: conflict of two writes (409)": (answers.CONFLICT, "PUT"),
}
DOWN, KILLED = "S3: down, and back later", "S3: driver killed at a write"
_EARLY = {"": 40, "PUT": 14, "GET": 11}
"""Every job makes more requests than that."""
AT_ONCE = 6


def why_not() -> str:
    """The packages that are missing."""
    try:
        pytest.importorskip("s3fs")
        pytest.importorskip("moto.server")
    except pytest.skip.Exception as error:
        return str(error)
    return ""


def s3_faults(bench: Workbench, draw: random.Random, short: bool) -> Iterator[Case]:
    """Several faults of one kind in every run."""
    jobs = [JOBS["import"], JOBS["augment"]]
    if short:
        numbers = sorted(draw.sample(range(1, 11), 2))
        yield Case(LOST, "augment", partial(_with_faults, bench, JOBS["augment"], LOST, numbers), injected=2)
        return
    for kind, (_, method) in FAULTS.items():
        for job in jobs:
            numbers = sorted(draw.sample(range(1, _EARLY[method]), AT_ONCE))
            yield Case(kind, job.name, partial(_with_faults, bench, job, kind, numbers), injected=AT_ONCE)
    for job in jobs:
        for folder in ("commits", "manifests"):
            yield Case(DOWN, f"{job.name}: {folder}", partial(_down, bench, job, folder))
        for point in draw.sample([one for one in bench.points(job.name) if one.call != "adopt_tree"], 6):
            yield Case(KILLED, f"{job.name}: {point}", partial(_killed, bench, job, point))


def _with_faults(
    bench: Workbench, job: Job, kind: str, numbers: Sequence[int], folder: Path
) -> Sequence[Verdict]:
    fault, method = FAULTS[kind]
    with faulty_s3(IMPATIENT if "in time" in kind else WAITS) as s3:
        s3.plan = at(dict.fromkeys(numbers, fault), method)
        url = f"{s3.url}/OUT"
        bench.run(job, url, folder / "marks")
        fired = sum(found is not None for _, found in s3.seen)
        s3.plan = no_faults
        problems = same_dataset(url, bench.reference(job.name))
    return [Verdict(kind, job.name, len(numbers), fired, "; ".join(problems))]


def _down(bench: Workbench, job: Job, below: str, folder: Path) -> Sequence[Verdict]:
    """The endpoint refuses for longer than the job is patient; once it is back, the job is run again."""
    told = ""
    with faulty_s3(GIVES_UP) as s3:
        s3.plan = always(answers.SLOW_DOWN, "PUT", below)
        url = f"{s3.url}/OUT"
        try:
            bench.run(job, url, folder / "marks")
        except PosemillError as error:
            told = str(error)
        fired = any(found is not None for _, found in s3.seen)
        s3.plan = no_faults
        bench.run(job, url, folder / "marks")
        problems = same_dataset(url, bench.reference(job.name))
    if "SlowDown" not in told:
        problems.append(f"the job did not say why it ended: {told!r}")
    return [Verdict(DOWN, f"{job.name}: {below}", 1, int(fired), "; ".join(problems))]


@contextmanager
def _waiting_driver(bench: Workbench, job: Job, point: Point, folder: Path) -> Iterator[tuple[int, int]]:
    """A child that begins once it is told where the endpoint is: it must be forked before that starts threads."""
    reader, writer = os.pipe()

    def driver() -> None:
        os.close(writer)
        with os.fdopen(reader) as orders:
            environment = json.loads(orders.read())
        os.environ.update(environment)
        kill_at(point, folder / "kill")
        bench.run(job, f"s3://{answers.BUCKET}/OUT", folder / "marks")

    pid = start_child(driver, folder / "driver.txt")
    os.close(reader)
    yield pid, writer


def _killed(bench: Workbench, job: Job, point: Point, folder: Path) -> Sequence[Verdict]:
    (folder / "marks").mkdir()
    with _waiting_driver(bench, job, point, folder) as (pid, writer), faulty_s3(WAITS) as s3:
        with os.fdopen(writer, "w") as orders:
            orders.write(json.dumps(_environment(s3)))
        fired = wait_for(pid) == -signal.SIGKILL and (folder / "kill").exists()
        bench.run(job, f"{s3.url}/OUT", folder / "marks")
        problems = same_dataset(f"{s3.url}/OUT", bench.reference(job.name))
    return [Verdict(KILLED, f"{job.name}: {point}", 1, int(fired), "; ".join(problems))]


def _environment(s3: FaultyS3) -> dict[str, str]:
    return {**s3.environment, **WAITS}
