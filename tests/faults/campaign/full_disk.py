"""A disk that is full at a write: filled to the last byte right before it, and emptied after the job has ended."""

import ctypes
import os
import random
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from poses.errors import PosemillError
from storage.errors import StoreFullError
from tests.faults.campaign.cases import Case, Verdict
from tests.faults.campaign.judge import same_dataset, sound_or_absent
from tests.faults.campaign.strikes import Point, Watch
from tests.faults.campaign.workbench import JOBS, OUT, QUICK, Job, Workbench
from tests.faults.small_disk import can_mount

KIND = "disk full"
_SIZE_KB = 16_384
_NEW_USER, _NEW_MOUNTS = 0x10000000, 0x00020000
_FORGIVEN = ("heartbeat.json",)
"""What may fail without a word: the work itself finds out."""


def why_not() -> str:
    """Whether a process may mount a disk for itself."""
    return "" if can_mount() else "this machine lets nobody mount a small disk"


def full_disk(bench: Workbench, draw: random.Random, short: bool) -> Iterator[Case]:
    """Before a write of every kind, in three jobs."""
    for name, count in (("import", 12), ("augment", 8), ("retry", 6)):
        if short and name != "import":
            continue
        points = [point for point in bench.points(name) if point.when == "before"]
        points = [
            point for point in points if not point.path.endswith(_FORGIVEN) and "clips/" not in point.path
        ]
        for point in draw.sample(points, 1 if short else count):
            yield Case(KIND, f"{name}: {point}", partial(_full, bench, JOBS[name], point))


def _full(bench: Workbench, job: Job, wanted: Point, folder: Path) -> Sequence[Verdict]:
    disk = folder / "disk"
    _mount(disk)
    out, ballast, met = disk / OUT, disk / "ballast", []
    bench.begin(job, out)

    def on_point(point: Point) -> None:
        if point == wanted:
            _fill(ballast)

    def on_error(point: Point, error: BaseException) -> None:
        if isinstance(error, StoreFullError):
            met.append(point)

    Watch(on_point, on_error).install()
    told = ""
    try:
        bench.run(job, str(out), folder / "marks")
    except PosemillError as error:
        told = str(error)
    ballast.unlink(missing_ok=True)
    problems = sound_or_absent(out)
    bench.run(job, str(out), folder / "marks")
    problems += same_dataset(out, bench.reference(job.name))
    if "No space left" not in told or "run again" not in told:
        problems.append(f"the job did not say that the disk is full: {told!r}")
    if QUICK.max_attempts > 1 and len([point for point in met if point.path == wanted.path]) > 1:
        problems.append("a unit was tried again on a full disk")
    return [Verdict(KIND, f"{job.name}: {wanted}", 1, int(bool(met)), "; ".join(problems))]


def _mount(disk: Path) -> None:
    """A small disk of this process (and its children) alone, gone with it."""
    system = ctypes.CDLL(None, use_errno=True)
    user, group = os.getuid(), os.getgid()
    disk.mkdir()
    _check(system.unshare(_NEW_USER | _NEW_MOUNTS), "unshare")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    options = f"size={_SIZE_KB}k".encode()
    _check(system.mount(b"posemill", os.fsencode(disk), b"tmpfs", 0, options), "mount")


def _check(answer: int, call: str) -> None:
    if answer:
        raise OSError(ctypes.get_errno(), f"{call}: {os.strerror(ctypes.get_errno())}")


def _fill(ballast: Path) -> None:
    """Takes every byte that is left."""
    with open(ballast, "ab", buffering=0) as file:
        for portion in (65_536, 4_096, 1):
            try:
                while file.write(b"x" * portion) == portion:
                    pass
            except OSError:
                continue
