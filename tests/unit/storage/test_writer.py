from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from poses.batch import PoseBatch
from poses.skeleton import load_skeleton
from storage.commit import commit_path, list_commits, read_commit
from storage.errors import CommitConflictError, DatasetError, ManifestError, StoreError
from storage.local_store import LocalStore
from storage.manifest import publish_manifest
from storage.object_store import ObjectStore, open_store
from storage.quarantine import QuarantinedRow
from storage.reader import Dataset
from storage.writer import UnitWriter
from tests.unit.storage.samples import SKELETON, assert_same_pairs, commit_pairs, make_clip, make_pairs


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    batch = make_pairs(
        250,
        hardness=np.linspace(0, 1, 250, dtype=np.float32),
        offset_m=np.arange(750, dtype=np.float64).reshape(250, 3),
        valid=np.arange(250) % 2 == 0,
        tag=np.asarray([f"t{n}" for n in range(250)], dtype=object),
    )
    commit = commit_pairs(store, batch, row_group_rows=100)
    publish_manifest(store, "run", [commit], SKELETON)
    assert_same_pairs(Dataset.open(tmp_path).read_pairs(), batch)
    assert (commit.rows, commit.min_id, commit.max_id) == (250, 0, 249)
    assert commit.statistics.counts["action"] == {"action0": 100, "action1": 100, "action2": 50}


@given(st.lists(st.integers(1, 60), min_size=1, max_size=6))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_same_rows_give_the_same_bytes_in_any_portions(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int]
) -> None:
    rows = sum(cuts)
    batch = make_pairs(rows)
    whole = commit_pairs(
        LocalStore(tmp_path_factory.mktemp("whole")), batch, row_group_rows=32, max_file_rows=64
    )
    store = LocalStore(tmp_path_factory.mktemp("parts"))
    with UnitWriter(store, "run", "unit", SKELETON, row_group_rows=32, max_file_rows=64) as writer:
        edges = np.cumsum([0, *cuts]).tolist()
        for start, stop in pairwise(edges):
            writer.add_pairs(batch.take(slice(start, stop)))
        parts = writer.commit()
    assert parts.files == whole.files
    assert parts.statistics == whole.statistics
    assert [file.rows for file in whole.files] == [64] * (rows // 64) + ([rows % 64] if rows % 64 else [])


def test_file_names_are_made_of_their_content(tmp_path: Path) -> None:
    commit = commit_pairs(open_store(tmp_path), make_pairs(10))
    (file,) = commit.files
    assert file.path == f"pairs/{file.sha256[:24]}.parquet"
    assert (tmp_path / file.path).stat().st_size == file.bytes


def test_the_writer_copies_rows_that_the_caller_reuses(tmp_path: Path) -> None:
    store, batch = open_store(tmp_path), make_pairs(20)
    wanted = batch.joints_camera_m.copy()
    with UnitWriter(store, "run", "unit", SKELETON) as writer:
        writer.add_pairs(batch)
        batch.joints_camera_m[:] = 0
        publish_manifest(store, "run", [writer.commit()], SKELETON)
    np.testing.assert_array_equal(Dataset.open(tmp_path).read_pairs().joints_camera_m, wanted)


def test_committing_again_changes_nothing(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    first = commit_pairs(store, make_pairs(30, seed=1))
    second = commit_pairs(store, make_pairs(40, seed=2))
    assert second == first
    assert list_commits(store, "run") == [first]


def test_a_lost_answer_is_not_a_lost_race(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalStore(tmp_path)
    put = LocalStore.put_if_absent

    def loses_the_answer(self: LocalStore, path: str, data: bytes) -> bool:
        put(self, path, data)
        return put(self, path, data)

    monkeypatch.setattr(LocalStore, "put_if_absent", loses_the_answer)
    commit = commit_pairs(store, make_pairs(5), writer_id="me")
    assert commit.writer_id == "me"
    manifest = publish_manifest(store, "run", [commit], SKELETON)
    assert (manifest.version, manifest.rows) == (1, 5)


def _failing_stage(store: ObjectStore) -> None:
    with UnitWriter(store, "run", "unit", SKELETON, row_group_rows=8) as writer:
        writer.add_pairs(make_pairs(20))
        raise RuntimeError("the stage failed")


def test_leaving_without_a_commit_discards_everything(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with pytest.raises(RuntimeError, match="the stage failed"):
        _failing_stage(store)
    assert read_commit(store, "run", "unit") is None
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_rejections_and_quarantine_are_counted_and_kept(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    rows = [QuarantinedRow("07.bvh", 12, "jump of 3 m", "clean", "Traceback", '{"frame": 12}')]
    rows.append(QuarantinedRow("08.bvh", None, "empty file", "read"))
    with UnitWriter(store, "run", "unit", SKELETON) as writer:
        writer.reject("behind the camera", 3)
        writer.reject("behind the camera", 2)
        writer.reject("outside", 0)
        writer.quarantine(rows)
        commit = writer.commit()
    assert commit.rejected == {"behind the camera": 5}
    assert commit.quarantined == 2
    publish_manifest(store, "run", [commit], SKELETON)
    named = [replace(row, run_id="run", unit_id="unit") for row in rows]
    assert list(Dataset.open(tmp_path).quarantined_rows()) == named


def test_an_id_that_cannot_name_a_file_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="choose a shorter"):
        UnitWriter(open_store(tmp_path), "run", "x" * 300, SKELETON)


def test_an_empty_unit_is_committed(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with UnitWriter(store, "run", "unit", SKELETON) as writer:
        writer.add_pairs(PoseBatch.empty(SKELETON))
        commit = writer.commit()
    assert (commit.files, commit.rows, commit.min_id) == ((), 0, None)
    publish_manifest(store, "run", [commit], SKELETON)
    assert len(Dataset.open(tmp_path).read_pairs()) == 0


def test_rows_of_another_skeleton_are_refused(tmp_path: Path) -> None:
    with UnitWriter(open_store(tmp_path), "run", "unit", load_skeleton("h36m_16")) as writer:
        with pytest.raises(DatasetError, match=r"wanted rows of skeleton 'h36m_16', got 'h36m_17'"):
            writer.add_pairs(make_pairs(3))
        writer.add_clips([make_clip(5, key="walk")])
        with pytest.raises(DatasetError, match="clip 'walk'"):
            writer.commit()


def test_batches_with_other_columns_are_refused(tmp_path: Path) -> None:
    with UnitWriter(open_store(tmp_path), "run", "unit", SKELETON) as writer:
        writer.add_pairs(make_pairs(3))
        with pytest.raises(DatasetError, match="column 'hardness'"):
            writer.add_pairs(make_pairs(3, hardness=np.zeros(3, np.float32)))


@pytest.mark.parametrize(
    ("name", "values"),
    [("frame", np.zeros(3, np.float32)), ("z", np.zeros(3, np.complex64)), ("flags", np.zeros((3, 2), bool))],
)
def test_extra_columns_that_fit_no_column_are_refused(tmp_path: Path, name: str, values: np.ndarray) -> None:
    batch = make_pairs(3)
    with (
        UnitWriter(open_store(tmp_path), "run", "unit", SKELETON) as writer,
        pytest.raises(DatasetError, match=name),
    ):
        writer.add_pairs(PoseBatch(**{**vars(batch), "extra": {name: values}}))


def test_a_commit_that_was_edited_is_named(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    commit_pairs(store, make_pairs(3))
    text = store.read_bytes(commit_path("run", "unit")).decode()
    store.write_bytes(
        commit_path("run", "unit"), text.replace('"unit_id": "unit"', '"unit_id": "other"').encode()
    )
    with pytest.raises(CommitConflictError, match="wanted the commit of run 'run', unit 'unit'"):
        read_commit(store, "run", "unit")
    store.write_bytes(commit_path("run", "unit"), text.replace("pairs/", "../pairs/").encode())
    with pytest.raises(ManifestError, match=r"files\.0\.path"):
        read_commit(store, "run", "unit")
