import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jobs.locate import dataset_urls, datasets_of_run
from jobs.report import collect, sampling
from jobs.report.page import render_report
from jobs.report.publish import publish_report
from storage.errors import DatasetError
from storage.manifest import publish_manifest
from storage.object_store import open_store
from storage.quarantine import QuarantinedRow
from storage.writer import UnitWriter
from tests.unit.storage.samples import SKELETON, make_pairs


def write_dataset(root: Path, batches: list, reject: int = 0, quarantine: int = 0) -> None:
    store = open_store(root)
    commits = []
    for number, batch in enumerate(batches):
        with UnitWriter(store, "run", f"u{number}", SKELETON, row_group_rows=64) as writer:
            writer.add_pairs(batch)
            if number == 0 and reject:
                writer.reject("outside_image", reject)
            if number == 0 and quarantine:
                writer.quarantine(
                    [QuarantinedRow("a.bvh", i, "jump <b>", "import") for i in range(quarantine)]
                )
            commits.append(writer.commit())
    publish_manifest(store, "run", commits, SKELETON)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A source of training and target rows, and a copy of its training rows."""
    source = make_pairs(200, seed=1)
    part = np.where(np.arange(200) < 120, "source_train", "target_hard").astype(object)
    write_dataset(tmp_path / "datasets/source", [replace(source, extra={"part": part})], quarantine=3)
    made = source.take(np.arange(120))
    made = replace(made, sample_id=made.sample_id + 10**9, copy=np.ones(120, np.int32))
    write_dataset(
        tmp_path / "datasets/augmented", [made.take(slice(0, 60)), made.take(slice(60, 120))], reject=30
    )
    (tmp_path / "loop").mkdir()
    lines = [json.dumps({"epoch": i, "iteration": 10 * i, "loss_lifter": 1.0 / (i + 1)}) for i in range(5)]
    (tmp_path / "loop/metrics.jsonl").write_text("\n".join([*lines, '{"epoch": 5, "loss_']))
    (tmp_path / "run.json").write_text(
        json.dumps(
            {
                "name": "A run",
                "facts": {"recipe": "x.yaml", "from": "s3://me:pw@b"},
                "stage_seconds": {"loop": 3.0},
            }
        )
    )
    (tmp_path / "recipe.yaml").write_text("job: build\n")
    return tmp_path


def test_everything_that_a_run_left_is_gathered(run: Path) -> None:
    inputs = collect.report_inputs_from_run(str(run))
    assert inputs.title == "A run"
    assert inputs.source is not None
    assert inputs.augmented is not None
    assert (len(inputs.source), len(inputs.augmented)) == (120, 120)
    assert len(inputs.metrics) == 5
    assert any("1 lines could not be read" in note for note in inputs.notes)
    assert [(count.title, count.kept, count.rejected) for count in inputs.counts] == [
        ("Augmented poses", 120, {"outside_image": 30})
    ]
    assert (inputs.quarantined_total, len(inputs.quarantined)) == (3, 3)
    assert [(d.role, d.rows) for d in inputs.datasets] == [("source", 200), ("augmented", 120)]
    assert inputs.facts["from"] == "s3://***@b"
    assert "A run" in render_report(inputs)


def test_pairs_show_a_row_and_what_was_made_of_it(run: Path) -> None:
    inputs = collect.report_inputs_from_run(str(run))
    assert 2 <= len(inputs.pairs) <= sampling.SHOWN_PAIRS
    for pair in inputs.pairs:
        np.testing.assert_array_equal(pair.source_joints_camera_m, pair.augmented_joints_camera_m)
    assert len({pair.label for pair in inputs.pairs}) == len(inputs.pairs)


def test_only_a_few_rows_are_read(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "MAX_GROUPS", 1)
    monkeypatch.setattr(sampling.sample_rows, "__defaults__", (16,))
    inputs = collect.report_inputs_from_run(str(run))
    assert inputs.augmented is not None
    assert len(inputs.augmented) <= 16


def test_a_damaged_part_becomes_a_note(run: Path) -> None:
    victim = next((run / "datasets/augmented/pairs").glob("*.parquet"))
    data = bytearray(victim.read_bytes())
    data[len(data) // 2 :] = b"\0" * (len(data) - len(data) // 2)
    victim.write_bytes(bytes(data))
    (run / "evaluation.json").write_text("{}")
    inputs = collect.report_inputs_from_run(str(run))
    assert any("could be sampled" in note for note in inputs.notes)
    assert any("evaluation.json could not be read" in note for note in inputs.notes)
    assert inputs.source is not None


def test_a_single_dataset_is_split_into_originals_and_copies(tmp_path: Path) -> None:
    source = make_pairs(50, seed=3)
    made = replace(source, sample_id=source.sample_id + 10**9, copy=np.ones(50, np.int32))
    write_dataset(tmp_path, [source, made])
    inputs = collect.report_inputs_from_run(str(tmp_path))
    assert inputs.source is not None
    assert inputs.augmented is not None
    assert (len(inputs.source), len(inputs.augmented)) == (50, 50)
    assert inputs.pairs


def test_the_report_lands_beside_the_run_or_where_it_is_wanted(run: Path, tmp_path: Path) -> None:
    written = publish_report(str(run))
    assert written == f"{run}/report.html"
    assert "jump &lt;b&gt;" in (run / "report.html").read_text()
    assert publish_report(str(run), str(tmp_path / "mine.html")) == str(tmp_path / "mine.html")


def test_datasets_of_a_run_are_found_source_first(run: Path) -> None:
    assert list(datasets_of_run(str(run))) == ["source", "augmented"]
    assert dataset_urls(f"{run}/datasets/augmented") == [f"{run}/datasets/augmented"]
    with pytest.raises(DatasetError, match="there is no dataset"):
        dataset_urls(str(run / "loop"))
