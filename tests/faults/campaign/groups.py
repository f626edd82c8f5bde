"""The groups of the campaign, in the order in which they run."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

from tests.faults.campaign import driver_kills, full_disk, s3_faults
from tests.faults.campaign.bad_rows import hanging_rows, raising_rows
from tests.faults.campaign.cases import Case
from tests.faults.campaign.damaged_inputs import damaged_inputs
from tests.faults.campaign.loops import loops
from tests.faults.campaign.ray_faults import ray_nodes, ray_workers
from tests.faults.campaign.two_drivers import two_drivers
from tests.faults.campaign.workbench import Workbench


def _nothing() -> str:
    return ""


@dataclass(frozen=True)
class Group:
    """Cases of one sort.

    Attributes:
        cases: (workbench, draw, short) -> what to do.
        jobs: Cases at a time; None for what the campaign is given.
        why_not: Why this machine cannot do it, or "".
        in_short: Whether the short form has it; the others have short tests of their own.
    """

    cases: Callable[[Workbench, Random, bool], Iterator[Case]]
    jobs: int | None = None
    why_not: Callable[[], str] = _nothing
    in_short: bool = True


GROUPS = {
    "driver at a write": Group(driver_kills.at_every_write),
    "driver inside a write": Group(driver_kills.inside_writes),
    "driver twice": Group(driver_kills.twice),
    "two drivers": Group(two_drivers),
    "full disk": Group(full_disk.full_disk, why_not=full_disk.why_not),
    "damaged inputs": Group(damaged_inputs),
    "rows that raise": Group(raising_rows),
    "rows that hang": Group(hanging_rows, jobs=6),  # they wait more than they work
    "S3": Group(s3_faults.s3_faults, why_not=s3_faults.why_not),
    "Ray workers": Group(ray_workers, in_short=False),  # tests/cluster
    "Ray nodes": Group(ray_nodes, in_short=False),
    "loops": Group(loops, in_short=False),  # tests/faults/test_loop_killed.py
}
