import os
import time
from pathlib import Path

import pytest

from storage import garbage
from storage.commit import commit_path
from storage.errors import CommitConflictError, DatasetError, ManifestError
from storage.garbage import GarbageSettings, collect_garbage, find_garbage
from storage.local_store import LocalStore
from storage.manifest import publish_manifest
from storage.object_store import ObjectStore, open_store
from storage.reader import Dataset
from storage.verify import verify_dataset
from storage.writer import UnitWriter
from tests.unit.storage.samples import SKELETON, commit_pairs, make_clip, make_pairs

HOUR_S = 3600.0
DAY = GarbageSettings(lease_h=24)


def aged(root: Path, hours: float) -> None:
    """Every file below a folder as if it had been written so long ago."""
    then = time.time() - hours * HOUR_S
    for path in root.rglob("*"):
        if path.is_file():
            os.utime(path, (then, then))


def orphan(store: ObjectStore, seed: int) -> str:
    """The file of an attempt that died before its commit."""
    commit = commit_pairs(store, make_pairs(5, seed=seed), f"dead{seed}")
    store.delete(commit_path("run", f"dead{seed}"))
    return commit.files[0].path


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    """Two versions with clips, quarantine-free, and a unit that is committed but not published."""
    store = open_store(tmp_path / "dataset")
    publish_manifest(store, "run", [commit_pairs(store, make_pairs(10, seed=1), "a")], SKELETON)
    with UnitWriter(store, "run", "b", SKELETON) as writer:
        writer.add_pairs(make_pairs(10, seed=2))
        writer.add_clips([make_clip(20)])
        publish_manifest(store, "run", [writer.commit()], SKELETON)
    commit_pairs(store, make_pairs(10, seed=3), "unpublished")
    return store


def test_only_old_files_without_a_name_go(store: ObjectStore, tmp_path: Path) -> None:
    old = orphan(store, 7)
    aged(tmp_path, 25)
    young = orphan(store, 8)
    before = set(store.list(""))
    report = collect_garbage(store, DAY)
    assert [item.path for item in report.garbage] == [old]
    assert [item.path for item in report.young] == [young]
    assert set(store.list("")) == before - {old}
    assert report.bytes > 0
    for version in (1, 2):
        assert verify_dataset(Dataset.open(store.url, version)).findings == ()


def test_what_an_old_version_or_a_dead_run_names_stays(store: ObjectStore, tmp_path: Path) -> None:
    aged(tmp_path, 10_000)
    assert collect_garbage(store, GarbageSettings(lease_h=0)).garbage == ()
    assert len(store.list("pairs")) == 3


def test_a_dry_run_removes_nothing(store: ObjectStore, tmp_path: Path) -> None:
    orphan(store, 7)
    aged(tmp_path, 25)
    before = store.files("", hidden=True)
    report = find_garbage(store, DAY, time.time())
    assert (len(report.garbage), report.removed) == (1, False)
    assert store.files("", hidden=True) == before


def test_temporary_files_and_folders_of_dead_writers_go(store: ObjectStore, tmp_path: Path) -> None:
    root = tmp_path / "dataset"
    (root / ".scratch" / "0123").mkdir(parents=True)
    (root / ".scratch" / "0123" / "pairs0.parquet").write_bytes(b"half")
    (root / "commits" / "run" / f".u.json.{'a' * 32}.tmp").write_bytes(b"half")
    (root / ".git").mkdir()
    (root / ".git" / "config").write_bytes(b"the user's")
    aged(root, 25)
    (root / ".scratch" / "4567").mkdir()
    (root / ".scratch" / "4567" / "pairs0.parquet").write_bytes(b"at work")
    report = collect_garbage(store, DAY)
    assert {item.kind for item in report.garbage} == {"temporary"}
    left = {str(path.relative_to(root)) for path in root.rglob(".*/**/*") if path.is_file()}
    assert left == {".git/config", ".scratch/4567/pairs0.parquet"}
    assert not list(root.rglob("*.tmp"))


def test_a_sequence_folder_goes_as_a_whole(store: ObjectStore, tmp_path: Path) -> None:
    with UnitWriter(store, "run", "dead", SKELETON) as writer:
        writer.add_clips([make_clip(30, key="other", seed=5)])
        path = writer.commit().files[0].path
    store.delete(commit_path("run", "dead"))
    aged(tmp_path, 25)
    (garbage_item,) = collect_garbage(store, DAY).garbage
    assert (garbage_item.path, garbage_item.files > 2) == (path, True)
    assert not (tmp_path / "dataset" / path).exists()
    assert len(store.list("sequences")) > 0


def test_one_young_file_keeps_its_folder(store: ObjectStore, tmp_path: Path) -> None:
    with UnitWriter(store, "run", "dead", SKELETON) as writer:
        writer.add_clips([make_clip(30, key="other", seed=5)])
        path = writer.commit().files[0].path
    store.delete(commit_path("run", "dead"))
    aged(tmp_path, 25)
    os.utime(next(file for file in (tmp_path / "dataset" / path).rglob("*") if file.is_file()))
    report = collect_garbage(store, DAY)
    assert (report.garbage, [item.path for item in report.young]) == ((), [path])


def test_writing_the_same_bytes_again_makes_them_young(store: ObjectStore, tmp_path: Path) -> None:
    """An old orphan that a new attempt is about to commit is that attempt's file now."""
    for seed in (7, 8):
        orphan(store, seed)
    with UnitWriter(store, "run", "dead", SKELETON) as writer:
        writer.add_clips([make_clip(30, key="other", seed=5)])
        writer.commit()
    store.delete(commit_path("run", "dead"))
    aged(tmp_path, 25)
    again = orphan(store, 7)
    with UnitWriter(store, "run", "dead", SKELETON) as writer:
        writer.add_clips([make_clip(30, key="other", seed=5)])
        folder = writer.commit().files[0].path
    store.delete(commit_path("run", "dead"))
    report = collect_garbage(store, DAY)
    assert len(report.garbage) == 1
    assert {again, folder} == {item.path for item in report.young}


def test_a_file_that_is_written_again_while_garbage_is_listed_stays(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = orphan(store, 7)
    aged(tmp_path, 25)
    look = garbage._named

    def meanwhile(looked_at: ObjectStore) -> object:
        found = look(looked_at)
        commit_pairs(looked_at, make_pairs(5, seed=7), "late")
        return found

    monkeypatch.setattr(garbage, "_named", meanwhile)
    assert collect_garbage(store, DAY).garbage == ()
    assert store.exists(path)


def test_a_commit_that_comes_too_late_is_told(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A unit that takes longer than the lease: its files are old before it commits."""
    late = commit_pairs(store, make_pairs(5, seed=7), "late")
    data = store.read_bytes(commit_path("run", "late"))
    store.delete(commit_path("run", "late"))
    aged(tmp_path, 25)
    delete = LocalStore.delete

    def then_commits(self: LocalStore, path: str) -> None:
        delete(self, path)
        self.put_if_absent(commit_path("run", "late"), data)

    monkeypatch.setattr(LocalStore, "delete", then_commits)
    with pytest.raises(CommitConflictError, match=r"'late'.*Delete commits/run/late\.json"):
        collect_garbage(store, DAY)
    assert not store.exists(late.files[0].path)


def test_files_that_are_not_ours_stay_and_are_told(store: ObjectStore, tmp_path: Path) -> None:
    store.write_bytes("pairs/notes.txt", b"x")
    store.write_bytes("pairs/mine.parquet", b"x")
    aged(tmp_path, 10_000)
    report = collect_garbage(store, GarbageSettings(lease_h=0))
    assert report.unknown == ("pairs/mine.parquet", "pairs/notes.txt")
    assert store.exists("pairs/notes.txt")


@pytest.mark.parametrize("path", ["commits/run/a.json", "manifests/v000001.json"])
def test_nothing_goes_when_a_commit_or_version_cannot_be_read(
    store: ObjectStore, tmp_path: Path, path: str
) -> None:
    orphan(store, 7)
    store.write_bytes(path, b"{}")
    aged(tmp_path, 25)
    before = store.list("")
    with pytest.raises(ManifestError, match="not a"):
        collect_garbage(store, DAY)
    assert store.list("") == before


def test_a_folder_that_is_no_dataset_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "pairs").mkdir()
    file = tmp_path / "pairs" / f"{'a' * 24}.parquet"
    file.write_bytes(b"someone's")
    aged(tmp_path, 10_000)
    with pytest.raises(DatasetError, match="nothing is removed"):
        collect_garbage(open_store(tmp_path), GarbageSettings(lease_h=0))
    assert file.exists()
