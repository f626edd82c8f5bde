"""inspect, card and statistics."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.inspect import inspect_dataset
from storage.manifest import publish_manifest
from storage.object_store import open_store
from storage.quarantine import QuarantinedRow
from storage.reader import Dataset
from storage.statistics import MAX_COUNTED_NAMES, OTHER_NAMES, Statistics, ValueRange
from storage.writer import UnitWriter
from tests.unit.storage.samples import SKELETON, make_clip, make_pairs


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    store = open_store(tmp_path)
    commits = []
    for number in range(2):
        with UnitWriter(store, "run", f"u{number}", SKELETON) as writer:
            writer.add_pairs(make_pairs(100, seed=number, hardness=np.ones(100, np.float32)))
            writer.add_clips([make_clip(30 + number, key=f"clip{number}", seed=number)])
            writer.reject("behind the camera", 2 + number)
            writer.quarantine([QuarantinedRow("a.bvh", number, "jump", "clean")])
            commits.append(writer.commit())
    publish_manifest(store, "run", commits, SKELETON, lineage={"job": "import"})
    return Dataset.open(tmp_path)


def test_inspect_tells_what_is_there(dataset: Dataset) -> None:
    summary = inspect_dataset(dataset)
    assert json.loads(json.dumps(summary)) == summary
    assert (summary["pairs"], summary["clips"], summary["frames"], summary["units"]) == (200, 2, 61, 2)
    assert summary["versions"] == [1]
    assert summary["skeleton"] == {"name": "h36m_17", "joints": list(SKELETON.joints)}
    assert summary["counts"]["subject"] == {"subject0": 100, "subject1": 100}
    assert summary["rejected"] == {"behind the camera": 5}
    assert (summary["quarantined"], summary["quarantine_reasons"]) == (2, {"clean: jump": 2})
    assert summary["extra_columns"] == ["hardness"]
    assert summary["files"]["pairs"]["files"] == 2
    assert summary["bytes"] == sum(part["bytes"] for part in summary["files"].values())
    assert summary["lineage"] == {"run": {"job": "import"}}
    depth_m = dataset.read_pairs().joints_camera_m[:, SKELETON.root_index, 2]
    assert summary["statistics"]["root_depth_m"]["mean"] == pytest.approx(float(depth_m.mean()))
    assert summary["statistics"]["root_depth_m"]["maximum"] == pytest.approx(float(depth_m.max()))


def test_the_card_describes_the_latest_version(dataset: Dataset) -> None:
    card = dataset.store.read_bytes("README.md").decode()
    assert "Version 1" in card
    assert "200 pairs" in card
    assert "| subject0 | 100 |" in card
    assert "| behind the camera | 5 |" in card
    assert "| left_knee | left_hip |" in card


def test_names_from_files_cannot_break_the_card(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with UnitWriter(store, "run", "u", SKELETON) as writer:
        writer.reject("<script>alert(1)</script>|\n# title", 1)
        publish_manifest(store, "run", [writer.commit()], SKELETON)
    card = store.read_bytes("README.md").decode()
    assert "<script" not in card
    assert "\n# title" not in card


numbers = st.lists(st.floats(-1e6, 1e6), max_size=20)


@given(numbers, numbers)
@settings(max_examples=50, deadline=None)
def test_ranges_add_up(left: list[float], right: list[float]) -> None:
    merged = ValueRange.of(np.asarray(left)).merged(ValueRange.of(np.asarray(right)))
    whole = ValueRange.of(np.asarray(left + right))
    assert (merged.count, merged.minimum, merged.maximum) == (whole.count, whole.minimum, whole.maximum)
    assert merged.total == pytest.approx(whole.total, abs=1e-6)
    if whole.mean is not None:
        assert merged.mean == pytest.approx(np.mean(left + right), abs=1e-6)
        assert merged.standard_deviation == pytest.approx(np.std(left + right), rel=1e-3, abs=1)


def test_values_that_are_no_numbers_are_counted() -> None:
    values = ValueRange.of(np.asarray([1, np.nan, 3, np.inf]))
    assert (values.count, values.non_finite, values.mean) == (2, 2, 2.0)
    assert ValueRange.of(np.asarray([np.nan])).mean is None


def test_very_many_names_are_summed() -> None:
    parts = [Statistics(counts={"clip": {f"{n}-{m}": 1 for m in range(MAX_COUNTED_NAMES)}}) for n in range(2)]
    counts = Statistics.merge_all(parts).counts["clip"]
    assert len(counts) == MAX_COUNTED_NAMES
    assert sum(counts.values()) == 2 * MAX_COUNTED_NAMES
    assert counts[OTHER_NAMES] == MAX_COUNTED_NAMES + 1
