"""A disk that is full, in earnest: clear errors, nothing half-written in sight, and room heals everything."""

from pathlib import Path

import pytest

from tests.faults.small_disk import can_mount, run_on_small_disk

pytestmark = pytest.mark.skipif(not can_mount(), reason="this machine lets nobody mount a small disk")

PREAMBLE = """
import shutil, sys
from pathlib import Path
from storage.commit import list_commits, read_commit
from storage.errors import StoreFullError
from storage.manifest import manifest_versions, publish_manifest
from storage.object_store import open_store
from storage.reader import Dataset
from storage.verify import verify_dataset
from storage.writer import UnitWriter
from tests.unit.storage.samples import SKELETON, commit_pairs, make_clip, make_pairs

root = Path(sys.argv[1])
store = open_store(root / "dataset")

def files():
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())

def fill():
    (root / "ballast").write_bytes(b"")
    with open(root / "ballast", "ab", buffering=0) as file:
        for portion in (65536, 4096):
            try:
                while file.write(b"x" * portion) == portion:
                    pass
            except OSError:
                pass

def expect_full(action, word=""):
    try:
        action()
    except StoreFullError as error:
        assert "No space left" in str(error) and "posemill gc" in str(error) and word in str(error), error
        return
    raise SystemExit("no StoreFullError")
"""

DURING_A_UNIT = """
def write():
    with UnitWriter(store, "run", "unit", SKELETON, row_group_rows=512) as writer:
        for seed in range(100):
            writer.add_pairs(make_pairs(512, seed=seed))
        writer.commit()

expect_full(write, "unit 'unit'")
assert files() == [], files()
small = commit_pairs(store, make_pairs(100))
publish_manifest(store, "run", [small], SKELETON)
assert verify_dataset(Dataset.open(store.url)).findings == ()
"""

AT_EVERY_STEP = """
shutil.rmtree(root / "dataset")
clips = commit_pairs(store, make_pairs(50, seed=1), "before")
publish_manifest(store, "run", [clips], SKELETON)
before = files()
fill()
expect_full(lambda: store.put_if_absent("commits/run/unit.json", b"x" * 8192))
expect_full(lambda: store.write_bytes("README.md", b"x" * 8192 * 4))
expect_full(lambda: commit_pairs(store, make_pairs(200, seed=2)))

def write_clips():
    with UnitWriter(store, "run", "clips", SKELETON) as writer:
        writer.add_clips([make_clip(500)])
        writer.commit()

expect_full(write_clips)
expect_full(lambda: publish_manifest(store, "run", [clips.model_copy(update={"unit_id": "x"})], SKELETON))
assert [path for path in files() if path != "ballast"] == before, files()
assert [commit.unit_id for commit in list_commits(store, "run")] == ["before"]
assert manifest_versions(store) == [1]
(root / "ballast").unlink()
write_clips()
done = commit_pairs(store, make_pairs(200, seed=2))
publish_manifest(store, "run", list_commits(store, "run"), SKELETON)
dataset = Dataset.open(store.url)
assert dataset.n_pairs == 250 and len(next(dataset.clips())) == 500
assert verify_dataset(dataset).findings == ()
"""


def test_a_full_disk(tmp_path: Path) -> None:
    done = run_on_small_disk(tmp_path / "disk", 2048, PREAMBLE + DURING_A_UNIT + AT_EVERY_STEP)
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-1000:]
