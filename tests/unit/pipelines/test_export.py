"""Exports as units: the same bytes as one stream, and what is there is not made again."""

import json
from pathlib import Path

import pytest

from pipelines import export
from pipelines.errors import PoolError
from pipelines.export import run_export
from pipelines.in_process import InProcessExecutor
from storage.errors import ExportError
from storage.exporters.export import export_dataset
from storage.exporters.index import INDEX_NAME
from storage.exporters.settings import ExportSettings
from storage.exporters.sharded import SHARDED
from storage.exporters.target import ExportedFiles
from storage.importers.exported import open_export
from storage.reader import Dataset
from tests.unit.storage.exporters.datasets import mixed_pairs, publish

SETTINGS = [
    ExportSettings(shard_rows=17),
    ExportSettings(shard_rows=25, parts=("source_valid",), rigs=("h36m_like",)),
    ExportSettings(),
]


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Three files of mixed parts and rigs, in row groups of 16."""
    batches = [mixed_pairs(60), mixed_pairs(41, 3), mixed_pairs(5, 4)]
    return publish(tmp_path / "dataset", *batches, row_group_rows=16)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file but the index, hidden ones included."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != INDEX_NAME)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def in_process() -> InProcessExecutor:
    return InProcessExecutor(sleep=lambda _: None)


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("to", sorted(SHARDED))
def test_units_give_the_bytes_of_one_stream(
    to: str, settings: ExportSettings, dataset: Dataset, tmp_path: Path
) -> None:
    streamed = export_dataset(dataset, to, tmp_path / "streamed", settings)
    done = run_export(dataset, to, tmp_path / "units", settings, in_process())
    assert contents(tmp_path / "units") == contents(tmp_path / "streamed")
    assert (done.rows, done.files, done.bytes) == (streamed.rows, streamed.files, streamed.bytes)
    indexes = [json.loads((tmp_path / name / INDEX_NAME).read_bytes()) for name in ("streamed", "units")]
    for index in indexes:  # a stream finishes splits in turns, units are listed split by split
        index["files"].sort(key=lambda file: file["path"])
    assert indexes[0] == indexes[1]
    assert open_export(tmp_path / "units").read_pairs().sample_id.size == done.rows


@pytest.mark.parametrize("to", sorted(SHARDED))
def test_an_export_that_was_stopped_goes_on(
    to: str, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, out = ExportSettings(shard_rows=17), tmp_path / "out"
    adopt, made = ExportedFiles.adopt, []

    def stop_at_the_third(self: ExportedFiles, file, rows: int | None) -> None:
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(file.path)
        adopt(self, file, rows)

    monkeypatch.setattr(ExportedFiles, "adopt", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        run_export(dataset, to, out, settings, in_process())
    assert not out.exists()
    again: list[str] = []
    monkeypatch.setattr(
        ExportedFiles, "adopt", lambda self, file, rows: (again.append(file.path), adopt(self, file, rows))[1]
    )
    run_export(dataset, to, out, settings, in_process())
    assert not set(made) & set(again)
    monkeypatch.undo()
    export_dataset(dataset, to, tmp_path / "whole", settings)
    assert contents(out) == contents(tmp_path / "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dataset", "out", "whole"]


def test_another_selection_does_not_go_on_with_what_is_there(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(export, "publish", killed)
    with pytest.raises(KeyboardInterrupt):
        run_export(dataset, "webdataset", tmp_path / "out", ExportSettings(shard_rows=17), in_process())
    monkeypatch.undo()
    settings = ExportSettings(shard_rows=17, parts=("source_valid",))
    done = run_export(dataset, "webdataset", tmp_path / "out", settings, in_process())
    assert set(open_export(tmp_path / "out").read_pairs().extra["part"]) == {"source_valid"}
    assert len(list((tmp_path / "out").glob("*.tar"))) == done.files


def test_a_damaged_file_keeps_the_others_and_names_itself(dataset: Dataset, tmp_path: Path) -> None:
    victim = tmp_path / "dataset" / dataset.pair_files[-1].path
    whole = victim.read_bytes()
    data = bytearray(whole)
    data[len(data) // 3] ^= 1
    victim.write_bytes(bytes(data))
    settings = ExportSettings(shard_rows=17)
    with pytest.raises(PoolError, match=r"files could not be made: ShardError.*the same export goes on"):
        run_export(dataset, "webdataset", tmp_path / "out", settings, in_process())
    victim.write_bytes(whole)
    run_export(dataset, "webdataset", tmp_path / "out", settings, in_process())
    assert open_export(tmp_path / "out").index.rows == 106


def test_what_cannot_be_exported_is_told_before_anything_is_written(dataset: Dataset, tmp_path: Path) -> None:
    for to, settings, words in (
        ("tar", ExportSettings(), "there is no format 'tar'"),
        ("webdataset", ExportSettings(parts=("nobody",)), "no pairs in parts nobody.*source_train"),
        ("huggingface", ExportSettings(pickled=True), "only videopose3d"),
    ):
        with pytest.raises(ExportError, match=words):
            run_export(dataset, to, tmp_path / "out", settings, in_process())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dataset"]
