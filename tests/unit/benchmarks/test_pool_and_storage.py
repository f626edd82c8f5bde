"""The benchmarks' own parts that a figure depends on; nothing here measures."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from benchmarks import bench_pool, bench_scaling, storage_settings
from benchmarks.bench_pool import SleepingStage, first_to_last_s, write_source
from benchmarks.mirror import MirrorStage
from pipelines.in_process import InProcessExecutor
from pipelines.plan import Unit
from poses.batch import PoseBatch
from storage.manifest import publish_manifest
from storage.object_store import open_store
from storage.reader import Dataset
from tests.unit.storage.samples import SKELETON, make_pairs


def small_source(rows: int) -> PoseBatch:
    return make_pairs(rows)


def test_the_pool_reads_mirrors_and_commits_every_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_pool, "source_pairs", small_source)
    monkeypatch.setattr(bench_pool, "ROW_GROUP_ROWS", 32)
    write_source(tmp_path / "source", 96)
    source = Dataset.open(tmp_path / "source")
    units = [
        Unit(f"u{n}", "mirror", {"file": file.path}, file.rows) for n, file in enumerate(source.pair_files)
    ]
    stage = partial(MirrorStage, str(tmp_path / "source"), str(tmp_path / "out"))
    report = InProcessExecutor().run(stage, units, lambda _: None)
    publish_manifest(open_store(tmp_path / "out"), "run", report.commits, SKELETON)
    before, after = source.read_pairs(), Dataset.open(tmp_path / "out").read_pairs()
    order = [np.argsort(pairs.sample_id) for pairs in (before, after)]
    assert (len(source.pair_files), sorted(after.sample_id)) == (3, list(range(96)))
    wanted = before.joints_camera_m[order[0]] * np.float32([-1, 1, 1])
    np.testing.assert_array_equal(after.joints_camera_m[order[1]], wanted)


def test_a_sleeping_stage_commits_its_units_once(tmp_path: Path) -> None:
    stage = SleepingStage(str(tmp_path), 0.0)
    stage.setup()
    assert stage.run(Unit("a", "benchmark")) == stage.run(Unit("a", "benchmark"))
    assert len(list(tmp_path.glob("commits/run/*.json"))) == 1


def test_the_first_result_is_told_apart_from_the_others() -> None:
    ticks = iter([10.0, 13.0, 14.0, 18.0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench_pool.time, "perf_counter", lambda: next(ticks))
        assert first_to_last_s(lambda told: [told(None) for _ in range(3)]) == (3.0, 5.0)  # type: ignore[func-returns-value, arg-type]


def test_settings_differ_in_what_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage_settings, "source_pairs", small_source)
    monkeypatch.setattr(storage_settings, "REPEATS", 1)
    monkeypatch.setattr(storage_settings, "WINDOWS", 1)
    few = dict(list(storage_settings.PARQUET.items())[:4]), dict(list(storage_settings.ZARR.items())[:2])
    monkeypatch.setattr(storage_settings, "PARQUET", few[0])
    monkeypatch.setattr(storage_settings, "ZARR", few[1])
    parquet, megabytes = storage_settings.parquet_settings(4_096)
    shares = {name: taken.share for name, taken in parquet.items()}
    assert shares["as posemill writes (zstd 1, byte stream split)"] < shares["zstd 1, plain"]
    assert shares["zstd 1, plain"] < shares["no compression, plain"]
    sequences, sequence_mb = storage_settings.zarr_settings(512)
    assert sequences["no compression"].share > sequences["as posemill writes (lz4, byte shuffle)"].share
    text = storage_settings.tables(parquet, megabytes, sequences, sequence_mb)
    assert text.count("\n| ") == len(parquet) + len(sequences) + 2


@pytest.mark.parametrize("module", [bench_scaling, storage_settings])
def test_the_documents_have_a_place_for_the_tables(module: object) -> None:
    text = module.DOCUMENT.read_text()  # type: ignore[attr-defined]
    before, after = text.split(module.BEGIN)  # type: ignore[attr-defined]
    assert before
    assert after.count(module.END) == 1  # type: ignore[attr-defined]
