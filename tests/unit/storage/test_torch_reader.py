import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from poses.batch import PoseBatch
from storage.blocks import Block, BlockPool, BlockReader
from storage.errors import DatasetError, ShardError
from storage.manifest import publish_manifest
from storage.mapped_cache import MappedPairs
from storage.object_store import open_store
from storage.reader import Dataset
from storage.streams import order_of
from storage.torch_reader import TorchPairs
from tests.unit.storage.samples import SKELETON, commit_pairs, make_pairs

CLIP_FRAMES = 30


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Two files, 330 rows, clips of 30 frames across row groups of 64."""
    store = open_store(tmp_path)
    batches = [make_pairs(rows, seed=seed, clip_frames=CLIP_FRAMES) for seed, rows in ((1, 200), (2, 130))]
    commits = [commit_pairs(store, batch, f"u{n}", row_group_rows=64) for n, batch in enumerate(batches)]
    publish_manifest(store, "run", commits, SKELETON)
    return Dataset.open(tmp_path)


def ids_of(batches: "DataLoader[dict[str, torch.Tensor]] | object") -> list[int]:
    return [int(number) for batch in batches for number in batch["sample_id"]]  # type: ignore[attr-defined]


def test_without_a_seed_rows_come_in_file_order(dataset: Dataset) -> None:
    pairs = dataset.to_torch(batch_rows=50, block_rows=70)
    assert [len(batch["sample_id"]) for batch in pairs] == [50] * 6 + [30]
    assert ids_of(pairs) == dataset.read_pairs().sample_id.tolist()


def test_values_are_the_rows_own(dataset: Dataset) -> None:
    columns = ["sample_id", "keypoints_screen", "joints_root_m", "keypoint_confidence"]
    read = dataset.read_pairs()
    row_of = {number: row for row, number in enumerate(read.sample_id.tolist())}
    for batch in dataset.to_torch(batch_rows=64, shuffle_seed=1, block_rows=64, columns=columns):
        wanted = read.take([row_of[number] for number in batch["sample_id"].tolist()])
        np.testing.assert_array_equal(batch["keypoints_screen"], wanted.keypoints_screen)
        np.testing.assert_array_equal(batch["joints_root_m"], wanted.joints_root_m)
        np.testing.assert_array_equal(batch["keypoint_confidence"], wanted.keypoint_confidence)


def test_every_row_comes_once_an_epoch_and_epochs_differ(dataset: Dataset) -> None:
    pairs = dataset.to_torch(batch_rows=50, shuffle_seed=4, block_rows=40)
    everything = sorted(dataset.read_pairs().sample_id.tolist())
    first, again = ids_of(pairs), ids_of(pairs)
    pairs.set_epoch(1)
    second = ids_of(pairs)
    assert first == again
    assert first != second
    assert sorted(first) == sorted(second) == everything
    assert first != everything


def test_a_shuffled_batch_draws_from_several_blocks(dataset: Dataset) -> None:
    first = next(iter(dataset.to_torch(batch_rows=64, shuffle_seed=0, block_rows=32, mix_blocks=4)))
    assert len({int(number) // 32 for number in first["sample_id"]}) > 3


def test_ranks_share_the_rows(dataset: Dataset) -> None:
    shares = [ids_of(dataset.to_torch(shuffle_seed=2, block_rows=32, rank=r, world_size=3)) for r in range(3)]
    assert all(shares)
    assert sorted(number for share in shares for number in share) == sorted(
        dataset.read_pairs().sample_id.tolist()
    )


def test_loader_workers_share_the_rows(dataset: Dataset) -> None:
    pairs = dataset.to_torch(batch_rows=32, shuffle_seed=2, block_rows=32, window=3)
    loader = DataLoader(pairs, batch_size=None, num_workers=2)
    ids = [int(number) for batch in loader for number in batch["sample_id"][:, 1]]
    assert sorted(ids) == sorted(dataset.read_pairs().sample_id.tolist())


@pytest.mark.parametrize("window", [3, 27, 61])
def test_windows_are_the_frames_around_within_the_clip(dataset: Dataset, window: int) -> None:
    read = dataset.read_pairs()
    row_of = {number: row for row, number in enumerate(read.sample_id.tolist())}
    half = window // 2
    seen = 0
    columns = ["sample_id", "frame", "keypoints_screen", "joints_root_m"]
    for batch in dataset.to_torch(
        batch_rows=64, window=window, shuffle_seed=3, block_rows=64, columns=columns
    ):
        assert batch["keypoints_screen"].shape[1:] == (window, 17, 2)
        for ids, frames, keypoints in zip(
            batch["sample_id"], batch["frame"], batch["keypoints_screen"], strict=True
        ):
            middle = row_of[int(ids[half])]
            first, last = read.frame[middle] - half, read.frame[middle] + half
            of_clip = read.frame[
                (read.clip == read.clip[middle]) & (read.sample_id // 10**6 == ids[half].item() // 10**6)
            ]
            wanted = np.clip(np.arange(first, last + 1), of_clip.min(), of_clip.max())
            np.testing.assert_array_equal(frames, wanted)
            rows = [row_of[int(number)] for number in ids]
            np.testing.assert_array_equal(keypoints, read.take(rows).keypoints_screen)
            seen += 1
    assert seen == len(read)


def test_windows_do_not_depend_on_the_row_order_in_the_file(tmp_path: Path) -> None:
    batch = make_pairs(90, clip_frames=CLIP_FRAMES)
    shuffled = batch.take(np.random.default_rng(0).permutation(90))
    store = open_store(tmp_path)
    publish_manifest(store, "run", [commit_pairs(store, shuffled, row_group_rows=16)], SKELETON)
    columns = ["sample_id", "frame"]
    got = {
        int(ids[2]): frames.tolist()
        for b in Dataset.open(tmp_path).to_torch(window=5, columns=columns)
        for ids, frames in zip(b["sample_id"], b["frame"], strict=True)
    }
    for number, frame in zip(batch.sample_id.tolist(), batch.frame.tolist(), strict=True):
        assert got[number] == np.clip(np.arange(frame - 2, frame + 3), 0, CLIP_FRAMES - 1).tolist()


def test_a_window_does_not_close_over_a_gap() -> None:
    frame = np.asarray([0, 2, 4, 8, 10], np.int32)
    order = order_of((np.zeros(5, int),), frame)
    assert order.first.tolist() == [0, 0, 0, 3, 3]
    assert order.last.tolist() == [2, 2, 2, 4, 4]


def test_streams_of_no_rows() -> None:
    order = order_of((np.zeros(0, int),), np.zeros(0, np.int32))
    assert len(order.rows) == len(order.first) == len(order.last) == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"window": 4}, "odd window"),
        ({"batch_rows": 0}, "batch_rows"),
        ({"rank": 2, "world_size": 2}, "rank"),
        ({"columns": ["clip"]}, "'clip' holds text"),
    ],
)
def test_arguments_out_of_range(dataset: Dataset, options: dict, words: str) -> None:
    with pytest.raises(DatasetError, match=words):
        dataset.to_torch(**options)


@pytest.mark.parametrize("window", [1, 5])
def test_the_cache_gives_the_same_rows_in_a_full_shuffle(
    dataset: Dataset, tmp_path: Path, window: int
) -> None:
    def by_id(pairs: TorchPairs) -> dict[int, list]:
        return {
            int(ids.reshape(-1)[window // 2]): [keypoints.tolist(), joints.tolist()]
            for batch in pairs
            for ids, keypoints, joints in zip(
                batch["sample_id"], batch["keypoints_screen"], batch["joints_root_m"], strict=True
            )
        }

    options = {"window": window, "shuffle_seed": 1, "batch_rows": 32}
    cached = [
        dataset.to_torch(**options, cache_folder=tmp_path / "cache", rank=rank, world_size=2)
        for rank in range(2)
    ]
    assert by_id(cached[0]) | by_id(cached[1]) == by_id(dataset.to_torch(**options))
    assert not set(by_id(cached[0])) & set(by_id(cached[1]))


def test_the_cache_is_made_once_and_belongs_to_a_version(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ids_of(dataset.to_torch(cache_folder=tmp_path / "cache"))
    assert first == dataset.read_pairs().sample_id.tolist()
    with monkeypatch.context() as patch:
        patch.setattr(MappedPairs, "_build", lambda *_: pytest.fail("built again"))
        assert ids_of(dataset.to_torch(cache_folder=tmp_path / "cache")) == first
    more = commit_pairs(dataset.store, make_pairs(40, seed=7), "more")
    publish_manifest(dataset.store, "run", [more], SKELETON)
    newer = Dataset.open(dataset.store.url)
    assert len(ids_of(newer.to_torch(cache_folder=tmp_path / "cache"))) == 370
    assert not list((tmp_path / "cache").rglob("*.tmp*"))


def test_a_smaller_last_batch_can_be_dropped(dataset: Dataset) -> None:
    assert {len(batch["sample_id"]) for batch in dataset.to_torch(batch_rows=50, drop_last=True)} == {50}


def test_the_demo_batch_is_sound() -> None:
    batch: PoseBatch = make_pairs(10)
    batch.validate()


def test_the_next_blocks_are_read_while_these_are_drawn(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = threading.Semaphore(0)
    load = BlockReader.load

    def told(self: BlockReader, blocks: Sequence[Block], half_window: int) -> BlockPool:
        assert threading.current_thread() is not threading.main_thread()
        loaded.release()
        return load(self, blocks, half_window)

    monkeypatch.setattr(BlockReader, "load", told)
    batches = iter(dataset.to_torch(batch_rows=10, block_rows=40))
    next(batches)
    assert loaded.acquire(timeout=30)
    assert loaded.acquire(timeout=30)  # the second block, although the first has 30 rows left
    del batches
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("posemill-reader")]


def test_reading_ahead_changes_no_row_and_its_errors_come_up(dataset: Dataset) -> None:
    options = {"batch_rows": 50, "shuffle_seed": 3, "block_rows": 40}
    assert ids_of(dataset.to_torch(**options)) == ids_of(dataset.to_torch(**options, read_ahead=False))
    last = dataset.store.url + "/" + dataset.pair_files[1].path
    Path(last).write_bytes(b"PAR1" + bytes(dataset.pair_files[1].bytes - 4))
    with pytest.raises(ShardError, match="damaged"):
        ids_of(dataset.to_torch(batch_rows=50, block_rows=40))
