"""The store on an S3 endpoint that answers 500 and 503, late, half, or not at all after writing."""

import time
from collections.abc import Iterator

import pytest

from storage.errors import StoreError, StoreUnavailableError
from storage.object_store import ObjectStore, open_store
from storage.retries import StoreRetries
from tests.faults import faulty_s3 as s3faults
from tests.faults.faulty_s3 import FaultyS3, at, faulty_s3, no_faults

pytest.importorskip("s3fs", reason="pip install 'posemill[s3,dev]' to test on S3")
pytest.importorskip("moto", reason="pip install 'posemill[s3,dev]' to test on S3")

QUICK = StoreRetries(attempts=6, deadline_s=20, first_wait_s=0.01, longest_wait_s=0.05, request_timeout_s=0.5)


@pytest.fixture(scope="module")
def s3() -> Iterator[FaultyS3]:
    with faulty_s3() as endpoint:
        yield endpoint


@pytest.fixture
def store(s3: FaultyS3, request: pytest.FixtureRequest) -> Iterator[ObjectStore]:
    """A store whose conditional write was tried before the plan begins."""
    s3.plan = no_faults
    opened = open_store(f"{s3.url}/{abs(hash(request.node.name))}", QUICK)
    opened.put_if_absent("first", b"")
    yield opened
    s3.plan = no_faults


PASSING = {
    "500": s3faults.INTERNAL_ERROR,
    "503": s3faults.SLOW_DOWN,
    "409": s3faults.CONFLICT,
    "cut": s3faults.CUT,
    "lost": s3faults.LOST_ANSWER,
    "late": s3faults.late(1.2),
}


@pytest.mark.parametrize("name", PASSING)
def test_a_passing_fault_of_a_conditional_write_is_no_lost_race(
    s3: FaultyS3, store: ObjectStore, name: str
) -> None:
    s3.plan = at({1: PASSING[name], 2: PASSING[name]}, "PUT")
    assert store.put_if_absent("commits/u.json", b"mine")
    assert not store.put_if_absent("commits/u.json", b"another's")
    assert len(s3.requests("PUT")) == 4
    assert store.read_bytes("commits/u.json") == b"mine"


def test_a_lost_answer_to_a_write_that_lost_the_race_stays_lost(s3: FaultyS3, store: ObjectStore) -> None:
    assert store.put_if_absent("commits/u.json", b"another's")
    s3.plan = at({1: s3faults.LOST_ANSWER}, "PUT")
    assert not store.put_if_absent("commits/u.json", b"mine")


@pytest.mark.parametrize("name", [*(name for name in PASSING if name != "409"), "half"])
def test_reads_lists_and_writes_get_over_passing_faults(s3: FaultyS3, store: ObjectStore, name: str) -> None:
    fault = {**PASSING, "half": s3faults.HALF_ANSWER}[name]
    store.write_bytes("pairs/a", b"0123456789" * 50_000)
    for call, wanted in (
        (lambda: store.read_bytes("pairs/a"), b"0123456789" * 50_000),
        (lambda: store.list("pairs"), ["pairs/a"]),
        (lambda: store.exists("pairs/a"), True),
        (lambda: store.exists("pairs/b"), False),
        (lambda: store.size_bytes("pairs/a"), 500_000),
        (lambda: store.open_input("pairs/a").read_at(10, 499_990), b"0123456789"),
        (lambda: store.write_bytes("pairs/c", b"x"), None),
        (lambda: store.delete("pairs/c"), None),
    ):
        s3.plan = at({1: fault})
        assert call() == wanted
        assert s3.seen[0][1] == fault


def test_a_store_that_stays_down_ends_in_an_error_that_says_what_to_do(
    s3: FaultyS3, store: ObjectStore
) -> None:
    s3.plan = s3faults.always(s3faults.SLOW_DOWN)
    with pytest.raises(StoreUnavailableError, match=r"manifests/v1: cannot read: asked 6 times.*SlowDown"):
        store.read_bytes("manifests/v1")
    assert len(s3.seen) == 6
    with pytest.raises(StoreUnavailableError, match="run again: what is committed stays"):
        store.put_if_absent("commits/u.json", b"x")


def test_the_deadline_ends_it_before_the_attempts_do(s3: FaultyS3, store: ObjectStore) -> None:
    s3.plan = s3faults.always(s3faults.late(5.0), "GET")
    patient = QUICK.model_copy(update={"attempts": 100, "deadline_s": 1.5})
    start = time.monotonic()
    with pytest.raises(StoreUnavailableError, match=r"cannot read: asked \d times"):
        open_store(store.url, patient).read_bytes("first")
    assert time.monotonic() - start < 4


def test_a_final_answer_is_not_asked_for_again(s3: FaultyS3, store: ObjectStore) -> None:
    s3.plan = s3faults.always(s3faults.FORBIDDEN)
    with pytest.raises(StoreError, match=r"cannot write: 403 AccessDenied.*check the credentials"):
        store.write_bytes("a", b"x")
    assert len(s3.seen) == 1
    s3.plan = no_faults
    with pytest.raises(StoreError, match="there is no such file"):
        store.read_bytes("gone")
    assert len(s3.seen) == 1
