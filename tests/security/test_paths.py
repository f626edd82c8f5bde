"""Paths that would leave the dataset: in manifests, commits, archives, links, records and names."""

import json
from pathlib import Path

import numpy as np
import pytest

from jobs.errors import RecipeError
from jobs.recipe import load_recipe
from jobs.submit_package import recipe_path
from pipelines.context import RunContext
from pipelines.import_motion import ImportSettings, run_import
from pipelines.in_process import InProcessExecutor
from poses.errors import PosemillError
from poses.skeleton import load_skeleton
from storage.commit import FileEntry, UnitCommit, canonical_json, commit_path, read_commit
from storage.errors import ManifestError, StoreError
from storage.manifest import publish_manifest, read_manifest
from storage.object_store import open_store
from storage.reader import Dataset
from tests.unit.storage.importers.bodies import swaying_m

EVIL = [
    "../outside.parquet",
    "pairs/../../outside.parquet",
    "/etc/passwd",
    "//etc/passwd",
    "pairs//x.parquet",
    "pairs/./x.parquet",
    "pairs\\..\\..\\x.parquet",
    "C:/x.parquet",
    "file:///etc/passwd",
    "s3://other/x.parquet",
    "pairs/\x00.parquet",
    "pairs/x\n.parquet",
    "",
    "..",
    "pairs/" + "x" * 5000,
]
ENTRY = FileEntry(path="pairs/0a.parquet", kind="pairs", rows=3, bytes=10, sha256="0" * 64)
COMMIT = UnitCommit(run_id="r", unit_id="u", writer_id="w", files=(ENTRY,), rows=3)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A dataset whose manifest names one file, beside a file that it must not reach."""
    (tmp_path / "outside.parquet").write_bytes(b"outside")
    publish_manifest(open_store(tmp_path / "dataset"), "r", [COMMIT], load_skeleton("h36m_16"))
    return tmp_path / "dataset"


@pytest.mark.parametrize("path", EVIL)
def test_a_manifest_cannot_name_a_file_outside(root: Path, path: str) -> None:
    manifest = root / "manifests" / "v000001.json"
    document = json.loads(manifest.read_text())
    document["files"][0]["path"] = path
    manifest.write_text(json.dumps(document))
    with pytest.raises(ManifestError, match=r"v000001\.json"):
        read_manifest(open_store(root))


@pytest.mark.parametrize("path", EVIL)
def test_a_commit_cannot_name_a_file_outside(root: Path, path: str) -> None:
    document = json.loads(canonical_json(COMMIT))
    document["files"][0]["path"] = path
    store = open_store(root)
    store.write_bytes(commit_path("r", "u"), json.dumps(document).encode())
    with pytest.raises(ManifestError):
        read_commit(store, "r", "u")


@pytest.mark.parametrize("path", EVIL)
def test_a_store_has_no_outside(root: Path, path: str) -> None:
    store = open_store(root)
    for call in (store.read_bytes, store.delete, store.url_of, store.open_input):
        with pytest.raises(StoreError):
            call(path)
    for write in (store.write_bytes, store.put_if_absent):
        with pytest.raises(StoreError):
            write(path, b"x")
    assert (root.parent / "outside.parquet").read_bytes() == b"outside"


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_links_are_not_followed(root: Path, kind: str) -> None:
    if kind == "file":
        (root / "pairs").mkdir()
        (root / "pairs" / "0a.parquet").symlink_to(root.parent / "outside.parquet")
    else:
        (root.parent / "0a.parquet").write_bytes(b"outside")
        (root / "pairs").symlink_to(root.parent, target_is_directory=True)
    with pytest.raises(StoreError, match="link"):
        open_store(root).read_bytes("pairs/0a.parquet")
    with pytest.raises(PosemillError):
        Dataset.open(root).read_pairs()


def test_names_inside_an_archive_are_names_and_no_paths(tmp_path: Path) -> None:
    take = swaying_m(90, 30.0).astype(np.float32)
    names = ["../../escaped", "/tmp/escaped", "..\\escaped", "a/../../../escaped", "s1/" + "x" * 400]
    source = tmp_path / "deep" / "source" / "clips.npz"
    source.parent.mkdir(parents=True)
    np.savez(source, **dict.fromkeys(names, take))
    out = tmp_path / "deep" / "out"
    settings = ImportSettings.model_validate({"source": str(source), "view": {"frame_step": 30}})
    run_import(settings, RunContext(str(out), InProcessExecutor(), seed=1))
    outside = [path for path in tmp_path.rglob("*") if path.is_file() and out not in path.parents]
    assert outside == [source]
    assert Dataset.open(out).n_pairs > 0


@pytest.mark.parametrize("name", ["../../etc/passwd", "..", "/etc/passwd", ".hidden", "a/b"])
def test_a_recipes_name_stays_in_its_folder(name: str) -> None:
    folder, _, plain = recipe_path(name).partition("/")
    assert folder == "submitted"
    assert "/" not in plain
    assert not plain.startswith(".")


def test_a_built_in_recipe_is_no_path() -> None:
    with pytest.raises(RecipeError):
        load_recipe("../recipes/../../pyproject")
