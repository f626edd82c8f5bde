"""An export appears whole or not at all."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from storage.errors import ExportError, ImporterError, ShardError
from storage.exporters.export import export_dataset
from storage.exporters.registry import FORMATS
from storage.exporters.settings import ExportSettings
from storage.exporters.target import ExportTarget
from storage.importers.exported import open_export
from storage.locks import FolderLock
from storage.object_store import open_store
from tests.unit.storage.exporters.datasets import mixed_pairs, publish

REPOSITORY = Path(__file__).parents[4]


@pytest.mark.parametrize("to", sorted(FORMATS))
def test_a_dataset_that_breaks_half_way_leaves_nothing(to: str, tmp_path: Path) -> None:
    dataset = publish(tmp_path / "dataset", mixed_pairs(60), mixed_pairs(40, 3))
    victim = tmp_path / "dataset" / dataset.pair_files[-1].path
    data = bytearray(victim.read_bytes())
    data[len(data) // 3] ^= 1
    victim.write_bytes(bytes(data))
    with pytest.raises(ShardError):
        export_dataset(dataset, to, tmp_path / "export", ExportSettings(shard_rows=10))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dataset"]


def test_what_is_there_is_never_overwritten(tmp_path: Path) -> None:
    dataset = publish(tmp_path / "dataset", mixed_pairs(10))
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name in ("full", "file", "dataset"):
        with pytest.raises(ExportError, match=r"wanted a new or empty folder .* choose another --out"):
            export_dataset(dataset, "coco", tmp_path / name)
    assert (tmp_path / "full/thesis.txt").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    export_dataset(dataset, "coco", tmp_path / "empty")
    assert open_export(tmp_path / "empty").index.rows == 10


def test_two_exports_to_one_place_do_not_mix(tmp_path: Path) -> None:
    with (
        ExportTarget(tmp_path / "out"),
        pytest.raises(ExportError, match="another process exports"),
        ExportTarget(tmp_path / "out"),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_killed_export_leaves_nothing_that_looks_finished_and_the_next_one_cleans_up(
    tmp_path: Path,
) -> None:
    dataset = publish(tmp_path / "dataset", mixed_pairs(50))
    code = (
        "import os, sys, signal\n"
        "from storage.exporters.export import export_dataset\n"
        "from storage.exporters.settings import ExportSettings\n"
        "from storage.exporters.target import ExportTarget\n"
        "from storage.reader import Dataset\n"
        "ExportTarget.publish = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "export_dataset(Dataset.open(sys.argv[1]), 'coco', sys.argv[2], ExportSettings(shard_rows=20))\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "dataset"), str(tmp_path / "out")]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=False, timeout=250)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2_000:]
    assert not (tmp_path / "out").exists()
    left = tmp_path / ".out.partial"
    assert len(list(left.glob("annotations/*.json"))) == 3  # it was killed at the very end
    with pytest.raises(ImporterError, match=r"found no posemill-export\.json"):
        open_export(left)
    export_dataset(dataset, "coco", tmp_path / "out")
    assert len(open_export(tmp_path / "out").read_pairs()) == 50
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dataset", "out"]


def test_on_an_object_store_a_mark_stands_until_the_end(tmp_path: Path) -> None:
    dataset = publish(tmp_path / "dataset", mixed_pairs(30))
    url = f"memory://exports-{os.getpid()}/one"
    marks: list[bool] = []

    def look(_: int) -> None:
        marks.append(open_store(url).exists("EXPORT_INCOMPLETE"))
        with pytest.raises(ImporterError, match="the export is unfinished"):
            open_export(url)

    export_dataset(dataset, "webdataset", url, ExportSettings(shard_rows=10), look)
    assert marks == [True]
    assert len(open_export(url).read_pairs()) == 30
    with pytest.raises(ExportError, match="there is 5 files already"):
        export_dataset(dataset, "webdataset", url)
    store = open_store(f"{url}-killed")
    store.write_bytes("EXPORT_INCOMPLETE", b"")
    with pytest.raises(ExportError, match="an unfinished export already"):
        export_dataset(dataset, "coco", store.url)


def test_two_writers_on_an_object_store_are_noticed(tmp_path: Path) -> None:
    dataset = publish(tmp_path / "dataset", mixed_pairs(30))
    url = f"memory://exports-{os.getpid()}/three"

    def intrude(_: int) -> None:
        open_store(url).write_bytes("EXPORT_INCOMPLETE", b"mine")

    with pytest.raises(ExportError, match="another process began to export"):
        export_dataset(dataset, "coco", url, None, intrude)


def test_a_failed_export_to_an_object_store_takes_its_files_back(tmp_path: Path) -> None:
    dataset = publish(tmp_path / "dataset", mixed_pairs(30))
    url = f"memory://exports-{os.getpid()}/two"
    with pytest.raises(ExportError, match="no pairs in parts nobody"):
        export_dataset(dataset, "huggingface", url, ExportSettings(parts=("nobody",)))
    assert open_store(url).list("") == []


@pytest.mark.parametrize(
    ("to", "settings", "words"),
    [
        ("csv", ExportSettings(), "there is no format 'csv'; there are coco"),
        ("coco", ExportSettings(pickled=True), "only videopose3d has pickled files"),
    ],
)
def test_what_no_format_can_do_is_refused(
    to: str, settings: ExportSettings, words: str, tmp_path: Path
) -> None:
    dataset = publish(tmp_path / "dataset", mixed_pairs(5))
    with pytest.raises(ExportError, match=words):
        export_dataset(dataset, to, tmp_path / "out", settings)


def test_a_lock_is_given_up_when_its_owner_dies(tmp_path: Path) -> None:
    code = (
        "import os, sys, signal; from pathlib import Path; from storage.locks import FolderLock\n"
        "lock = FolderLock(Path(sys.argv[1])); assert lock.acquire(); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "lock")], cwd=REPOSITORY, check=False, timeout=100
    )
    assert (tmp_path / "lock").exists()
    mine, other = FolderLock(tmp_path / "lock"), FolderLock(tmp_path / "lock")
    assert mine.acquire()
    assert not other.acquire()
    mine.release()
    assert other.acquire()
    other.release()
    assert list(tmp_path.iterdir()) == []
