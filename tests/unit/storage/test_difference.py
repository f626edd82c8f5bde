from pathlib import Path

import pytest

from storage.difference import VersionDifference, difference
from storage.errors import DatasetError
from storage.manifest import publish_manifest
from storage.object_store import ObjectStore, open_store
from storage.quarantine import QuarantinedRow
from storage.writer import UnitWriter
from tests.unit.storage.samples import SKELETON, commit_pairs, make_pairs


def lineage(**recipe: object) -> dict[str, object]:
    return {
        "job": "augment",
        "recipe": recipe,
        "inputs": {"a.bvh": "11"},
        "weights": {},
        "code_version": "abc",
    }


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    store = open_store(tmp_path)
    first = [commit_pairs(store, make_pairs(10, seed=1), "a", run="one")]
    publish_manifest(store, "one", first, SKELETON, lineage=lineage(copies=1, seed=3))
    with UnitWriter(store, "two", "b", SKELETON) as writer:
        writer.add_pairs(make_pairs(30, seed=2))
        writer.reject("outside", 4)
        writer.quarantine([QuarantinedRow("a.bvh", 1, "jump", "clean")])
        second = [writer.commit()]
    changed = lineage(copies=2, seed=3, noise_px=1.5) | {"inputs": {"b.bvh": "22"}, "code_version": "def"}
    publish_manifest(store, "two", second, SKELETON, lineage=changed)
    return store


def by_name(changes: object) -> dict[str, tuple[object, ...]]:
    return {change.name: (change.change, change.before, change.after) for change in changes}  # type: ignore[attr-defined]


def test_files_rows_and_units(store: ObjectStore) -> None:
    found = difference(store, 1, 2)
    assert sorted((file.kind, file.change, file.rows) for file in found.files) == [
        ("pairs", "added", 30),
        ("quarantine", "added", 1),
    ]
    assert found.rows == {"pairs": (10, 40), "sequences": (0, 0), "quarantine": (0, 1)}
    assert found.units == {"added": ("two/b",), "removed": ()}
    assert found.bytes[1] - found.bytes[0] == sum(file.bytes for file in found.files)
    assert by_name(found.counters) == {
        "quarantined": ("changed", 0, 1),
        "rejected.outside": ("added", None, 4),
    }


def test_statistics(store: ObjectStore) -> None:
    found = by_name(difference(store, 1, 2).statistics)
    assert found["copy.0"] == ("changed", 10, 40)
    assert "schema" not in found
    assert any(name.endswith(".mean") for name in found)


def test_a_new_run_is_told_against_the_run_of_its_job(store: ObjectStore) -> None:
    (run,) = difference(store, 1, 2).runs
    assert (run.run_id, run.change, run.compared_with, run.job) == ("two", "added", "one", "augment")
    assert by_name(run.values) == {
        "code_version": ("changed", "abc", "def"),
        "inputs.a.bvh": ("removed", "11", None),
        "inputs.b.bvh": ("added", None, "22"),
        "recipe.copies": ("changed", 1, 2),
        "recipe.noise_px": ("added", None, 1.5),
    }


def test_backwards_is_the_mirror_image(store: ObjectStore) -> None:
    there, back = difference(store, 1, 2), difference(store, 2, 1)
    assert [file.rows for file in back.files] == [-file.rows for file in there.files]
    assert back.units == {"added": (), "removed": ("two/b",)}
    assert [run.change for run in back.runs] == ["removed"]
    assert {change.name for change in back.statistics} == {change.name for change in there.statistics}


def test_the_same_version_has_no_difference(store: ObjectStore) -> None:
    found = difference(store, 2, 2)
    assert found.is_empty
    assert not difference(store, 1, 2).is_empty
    assert VersionDifference.model_validate_json(found.model_dump_json()) == found


def test_a_version_that_is_not_there_is_named(store: ObjectStore) -> None:
    with pytest.raises(DatasetError, match="no version 9; its versions are 1 to 2"):
        difference(store, 1, 9)
