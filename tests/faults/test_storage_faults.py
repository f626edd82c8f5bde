"""Kills and races against real processes: nothing half-written is ever seen, nothing is committed twice."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from storage.commit import list_commits, read_commit
from storage.manifest import publish_manifest, read_manifest
from storage.object_store import open_store
from storage.reader import Dataset
from storage.verify import verify_dataset
from tests.unit.storage.samples import SKELETON, commit_pairs, make_clip, make_pairs

REPOSITORY = Path(__file__).resolve().parents[2]

KILLED_WRITER = """
import os, signal, sys
from storage import {module}
from storage.object_store import open_store
from storage.writer import UnitWriter
from tests.unit.storage.samples import SKELETON, make_clip, make_pairs

def die(*arguments, **options):
    os.kill(os.getpid(), signal.SIGKILL)

{module}.{target} = die
with UnitWriter(open_store(sys.argv[1]), "run", "unit", SKELETON, row_group_rows=32) as writer:
    writer.add_pairs(make_pairs(100))
    writer.add_clips([make_clip(20)])
    writer.commit()
"""


@pytest.mark.parametrize(
    ("module", "target"),
    [
        ("writer", "put_commit"),  # all data written, no commit
        ("local_store", "os.link"),  # the commit is a temporary file
        ("sequences", "write_sequences"),  # pairs written, clips not
        ("local_store", "os.replace"),  # a finished file in the scratch folder
        ("pairs_file", "PairsFile.close"),  # rows without a footer
    ],
)
def test_a_writer_killed_before_its_commit_leaves_nothing_visible(
    tmp_path: Path, module: str, target: str
) -> None:
    script = KILLED_WRITER.format(module=module, target=target)
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path)], env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    store = open_store(tmp_path)
    assert read_commit(store, "run", "unit") is None
    publish_manifest(store, "run", list_commits(store, "run"), SKELETON)
    assert Dataset.open(tmp_path).n_pairs == 0

    again = commit_pairs(store, make_pairs(100), row_group_rows=32)
    publish_manifest(store, "run", [again], SKELETON)
    dataset = Dataset.open(tmp_path)
    assert len(dataset.read_pairs()) == 100
    assert verify_dataset(dataset).is_sound


def _commit_and_publish(root: str, number: int, start: float) -> None:
    """One racing process: all write the same unit and one of their own, and publish both."""
    store = open_store(root)
    time.sleep(max(0.0, start - time.time()))
    shared = commit_pairs(store, make_pairs(50, seed=99), "shared", writer_id=f"writer{number}")
    own = commit_pairs(store, make_pairs(20, seed=number), f"own{number}", writer_id=f"writer{number}")
    publish_manifest(store, "run", [shared, own], SKELETON)


def test_racing_processes_commit_every_unit_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    start = time.time() + 0.5
    workers = [
        context.Process(target=_commit_and_publish, args=(str(tmp_path), number, start))
        for number in range(6)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    store = open_store(tmp_path)
    commits = list_commits(store, "run")
    assert sorted(commit.unit_id for commit in commits) == [*(f"own{n}" for n in range(6)), "shared"]
    manifest = read_manifest(store)
    assert len(manifest.commits) == 7
    dataset = Dataset.open(tmp_path)
    assert dataset.n_pairs == len(set(dataset.read_pairs().sample_id.tolist())) == 50 + 6 * 20
    assert verify_dataset(dataset).findings == ()


def test_a_full_disk_leaves_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    store = open_store(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(OSError, match="No space left"):
            commit_pairs(store, make_pairs(40))
    assert read_commit(store, "run", "unit") is None
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert commit_pairs(store, make_pairs(40)).rows == 40
    assert len(make_clip(3)) == 3
