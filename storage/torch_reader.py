"""Pairs as a torch IterableDataset of ready batches, shuffled by block, with temporal windows.

Parquet is read a block at a time. An epoch draws the order of the blocks, holds `mix_blocks` of them in
memory, and draws batches from all of those: with blocks from all over the dataset this is close to a full
shuffle at the speed of sequential reading. The next blocks are decoded on a thread while batches of these are drawn, so
training waits for the first ones only. Blocks are dealt out to the workers of a DataLoader and to the
ranks of a training job, so every row comes once an epoch, whoever reads it. Use `DataLoader(pairs,
batch_size=None, num_workers=n)`.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from poses.cameras import to_screen
from storage.blocks import BlockPool, BlockReader, cut_blocks
from storage.errors import DatasetError
from storage.mapped_cache import MappedPairs
from storage.schema import NAME_COLUMNS

if TYPE_CHECKING:
    from storage.reader import Dataset

COMPUTED_COLUMNS: dict[str, tuple[str, ...]] = {
    "keypoints_screen": ("keypoints_px", "camera_px"),
    "joints_root_m": ("joints_camera_m",),
}
"""Columns that are made while reading, and the stored columns that they need."""

_Item = TypeVar("_Item")

DEFAULT_COLUMNS = ("sample_id", "keypoints_screen", "joints_root_m")


class TorchPairs(IterableDataset[dict[str, torch.Tensor]]):
    """Batches of pairs as dicts of tensors.

    Args:
        dataset: The dataset version to read.
        batch_rows: Rows per batch, B; only the last batch of every worker is smaller.
        window: Frames per sample, W, odd. 1 gives (B, J, 2) and the like; more gives (B, W, J, 2), the frames
            of one clip, camera and copy around the sample's own, which is the middle one. Past the ends of a
            clip, and at gaps, the edge frame is repeated.
        columns: Stored columns, extra ones too, or `keypoints_screen` and `joints_root_m`, which are made on
            the way.
        shuffle_seed: None reads in file order; a number shuffles, the same for the same seed and epoch.
        epoch: Which epoch's order; see `set_epoch`.
        block_rows: Rows per block; whole row groups (65,536) read fastest.
        mix_blocks: Blocks held in memory at once to shuffle across; as many again are read ahead.
        drop_last: Leave out a smaller last batch.
        rank: Number of this process in a training job.
        world_size: Processes in the training job.
        cache_folder: A folder on a local disk for a memory-mapped copy of the columns; made once per dataset
            version. Shuffling is then over all rows, not over blocks, and costs no Parquet decoding.
        read_ahead: Read the next blocks on a thread meanwhile; off, they take half the memory.

    Raises:
        DatasetError: if an argument is out of range or a column unknown.
    """

    def __init__(
        self,
        dataset: "Dataset",
        batch_rows: int = 1024,
        window: int = 1,
        columns: Sequence[str] = DEFAULT_COLUMNS,
        shuffle_seed: int | None = None,
        epoch: int = 0,
        block_rows: int = 65_536,
        mix_blocks: int = 4,
        drop_last: bool = False,
        rank: int = 0,
        world_size: int = 1,
        cache_folder: str | Path | None = None,
        read_ahead: bool = True,
    ) -> None:
        super().__init__()
        if min(batch_rows, block_rows, mix_blocks, world_size) < 1 or not 0 <= rank < world_size:
            raise DatasetError(
                "to_torch: wanted batch_rows, block_rows, mix_blocks, world_size of 1 or more, rank below"
                " world_size,"
                f" got {batch_rows}, {block_rows}, {mix_blocks}, {world_size}, {rank}"
            )
        if window < 1 or window % 2 == 0:
            raise DatasetError(f"to_torch: wanted an odd window, so that it has a middle frame, got {window}")
        names = sorted(set(columns) & set(NAME_COLUMNS))
        if names:
            raise DatasetError(f"to_torch: column {names[0]!r} holds text, which has no tensor; leave it out")
        self._dataset, self._columns = dataset, tuple(columns)
        self._batch_rows, self._block_rows, self._mix_blocks = batch_rows, block_rows, mix_blocks
        self._half_window, self._drop_last = window // 2, drop_last
        self._shuffle_seed, self._epoch = shuffle_seed, epoch
        self._rank, self._world_size = rank, world_size
        self._read_ahead = read_ahead
        self._cache = None
        if cache_folder is not None:
            self._cache = MappedPairs(
                dataset,
                Path(cache_folder),
                self._columns,
                self._stored_columns(),
                in_streams=window > 1,
                compute=self._wanted,
            )

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch whose order the next iteration gives; needed before workers start."""
        self._epoch = epoch

    def rows(self) -> BlockPool:
        """All rows by number, out of the memory-mapped copy, for those who draw them in an order of their own.

        They stand file by file, in file order, or with a window above 1 in stream order (`storage.streams`).

        Raises:
            DatasetError: if there is no `cache_folder`.
        """
        if self._cache is None:
            raise DatasetError("to_torch: rows by number want the memory-mapped copy; give a cache_folder")
        return self._cache.pool()

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        held: dict[str, np.ndarray] | None = None
        for pool, drawn in _ahead(self._pools()) if self._read_ahead else self._pools():
            offset = 0
            while offset < len(drawn):
                portion = drawn[offset : offset + self._batch_rows - _rows(held)]
                offset += len(portion)
                part = pool.gather(portion, self._half_window)
                held = (
                    part
                    if held is None
                    else {name: np.concatenate([held[name], part[name]]) for name in part}
                )
                if _rows(held) == self._batch_rows:
                    yield _tensors(held)
                    held = None
        if held is not None and not self._drop_last:
            yield _tensors(held)

    def _pools(self) -> Iterator[tuple[BlockPool, np.ndarray]]:
        """This worker's rows, some blocks at a time in memory, and the order in which to draw them."""
        info = get_worker_info()
        worker, workers = (0, 1) if info is None else (info.id, info.num_workers)
        share, shares = self._rank * workers + worker, self._world_size * workers
        if self._cache is not None:
            pool = self._cache.pool()
            yield pool, np.array_split(self._order(len(pool)), shares)[share]
            return
        blocks = cut_blocks(self._dataset.pair_files, self._block_rows)
        mine = self._order(len(blocks))[share::shares].tolist()
        reader = BlockReader(self._dataset, self._stored_columns(), in_streams=self._half_window > 0)
        mixed = 1 if self._shuffle_seed is None else self._mix_blocks
        for start in range(0, len(mine), mixed):
            chosen = [blocks[index] for index in mine[start : start + mixed]]
            pool = self._wanted(reader.load(chosen, self._half_window))
            yield pool, self._order(len(pool), share, start)

    def _order(self, count: int, *purpose: int) -> np.ndarray:
        """The numbers below `count` in this epoch's order; `purpose` tells one draw from another."""
        if self._shuffle_seed is None:
            return np.arange(count)
        return np.random.default_rng([self._shuffle_seed, self._epoch, *purpose]).permutation(count)

    def _stored_columns(self) -> list[str]:
        """What must be read to give the wanted columns."""
        wanted = [COMPUTED_COLUMNS.get(name, (name,)) for name in self._columns]
        return list(dict.fromkeys(name for names in wanted for name in names))

    def _wanted(self, pool: BlockPool) -> BlockPool:
        """The pool with the wanted columns; what must be computed is so once per row, not per window."""
        arrays: dict[str, np.ndarray] = {}
        root = self._dataset.skeleton.root_index
        for name in self._columns:
            if name == "keypoints_screen":
                arrays[name] = to_screen(pool.columns["keypoints_px"], pool.columns["camera_px"])
            elif name == "joints_root_m":
                joints = pool.columns["joints_camera_m"]
                arrays[name] = joints - joints[:, root : root + 1]
            else:
                arrays[name] = pool.columns[name]
        return replace(pool, columns=arrays)


def _ahead(items: Iterator[_Item]) -> Iterator[_Item]:
    """The items, the next one in the making on a thread; its errors come up here, and a break waits for it."""
    with ThreadPoolExecutor(1, thread_name_prefix="posemill-reader") as thread:
        following = thread.submit(next, items, None)
        while (item := following.result()) is not None:
            following = thread.submit(next, items, None)
            yield item


def _tensors(arrays: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _rows(part: dict[str, np.ndarray] | None) -> int:
    return 0 if part is None else len(next(iter(part.values())))
