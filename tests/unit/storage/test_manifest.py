import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from poses.skeleton import load_skeleton
from storage.commit import commit_path, read_commit
from storage.errors import DatasetError, ManifestError
from storage.manifest import SCHEMA_VERSION, manifest_versions, publish_manifest, read_manifest, renew_card
from storage.object_store import open_store
from storage.reader import Dataset
from tests.unit.storage.samples import SKELETON, assert_same_pairs, commit_pairs, make_pairs


def test_versions_grow_and_old_ones_stay(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    first = publish_manifest(store, "run", [commit_pairs(store, make_pairs(10, seed=1), "a")], SKELETON)
    second = publish_manifest(store, "run", [commit_pairs(store, make_pairs(20, seed=2), "b")], SKELETON)
    assert (first.version, first.parent, first.rows) == (1, None, 10)
    assert (second.version, second.parent, second.rows) == (2, 1, 30)
    assert Dataset.open(tmp_path, version=1).n_pairs == 10
    assert Dataset.open(tmp_path).n_pairs == 30
    assert second.statistics.counts["copy"] == {"0": 30}


def test_publishing_the_same_commits_again_changes_nothing(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    commits = [commit_pairs(store, make_pairs(10, seed=n), f"u{n}") for n in range(3)]
    first = publish_manifest(store, "run", commits, SKELETON)
    assert publish_manifest(store, "run", commits, SKELETON) == first
    assert manifest_versions(store) == [1]


def test_the_card_is_that_of_the_latest_version_whoever_died_before_writing_it(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    first = commit_pairs(store, make_pairs(10, seed=1), "a")
    publish_manifest(store, "run", [first], SKELETON)
    old_card = store.read_bytes("README.md")
    publish_manifest(store, "run", [commit_pairs(store, make_pairs(20, seed=2), "b")], SKELETON)
    card = store.read_bytes("README.md")
    assert b"Version 2" in card
    store.write_bytes("README.md", old_card)  # a publisher that was overtaken by the second
    publish_manifest(store, "run", [first], SKELETON)
    assert store.read_bytes("README.md") == card
    store.delete("README.md")  # one that died right after its manifest
    renew_card(store)
    assert store.read_bytes("README.md") == card
    assert manifest_versions(store) == [1, 2]


def test_the_order_of_commits_does_not_matter(tmp_path: Path) -> None:
    one, other = open_store(tmp_path / "one"), open_store(tmp_path / "other")
    batches = [make_pairs(10, seed=n) for n in range(4)]
    forward = [commit_pairs(one, batch, f"u{n}") for n, batch in enumerate(batches)]
    backward = [commit_pairs(other, batch, f"u{n}") for n, batch in reversed(list(enumerate(batches)))]
    left, right = (
        publish_manifest(store, "r", c, SKELETON) for store, c in ((one, forward), (other, backward))
    )
    assert left.model_copy(update={"writer_id": ""}) == right.model_copy(update={"writer_id": ""})
    assert_same_pairs(
        Dataset.open(tmp_path / "one").read_pairs(), Dataset.open(tmp_path / "other").read_pairs()
    )


def test_racing_publishers_lose_no_commit(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    commits = [commit_pairs(store, make_pairs(5, seed=n), f"u{n}") for n in range(12)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda commit: publish_manifest(store, "run", [commit], SKELETON), commits))
    latest = read_manifest(store)
    assert latest.version == 12
    assert latest.rows == 60
    assert len(latest.commits) == 12


def test_one_dataset_has_one_skeleton(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    publish_manifest(store, "run", [], SKELETON)
    with pytest.raises(DatasetError, match=r"'h36m_17' \(17 joints\).*'h36m_16' \(16 joints\)"):
        publish_manifest(store, "run", [], load_skeleton("h36m_16"))


def test_the_skeleton_survives_with_its_joint_order(tmp_path: Path) -> None:
    publish_manifest(open_store(tmp_path), "run", [], SKELETON)
    assert Dataset.open(tmp_path).skeleton == SKELETON


def test_lineage_is_kept_per_run(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    publish_manifest(store, "first", [], SKELETON, lineage={"job": "import"})
    commit = commit_pairs(store, make_pairs(3), run="second")
    manifest = publish_manifest(store, "second", [commit], SKELETON, lineage={"job": "augment"})
    assert manifest.lineage == {"first": {"job": "import"}, "second": {"job": "augment"}}
    assert manifest.run_ids == ("first", "second")


def test_no_dataset_and_no_version_are_said_in_words(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="found no manifest"):
        Dataset.open(tmp_path)
    assert not list(tmp_path.iterdir())
    publish_manifest(open_store(tmp_path), "run", [], SKELETON)
    with pytest.raises(DatasetError, match="no version 7; its versions are 1"):
        Dataset.open(tmp_path, version=7)


def edit_manifest(root: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """What a stranger's hand or program does to a manifest."""
    file = root / "manifests" / "v000001.json"
    values = json.loads(file.read_text())
    edit(values)
    file.write_text(json.dumps(values))


@pytest.mark.parametrize(
    "path",
    [
        "../../etc/passwd", "/etc/passwd", "pairs\\x.parquet", "s3://other/x.parquet", "pairs/../../x", "",
        "pairs/../x.parquet", "pairs/*.parquet", "pairs/x.parquet?versionId=1", "pairs/x\u202e.parquet",
        "README.md", ".scratch/x.parquet",
    ],
)  # fmt: skip
@pytest.mark.parametrize("where", ["manifest", "commit"])
def test_paths_may_not_leave_the_root_or_be_odd(tmp_path: Path, path: str, where: str) -> None:
    store = open_store(tmp_path)
    commit = commit_pairs(store, make_pairs(3))
    publish_manifest(store, "run", [commit], SKELETON)
    if where == "manifest":
        edit_manifest(tmp_path, lambda values: values["files"][0].update(path=path))
        with pytest.raises(ManifestError, match=r"v000001\.json.*files\.0\.path"):
            Dataset.open(tmp_path)
        return
    file = tmp_path / commit_path("run", "unit")
    values = json.loads(file.read_text())
    values["files"][0]["path"] = path
    file.write_text(json.dumps(values))
    with pytest.raises(ManifestError, match=r"unit\.json.*files\.0\.path"):
        read_commit(store, "run", "unit")


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda values: values["files"].append(values["files"][0]), "stands there twice"),
        (lambda values: values["files"][0].update(kind="sequences"), "in the folder sequences/"),
        (lambda values: values.update(parent=1), "wanted a version before 1"),
        (lambda values: values.update(rows=-1), "rows"),
        (lambda values: values.update(version=2), "wanted version 1"),
        (lambda values: values.update(surprise=1), "surprise"),
        (lambda values: values.update(skeleton={"name": "x"}), "skeleton"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(
    tmp_path: Path, edit: Callable[[dict[str, Any]], object], said: str
) -> None:
    store = open_store(tmp_path)
    publish_manifest(store, "run", [commit_pairs(store, make_pairs(3))], SKELETON)
    edit_manifest(tmp_path, edit)
    for version in (None, 1):
        with pytest.raises(ManifestError, match=said):
            Dataset.open(tmp_path, version)


def test_a_link_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    store = open_store(tmp_path / "dataset")
    commit = commit_pairs(store, make_pairs(3))
    publish_manifest(store, "run", [commit], SKELETON)
    file = tmp_path / "dataset" / commit.files[0].path
    file.rename(tmp_path / "outside.parquet")
    file.symlink_to(tmp_path / "outside.parquet")
    with pytest.raises(ValueError, match="link"):
        Dataset.open(tmp_path / "dataset").read_pairs()


def test_a_newer_layout_asks_for_an_update(tmp_path: Path) -> None:
    publish_manifest(open_store(tmp_path), "run", [], SKELETON)
    file = tmp_path / "manifests" / "v000001.json"
    values = json.loads(file.read_text())
    values["schema_version"] = SCHEMA_VERSION + 1
    file.write_text(json.dumps(values))
    with pytest.raises(ManifestError, match="update posemill"):
        Dataset.open(tmp_path)


def test_a_truncated_manifest_is_named(tmp_path: Path) -> None:
    publish_manifest(open_store(tmp_path), "run", [], SKELETON)
    file = tmp_path / "manifests" / "v000001.json"
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(ManifestError, match=r"v000001\.json: not a manifest"):
        Dataset.open(tmp_path)
