"""The mapped cache among several processes, after a kill, on a full disk, and beside an older version."""

import errno
import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest

from storage import mapped_cache
from storage.errors import DatasetError
from storage.manifest import publish_manifest
from storage.mapped_cache import MappedPairs
from storage.object_store import open_store
from storage.reader import Dataset
from storage.torch_reader import TorchPairs
from tests.unit.storage.samples import SKELETON, commit_pairs, make_pairs

ROWS = 90


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    store = open_store(tmp_path / "data")
    publish_manifest(store, "run", [commit_pairs(store, make_pairs(ROWS), row_group_rows=32)], SKELETON)
    return Dataset.open(store.url)


def cached(dataset: Dataset, folder: Path) -> TorchPairs:
    return dataset.to_torch(cache_folder=folder, batch_rows=64)


def ids_of(pairs: TorchPairs) -> list[int]:
    return [int(number) for batch in pairs for number in batch["sample_id"]]


def read_in_a_process(url: str, folder: Path, built: "multiprocessing.SimpleQueue[int]") -> None:
    build = MappedPairs._build

    def counted(self: MappedPairs, *arguments) -> None:  # type: ignore[no-untyped-def]
        built.put(os.getpid())
        build(self, *arguments)

    MappedPairs._build = counted  # type: ignore[method-assign]
    assert ids_of(cached(Dataset.open(url), folder)) == list(range(ROWS))


def test_of_several_processes_one_makes_it(dataset: Dataset, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    built = context.SimpleQueue()
    processes = [
        context.Process(target=read_in_a_process, args=(dataset.store.url, tmp_path / "cache", built))
        for _ in range(3)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert built.get()
    assert built.empty()


def test_a_damaged_or_unfinished_column_is_made_again(dataset: Dataset, tmp_path: Path) -> None:
    wanted = ids_of(cached(dataset, tmp_path / "cache"))
    (column,) = (tmp_path / "cache").rglob("sample_id.npy")
    column.write_bytes(column.read_bytes()[:-40])
    assert ids_of(cached(dataset, tmp_path / "cache")) == wanted
    np.save(column, np.arange(5))
    assert ids_of(cached(dataset, tmp_path / "cache")) == wanted


def test_a_cache_of_another_version_or_format_is_left_alone(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = cached(dataset, tmp_path / "cache")
    more = commit_pairs(dataset.store, make_pairs(30, seed=3), "more")
    publish_manifest(dataset.store, "run", [more], SKELETON)
    assert len(ids_of(cached(Dataset.open(dataset.store.url), tmp_path / "cache"))) == ROWS + 30
    assert ids_of(first) == list(range(ROWS))
    folders = set((tmp_path / "cache").iterdir())
    monkeypatch.setattr(mapped_cache, "CACHE_FORMAT", mapped_cache.CACHE_FORMAT + 1)
    assert ids_of(cached(dataset, tmp_path / "cache")) == list(range(ROWS))
    assert len(set((tmp_path / "cache").iterdir()) - folders) == 1


def test_a_full_disk_is_said_in_words_and_leaves_nothing(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DatasetError, match=r"cache of 90 pairs.*No space left.*another cache_folder"):
        cached(dataset, tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.npy*"))
