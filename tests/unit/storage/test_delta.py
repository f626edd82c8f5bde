"""A dataset as a Delta table: committed files only, one table version per dataset version."""

import json
from pathlib import Path

import numpy as np
import pytest

from storage import delta
from storage.delta import CONFIGURATION, read_delta_log, register_delta
from storage.errors import CommitConflictError, DatasetError, ShardError
from storage.manifest import publish_manifest, read_manifest
from storage.object_store import ObjectStore, open_store
from storage.reader import Dataset
from tests.unit.storage.samples import SKELETON, commit_pairs, make_pairs

deltalake = pytest.importorskip("deltalake")


def publish(store: ObjectStore, unit: str, rows: int = 20, seed: int = 0, **extra: np.ndarray) -> None:
    commit = commit_pairs(store, make_pairs(rows, seed, **extra), unit)
    publish_manifest(store, "run", [commit], SKELETON)


def files_of(table: object) -> set[str]:
    return {path.rpartition("/")[2] for path in table.file_uris()}  # pyright: ignore[reportAttributeAccessIssue]


def named(store: ObjectStore, version: int | None = None) -> set[str]:
    return {entry.path.rpartition("/")[2] for entry in read_manifest(store, version).files_of("pairs")}


def test_every_version_is_a_delta_version_and_again_adds_what_is_new(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    publish(store, "a")
    publish(store, "b", seed=1)
    first = register_delta(store)
    assert (first.added_versions, first.added_files, first.table_version, first.dataset_version) == (
        2,
        2,
        1,
        2,
    )
    assert register_delta(store).added_versions == 0
    publish(store, "c", seed=2)
    again = register_delta(store)
    assert (again.added_versions, again.added_files, again.table_version, again.dataset_version) == (
        1,
        1,
        2,
        3,
    )
    for version in (1, 2, 3):
        table = deltalake.DeltaTable(again.table_url, version=version - 1)
        assert files_of(table) == named(store, version)
        assert table.to_pyarrow_table(columns=["sample_id"]).num_rows == 20 * version
    assert [entry["posemillVersion"] for entry in deltalake.DeltaTable(again.table_url).history()] == [
        3,
        2,
        1,
    ]


def test_what_no_manifest_names_is_not_in_the_table(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    publish(store, "a")
    commit_pairs(store, make_pairs(30, 5), "orphan")  # committed, never published
    done = register_delta(store)
    assert len(list((tmp_path / "pairs").glob("*.parquet"))) == 2
    assert files_of(deltalake.DeltaTable(done.table_url)) == named(store)


def test_rows_come_out_as_they_are(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    flags = np.arange(40, dtype=np.uint8).reshape(20, 2)
    publish(store, "a", part=np.full(20, "x", object), flags=flags, big=np.ones(20, np.uint64))
    table = deltalake.DeltaTable(register_delta(store).table_url)
    rows = table.to_pyarrow_table()
    pairs = Dataset.open(tmp_path).read_pairs()
    assert "big" not in rows.column_names  # Delta has no such type
    got = np.stack(rows["joints_camera_m"].to_numpy()).reshape(-1, 17, 3)
    np.testing.assert_array_equal(got, pairs.joints_camera_m)
    np.testing.assert_array_equal(np.stack(rows["flags"].to_numpy()), flags)
    assert rows["part"].to_pylist() == ["x"] * 20
    query = deltalake.QueryBuilder().register("pairs", table)
    answer = query.execute("select sum(flags[2]) as n from pairs where sample_id >= 15").read_all()
    assert answer["n"][0].as_py() == flags[15:, 1].sum()


def test_statistics_let_readers_skip_files(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    publish(store, "a", seed=3)
    register_delta(store)
    actions = map(json.loads, (tmp_path / f"pairs/_delta_log/{0:020d}.json").read_text().splitlines())
    (action,) = [action["add"] for action in actions if "add" in action]
    statistics = json.loads(action["stats"])
    assert statistics["numRecords"] == 20
    assert (statistics["minValues"]["sample_id"], statistics["maxValues"]["sample_id"]) == (
        3_000_000,
        3_000_019,
    )
    assert statistics["minValues"]["clip"] == statistics["maxValues"]["clip"] == "clip0"
    assert action["tags"]["sha256"] == read_manifest(store).files_of("pairs")[0].sha256


def test_new_columns_widen_the_table_and_other_types_are_refused(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    publish(store, "a")
    register_delta(store)
    publish(store, "b", seed=1, score=np.zeros(20, np.float32))
    done = register_delta(store)
    score = deltalake.DeltaTable(done.table_url).to_pyarrow_table(columns=["score"])["score"]
    assert score.null_count == 20
    publish(store, "c", seed=2, score=np.zeros(20, np.int32))
    with pytest.raises(
        DatasetError, match="column 'score' is float in the Delta table and integer in a new file"
    ):
        register_delta(store)


def test_a_race_is_lost_without_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(tmp_path)
    publish(store, "a")
    publish(store, "b", seed=1)
    put, calls = delta.put_delta_version, []

    def beaten(*arguments: object) -> bool:
        calls.append(arguments)
        if len(calls) == 1:
            register_delta(store)  # another process is quicker, with both versions
        return put(*arguments)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(delta, "put_delta_version", beaten)
    done = register_delta(store)
    assert (done.table_version, done.dataset_version, done.added_versions) == (1, 2, 0)
    assert files_of(deltalake.DeltaTable(done.table_url)) == named(store)
    publish(store, "c", seed=2)
    monkeypatch.setattr(delta, "put_delta_version", lambda *_: False)
    with pytest.raises(CommitConflictError, match="other writers won 100 times"):
        register_delta(store)


def test_an_answer_that_was_lost_is_not_a_race_that_was_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(tmp_path)
    publish(store, "a")
    put = store.put_if_absent
    monkeypatch.setattr(store, "put_if_absent", lambda path, data: put(path, data) and False)
    assert register_delta(store).added_versions == 1
    assert read_delta_log(store, "pairs").registered == 1


def test_other_writers_of_the_table_are_respected(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    publish(store, "a")
    table = deltalake.DeltaTable(register_delta(store).table_url)
    table.delete("sample_id < 5")
    publish(store, "b", seed=1)
    done = register_delta(store)
    table = deltalake.DeltaTable(done.table_url)
    assert (table.version(), done.added_files) == (2, 1)
    assert table.to_pyarrow_table(columns=["sample_id"]).num_rows == 35
    assert Dataset.open(tmp_path).read_pairs().sample_id.size == 40  # the dataset itself is not touched
    removed = table.vacuum(retention_hours=None, dry_run=False, enforce_retention_duration=True)
    assert removed == []
    assert Dataset.open(tmp_path).read_pairs().sample_id.size == 40
    assert table.metadata().configuration == CONFIGURATION


def test_logs_that_cannot_be_continued_are_refused(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    publish(store, "a")
    log = tmp_path / "pairs/_delta_log"
    register_delta(store)
    first = log / f"{0:020d}.json"
    text = first.read_text()
    first.write_text(text.replace('"minWriterVersion":2', '"minWriterVersion":7'))
    with pytest.raises(DatasetError, match="asks for Delta writer version 7"):
        register_delta(store)
    first.write_text("not json\n")
    with pytest.raises(DatasetError, match="wanted a JSON object a line"):
        register_delta(store)
    first.rename(log / f"{3:020d}.json")
    (log / f"{3:020d}.json").write_text('{"commitInfo":{}}\n')
    with pytest.raises(DatasetError, match="wanted a log back to version 0, got 3 to 3"):
        register_delta(store)


def test_a_file_that_is_not_its_manifests_is_not_registered(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    publish(store, "a")
    victim = next((tmp_path / "pairs").glob("*.parquet"))
    victim.write_bytes(victim.read_bytes()[:-7])
    with pytest.raises(ShardError, match="in the manifest"):
        register_delta(store)
    assert not (tmp_path / "pairs/_delta_log").exists()
    with pytest.raises(DatasetError):
        register_delta(open_store(tmp_path / "nothing"))
