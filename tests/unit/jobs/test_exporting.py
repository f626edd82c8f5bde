"""`posemill export` and `posemill register` from the terminal."""

import json
from pathlib import Path

import pytest

from storage.importers.exported import open_export
from storage.object_store import open_store
from tests.unit.jobs.terminal import main
from tests.unit.storage.exporters.datasets import mixed_pairs, publish


def test_an_export_of_some_parts_of_an_old_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = publish(tmp_path / "run/datasets/source", mixed_pairs(40))
    publish(tmp_path / "run/datasets/source", mixed_pairs(40), mixed_pairs(20, 3))
    out = str(tmp_path / "out")
    asked = [
        "--to",
        "coco",
        "--out",
        out,
        "--parts",
        "source_train, nobody",
        "--rig",
        "h36m_like",
        "--version",
        "1",
    ]
    assert main(monkeypatch, "export", str(tmp_path / "run"), *asked, "--shard-rows", "5", "--json") == 0
    captured = capsys.readouterr()
    done = json.loads(captured.out)
    pairs = dataset.read_pairs()
    wanted = (pairs.extra["part"] == "source_train") & (pairs.extra["rig"] == "h36m_like")
    assert (done["rows"], done["dataset_version"], done["format"]) == (wanted.sum(), 1, "coco")
    assert done["files"] == -(-wanted.sum() // 5)
    assert captured.err == ""
    assert len(open_export(out).read_pairs()) == wanted.sum()
    assert main(monkeypatch, "export", str(tmp_path / "run"), *asked) == 2
    assert "choose another --out" in capsys.readouterr().err


def test_progress_and_the_warning_about_pickle_go_to_stderr(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(tmp_path / "dataset", mixed_pairs(40))
    asked = ["--to", "videopose3d", "--out", str(tmp_path / "out"), "--name", "mine", "--pickled"]
    assert main(monkeypatch, "export", str(tmp_path / "dataset"), *asked) == 0
    captured = capsys.readouterr()
    assert "export to videopose3d: 40 of 40 pairs" in captured.err
    assert "Whoever opens such files runs whatever is in them" in captured.err
    assert "40 pairs of version 1 in 3 files" in captured.out
    assert "numpy.load('data_2d_mine-00000.npz')" in captured.out
    assert (tmp_path / "out/pickled/data_2d_mine-00000.npz").is_file()


def test_registering_says_what_is_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("deltalake")
    publish(tmp_path / "dataset", mixed_pairs(20))
    for added in (1, 0):
        assert main(monkeypatch, "register", str(tmp_path / "dataset"), "--delta", "--json") == 0
        done = json.loads(capsys.readouterr().out)
        assert (done["added_versions"], done["table_version"], done["checked_by_deltalake"]) == (
            added,
            0,
            True,
        )
    (tmp_path / f"dataset/pairs/_delta_log/{1:020d}.json").write_text(
        '{"add":{"path":"other.parquet","partitionValues":{},"size":9,"modificationTime":0,"dataChange":true}}\n'
    )
    assert main(monkeypatch, "register", str(tmp_path / "dataset"), "--delta") == 2
    assert "the Delta table shows 2 files, version 1 of the dataset has 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["export", "DATASET", "--to", "csv", "--out", "x"], "there is no format 'csv'; there are coco"),
        (["export", "DATASET", "--to", "coco"], "--out"),
        (["export", "DATASET", "--to", "coco", "--out", "x", "--shard-rows", "0"], "--shard-rows: "),
        (["export", "DATASET", "--to", "coco", "--out", "x", "--name", "../x"], "--name: "),
        (
            ["export", "DATASET", "--to", "coco", "--out", "x", "--parts", "target_*"],
            "it has parts source_train",
        ),
        (["export", "DATASET", "--to", "coco", "--out", "x", "--version", "7"], "no version 7"),
        (["export", "/no/such/dataset", "--to", "coco", "--out", "x"], "there is no dataset"),
        (["export", "RUN", "--to", "coco", "--out", "x"], "this run has 2 datasets; give one of them"),
        (["register", "DATASET"], "wanted to know as what; there is --delta"),
        (["register", "/no/such/dataset", "--delta"], "there is no dataset"),
    ],
    ids=str,
)
def test_the_users_input_is_told_in_one_line(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("one", "two"):
        publish(tmp_path / "datasets" / name, mixed_pairs(6))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    names = {"DATASET": str(tmp_path / "datasets/one"), "RUN": str(tmp_path)}
    assert main(monkeypatch, *(names.get(one, one) for one in arguments)) == 2
    error = capsys.readouterr().err
    assert words in " ".join(error.split())
    assert "Traceback" not in error
    assert list((tmp_path / "here").iterdir()) == []


def test_garbage_collection_leaves_the_delta_log_alone(tmp_path: Path) -> None:
    from storage.delta import register_delta
    from storage.garbage import GarbageSettings, find_garbage

    store = open_store(tmp_path)
    publish(tmp_path, mixed_pairs(6))
    register_delta(store)
    found = find_garbage(store, GarbageSettings(), 4e9)
    assert (found.garbage, found.unknown) == ((), ())
