"""Quarantine files: what they hold, files of older versions, and replacing them by a later verdict."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from storage.commit import UnitCommit
from storage.errors import CommitConflictError, ShardError
from storage.manifest import manifest_versions, publish_manifest, read_manifest
from storage.object_store import ObjectStore, open_store
from storage.quarantine import QuarantinedRow, count_whole_rows, read_quarantine
from storage.reader import Dataset
from storage.writer import UnitWriter
from tests.unit.storage.samples import SKELETON, make_pairs

WHOLE = QuarantinedRow("a.parquet", 7, "ValueError: bad", "augment", "Traceback", '{"x": 1}', unit_row=7)
PART = QuarantinedRow("b.bvh: b", 12, "jump", "import")


def commit(store: ObjectStore, run_id: str, *rows: QuarantinedRow, pairs: int = 0) -> UnitCommit:
    """Unit "u" of a run."""
    with UnitWriter(store, run_id, "u", SKELETON) as writer:
        writer.add_pairs(make_pairs(pairs, seed=len(run_id)))
        writer.quarantine(rows)
        return writer.commit()


def quarantine_paths(store: ObjectStore) -> list[str]:
    return [file.path for file in read_manifest(store).files_of("quarantine")]


def test_rows_name_the_unit_that_left_them_out(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    publish_manifest(store, "run", [commit(store, "run", WHOLE, PART)], SKELETON)
    whole, part = Dataset.open(tmp_path).quarantined_rows()
    assert whole.unit_key == part.unit_key == ("run", "u")
    assert (whole.unit_row, part.unit_row) == (7, None)
    assert count_whole_rows([whole, part]) == 1


def test_a_file_without_the_later_columns_is_read(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    entry = commit(store, "run", WHOLE).files[0]
    table = pq.read_table(tmp_path / entry.path).drop_columns(["run_id", "unit_id", "unit_row"])
    pq.write_table(table, tmp_path / "old.parquet")
    assert read_quarantine(store, "old.parquet")[0].unit_key == ("", "")
    pq.write_table(table.drop_columns(["reason"]), tmp_path / "no.parquet")
    with pytest.raises(ShardError, match=r"no\.parquet: wanted a quarantine file"):
        read_quarantine(store, "no.parquet")


def test_a_later_verdict_replaces_the_file_and_keeps_the_old_version(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    publish_manifest(store, "run", [commit(store, "run", WHOLE, PART)], SKELETON)
    old = quarantine_paths(store)
    later = commit(store, "again", PART, pairs=5)
    second = publish_manifest(store, "again", [later], SKELETON, replaces=old)
    assert (second.rows, second.quarantined) == (5, 1)
    assert [row.reason for row in Dataset.open(tmp_path).quarantined_rows()] == ["jump"]
    assert len(list(Dataset.open(tmp_path, version=1).quarantined_rows())) == 2
    assert publish_manifest(store, "again", [later], SKELETON, replaces=old) == second


def test_rows_are_settled_once(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    publish_manifest(store, "run", [commit(store, "run", WHOLE)], SKELETON)
    old = quarantine_paths(store)
    publish_manifest(store, "one", [commit(store, "one", pairs=1)], SKELETON, replaces=old)
    with pytest.raises(CommitConflictError, match="another retry has settled its rows"):
        publish_manifest(store, "two", [commit(store, "two", pairs=1)], SKELETON, replaces=old)
    assert manifest_versions(store) == [1, 2]


def test_only_quarantine_files_are_replaced(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    first = publish_manifest(store, "run", [commit(store, "run", pairs=3)], SKELETON)
    with pytest.raises(CommitConflictError, match="wanted to replace the quarantine file pairs/"):
        publish_manifest(store, "x", [commit(store, "x")], SKELETON, replaces=[first.files[0].path])
