"""Every reader of bytes from outside, on damaged seeds: our errors only, no crash, no hang.

Bounded and the same in every run; `make fuzz` goes on from the same seeds with coverage guidance.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.mutations import damage, mutated
from tests.fuzz.targets import TARGETS, survives

EXAMPLES = int(os.environ.get("POSEMILL_FUZZ_EXAMPLES", "40"))
"""Per target; `make fuzz` asks for more, and then for other ones in every run."""
HANG_S = 20

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")


@contextmanager
def no_hang() -> Iterator[None]:
    """Fails when its body takes longer than any small input may."""

    def too_long(_: int, __: FrameType | None) -> None:
        raise AssertionError(f"a small input takes more than {HANG_S} s")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(HANG_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_are_read(name: str) -> None:
    for seed in TARGETS[name].seeds():
        if name not in (
            "deepmimic",
            "npz_member",
        ):  # a figure of four joints, a dictionary as a clip: refused
            with np.errstate(all="ignore"):
                assert survives(TARGETS[name], seed)
        survives(TARGETS[name], seed)


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_input_meets_our_errors_only(name: str) -> None:
    target = TARGETS[name]
    seeds = target.seeds()

    @settings(
        max_examples=EXAMPLES, derandomize="POSEMILL_FUZZ_EXAMPLES" not in os.environ, deadline=None, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.integers(0, len(seeds) - 1), damage())
    def run(which: int, steps: list[tuple[str, float, float, int]]) -> None:
        with no_hang():
            survives(target, mutated(seeds[which], steps))

    run()


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize(
    "data", [b"", b"\x00", b"\xff" * 64, b"[" * 50_000, b'{"a":' * 50_000, b"9" * 6000, b"\n" * 999]
)
def test_nonsense_meets_our_errors_only(name: str, data: bytes) -> None:
    with no_hang():
        assert not survives(TARGETS[name], data)
