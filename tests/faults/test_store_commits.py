"""The commit protocol on S3 while answers are lost, writers race, and readers look on."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import pytest

from storage.commit import commit_path, list_commits
from storage.errors import StoreUnavailableError
from storage.garbage import GarbageSettings, collect_garbage
from storage.manifest import manifest_versions, publish_manifest, read_manifest
from storage.object_store import ObjectStore, open_store
from storage.reader import Dataset
from storage.verify import verify_dataset
from storage.writer import UnitWriter
from tests.faults.faulty_s3 import (
    BUCKET,
    LOST_ANSWER,
    SLOW_DOWN,
    FaultyS3,
    always,
    at,
    at_rate,
    faulty_s3,
    no_faults,
)
from tests.unit.storage.samples import SKELETON, commit_pairs, make_clip, make_pairs

pytest.importorskip("s3fs", reason="pip install 'posemill[s3,dev]' to test on S3")
pytest.importorskip("moto", reason="pip install 'posemill[s3,dev]' to test on S3")

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def s3() -> Iterator[FaultyS3]:
    with faulty_s3() as endpoint:
        yield endpoint


@pytest.fixture
def store(s3: FaultyS3, request: pytest.FixtureRequest) -> Iterator[ObjectStore]:
    s3.plan = no_faults
    yield open_store(f"{s3.url}/{abs(hash(request.node.name))}")
    s3.plan = no_faults


def test_lost_answers_are_not_lost_races(s3: FaultyS3, store: ObjectStore) -> None:
    s3.plan = always_first(LOST_ANSWER)
    commit = commit_pairs(store, make_pairs(20), writer_id="me")
    assert commit.writer_id == "me"
    manifest = publish_manifest(store, "run", [commit], SKELETON)
    assert (manifest.version, manifest_versions(store)) == (1, [1])
    assert len(s3.requests("PUT", "commits")) == len(s3.requests("PUT", "manifests")) == 2


def always_first(fault: object) -> object:
    """The fault at the first PUT of every path."""
    seen: set[str] = set()

    def plan(request: object) -> object:
        path = request.path  # type: ignore[attr-defined]
        if request.method != "PUT" or path in seen:  # type: ignore[attr-defined]
            return None
        seen.add(path)
        return fault

    return plan


@pytest.mark.parametrize("seed", [1])
def test_a_third_of_all_answers_is_faulty(
    s3: FaultyS3, store: ObjectStore, tmp_path: Path, seed: int
) -> None:
    """The same rows and the same files as an undisturbed run."""
    plain, wanted = open_store(tmp_path), []
    for target, commits in ((plain, wanted), (store, got := [])):
        s3.plan = no_faults if target is plain else at_rate(seed, 0.33)
        for unit in range(2):
            with UnitWriter(target, "run", f"u{unit}", SKELETON, row_group_rows=64) as writer:
                writer.add_pairs(make_pairs(100, seed=unit))
                writer.add_clips([make_clip(20, seed=unit)])
                commits.append(writer.commit())
        publish_manifest(target, "run", commits, SKELETON)
    dataset = Dataset.open(store.url)
    assert [commit.files for commit in got] == [commit.files for commit in wanted]
    assert dataset.manifest.files == Dataset.open(tmp_path).manifest.files
    assert verify_dataset(dataset).findings == ()
    assert sum(fault is not None for _, fault in s3.seen) > 5


def test_a_unit_that_could_not_commit_is_simply_not_there(s3: FaultyS3, store: ObjectStore) -> None:
    first = commit_pairs(store, make_pairs(10, seed=1), "a")
    publish_manifest(store, "run", [first], SKELETON)
    s3.plan = always(SLOW_DOWN, "PUT", "commits")
    with pytest.raises(StoreUnavailableError, match="SlowDown"):
        commit_pairs(store, make_pairs(10, seed=2), "b")
    s3.plan = no_faults
    assert [commit.unit_id for commit in list_commits(store, "run")] == ["a"]
    assert len(store.list("pairs")) == 2
    again = commit_pairs(store, make_pairs(10, seed=2), "b")
    assert publish_manifest(store, "run", [again], SKELETON).rows == 20


def test_racing_threads_publish_every_commit_once(s3: FaultyS3, store: ObjectStore) -> None:
    def work(number: int) -> None:
        shared = commit_pairs(store, make_pairs(10, seed=99), "shared", writer_id=f"w{number}")
        own = commit_pairs(store, make_pairs(5, seed=number), f"own{number}", writer_id=f"w{number}")
        publish_manifest(store, "run", [shared, own], SKELETON)

    s3.plan = at_rate(5, 0.1)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(6)))
    s3.plan = no_faults
    manifest = read_manifest(store)
    assert len(manifest.commits) == 7
    assert manifest.rows == 10 + 6 * 5
    assert manifest.version == len(manifest_versions(store)) <= 6


RACER = """
import sys
from storage.manifest import publish_manifest
from storage.object_store import open_store
from tests.unit.storage.samples import SKELETON, commit_pairs, make_pairs

store, number = open_store(sys.argv[1]), int(sys.argv[2])
store.put_if_absent(f"ready/{number}", b"")
while len(store.list("ready")) < 2:
    pass
for unit in range(4):
    shared = commit_pairs(store, make_pairs(5, seed=unit), f"shared{unit}", writer_id=f"w{number}")
    publish_manifest(store, "run", [shared], SKELETON)
"""


def test_racing_processes_publish_every_commit_once(s3: FaultyS3, store: ObjectStore) -> None:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    racers = [
        subprocess.Popen([sys.executable, "-c", RACER, store.url, str(number)], env=environment)
        for number in range(2)
    ]
    assert [racer.wait(120) for racer in racers] == [0, 0]
    manifest = read_manifest(store)
    assert manifest.commits == tuple(f"run/shared{unit}" for unit in range(4))
    assert manifest.rows == 20
    winners = {commit.writer_id for commit in list_commits(store, "run")}
    assert winners <= {"w0", "w1"}
    assert verify_dataset(Dataset.open(store.url)).findings == ()


@pytest.mark.parametrize("remote", [False, True], ids=["local", "s3"])
def test_a_reader_never_sees_half_a_version(
    s3: FaultyS3, store: ObjectStore, tmp_path: Path, remote: bool
) -> None:
    target = store if remote else open_store(tmp_path)
    publish_manifest(target, "run", [commit_pairs(target, make_pairs(10, seed=0), "u0")], SKELETON)
    s3.plan = at_rate(9, 0.1)
    ended, seen = threading.Event(), []

    def look() -> None:
        while not ended.is_set():
            dataset = Dataset.open(target.url)
            rows = len(dataset.read_pairs())
            assert rows == dataset.n_pairs == 10 * dataset.manifest.version
            seen.append(dataset.manifest.version)

    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(look)
        for unit in range(1, 4):
            publish_manifest(
                target, "run", [commit_pairs(target, make_pairs(10, seed=unit), f"u{unit}")], SKELETON
            )
        ended.set()
        reader.result(60)
    assert seen == sorted(seen)
    assert Dataset.open(target.url).n_pairs == 40


def test_garbage_on_s3_goes_by_the_clock_of_the_store(s3: FaultyS3, store: ObjectStore) -> None:
    kept = commit_pairs(store, make_pairs(10, seed=1), "a")
    publish_manifest(store, "run", [kept], SKELETON)
    with UnitWriter(store, "run", "dead", SKELETON) as writer:
        writer.add_pairs(make_pairs(5, seed=2))
        writer.add_clips([make_clip(10)])
        dead = {file.path for file in writer.commit().files}
    store.delete(commit_path("run", "dead"))
    assert collect_garbage(store, GarbageSettings(lease_h=1)).garbage == ()
    client = fsspec.filesystem("s3", endpoint_url=s3.endpoint_url)
    key = f"{store.url.removeprefix(f's3://{BUCKET}/')}/pairs/{'a' * 24}.parquet"
    client.call_s3("create_multipart_upload", Bucket=BUCKET, Key=key)
    client.call_s3("create_multipart_upload", Bucket=BUCKET, Key="elsewhere/pairs/x.parquet")
    time.sleep(1.1)  # times on S3 are whole seconds
    s3.plan = at({2: SLOW_DOWN, 5: LOST_ANSWER})
    report = collect_garbage(store, GarbageSettings(lease_h=0))
    assert {item.path for item in report.garbage if item.kind == "unnamed"} == dead
    assert [item.path for item in report.garbage if item.kind == "upload"] == [f"pairs/{'a' * 24}.parquet"]
    assert len(client.list_multipart_uploads(BUCKET)) == 1
    assert store.list("sequences") == []
    assert verify_dataset(Dataset.open(store.url)).findings == ()
