"""What `posemill retry-quarantine` says of rows that no retry can give back."""

from pathlib import Path

import pytest

from jobs.retry import retry_datasets
from storage.manifest import publish_manifest
from storage.object_store import open_store
from storage.quarantine import QuarantinedRow
from storage.reader import Dataset
from storage.writer import UnitWriter
from tests.unit.storage.samples import SKELETON, make_pairs


def frames(number: int, reason: str) -> QuarantinedRow:
    """A stretch of frames, as the import stage keeps it."""
    return QuarantinedRow(f"walk.bvh: walk/{number}", 10 * number, reason, "import", raw_json="{}")


@pytest.fixture
def cut(tmp_path: Path) -> Path:
    """A dataset of which cleaning cut three stretches of frames out."""
    store = open_store(tmp_path)
    with UnitWriter(store, "run", "u0", SKELETON) as writer:
        writer.add_pairs(make_pairs(8))
        writer.quarantine(
            [frames(0, "jump: left_hand"), frames(1, "not_finite: frame 12"), frames(2, "jump: root")]
        )
        commit = writer.commit()
    publish_manifest(store, "run", [commit], SKELETON)
    return tmp_path


def test_stretches_of_frames_are_refused_with_a_reason_and_a_way_out(cut: Path) -> None:
    [done] = retry_datasets(str(cut), quiet=True)
    assert done.frames == {"jump": 2, "not_finite": 1}
    assert (done.before, done.left, done.runs) == (3, 3, [])
    text = "\n".join(done.lines())
    assert "3 stretches of frames cannot be run again (2 x jump, 1 x not_finite)" in text
    assert "import into a new dataset" in text
    assert Dataset.open(cut).manifest.version == 1


def test_a_dataset_without_them_says_nothing_of_them(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with UnitWriter(store, "run", "u0", SKELETON) as writer:
        writer.add_pairs(make_pairs(8))
        commit = writer.commit()
    publish_manifest(store, "run", [commit], SKELETON)
    [done] = retry_datasets(str(tmp_path), quiet=True)
    assert done.frames == {}
    assert done.lines() == [f"{tmp_path}: 0 in quarantine before, 0 now"]
