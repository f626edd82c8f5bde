"""Pairs written and read as Parquet, beside pyarrow alone on the same rows; the training reader beside a lifter's step.

- Memory copy: the same arrays copied in memory, the limit of any storage.
- Write: the whole of it (copy, statistics, encoding, digest, fsync, commit, manifest) beside pyarrow writing the same
  table to a file as it is, plain and uncompressed: the levels of Parquet's lists are what that takes.
- Overlap: a stage that computes while its rows are written, beside the longer of the two alone.
- Read: the whole dataset as one PoseBatch, with checksums, beside pyarrow reading that plain file.
- Reader: rows a second, shuffled, beside what a training step of SimpleBaseline 2 x 1,024 takes, and the share of the
  time for which the step waits for its batch, in one thread with it.
"""

import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from benchmarks.row import BenchmarkRow, rate_row, time_row
from benchmarks.source import size_bytes, source_pairs, write_dataset
from estimators.lifters.settings import build_lifter
from estimators.lifters.simple_baseline import SimpleBaselineSettings
from estimators.lifters.training.trainer import LifterTrainer, LifterTrainerSettings
from poses.batch import PoseBatch
from storage.object_store import open_store
from storage.reader import Dataset
from storage.schema import arrow_schema, batch_columns, to_arrow
from storage.writer import ROW_GROUP_ROWS, UnitWriter

ROWS = 4 * ROW_GROUP_ROWS
REPEATS = 3
BATCH_ROWS = 1_024
STEPS = 20


def measure() -> list[BenchmarkRow]:
    """Write, overlap, read, and the training reader."""
    pairs = source_pairs(ROWS)
    megabytes = size_bytes(pairs) / 1e6
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plain, writes, plain_reads, reads = [], [], [], []
        for repeat in range(REPEATS):
            out, file = folder / str(repeat), folder / f"{repeat}.parquet"
            plain.append(_seconds(lambda file=file: _write_plain(file, pairs)))
            writes.append(_seconds(lambda out=out: write_dataset(out, pairs)))
            plain_reads.append(_seconds(lambda file=file: pq.read_table(file, pre_buffer=False)))
            reads.append(_seconds(lambda out=out: Dataset.open(out).read_pairs()))
        dataset = Dataset.open(folder / "0")
        stored = sum(entry.bytes for entry in dataset.pair_files)
        size = f"{ROWS:,} pairs, {megabytes:.0f} MB, {stored / 1e6 / megabytes:.0%} of it on disk"
        limit = "pyarrow alone, plain"
        columns = batch_columns(pairs)
        copied_s = min(_seconds(lambda: _copy(columns)) for _ in range(REPEATS))
        return [
            BenchmarkRow("memory copy of the same pairs", megabytes / copied_s, "MB/s"),
            rate_row(
                f"Parquet write ({size})", megabytes / min(writes), "MB/s", megabytes / min(plain), limit
            ),
            overlap_row(folder / "overlap", pairs),
            rate_row("Parquet read", megabytes / min(reads), "MB/s", megabytes / min(plain_reads), limit),
            *reader_rows(dataset, folder / "cache"),
        ]


def _copy(columns: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Every array once more in memory: what no reader or writer can be faster than."""
    return [column.copy() for column in columns.values()]


def _write_plain(file: Path, pairs: PoseBatch) -> None:
    """Levels and values, nothing else."""
    columns = batch_columns(pairs)
    schema = arrow_schema(columns, pairs.skeleton)
    table = pa.Table.from_batches([to_arrow(columns, schema)])
    options = {"compression": "none", "use_dictionary": False, "write_statistics": False}
    pq.write_table(table, file, row_group_size=ROW_GROUP_ROWS, **options)


def overlap_row(folder: Path, pairs: PoseBatch) -> BenchmarkRow:
    """A stage that computes as long as its rows take to be written, in portions."""
    portions = [pairs.take(slice(start, start + 8_192)) for start in range(0, len(pairs), 8_192)]
    store = open_store(folder)

    def stage(unit: str, compute_s: float, write: bool) -> None:
        with UnitWriter(store, "run", unit, pairs.skeleton) as writer:
            for portion in portions:
                _compute(compute_s / len(portions))
                if write:
                    writer.add_pairs(portion)
            if write:
                writer.commit()

    write_s = _seconds(lambda: stage("alone", 0.0, True))
    compute_s = _seconds(lambda: stage("computed", write_s, False))
    both_s = _seconds(lambda: stage("both", write_s, True))
    return time_row("computing and writing at once", both_s, max(write_s, compute_s), "the longer one alone")


def _compute(seconds: float) -> None:
    """Matrix products, which release the interpreter as real stages do."""
    until_s = time.perf_counter() + seconds
    values = np.ones((128, 128), np.float32)
    while time.perf_counter() < until_s:
        values @ values


def reader_rows(dataset: Dataset, cache: Path) -> list[BenchmarkRow]:
    """The reader alone, with and without its cache, and beside a lifter that trains."""
    step_rate, waiting = _lifter_beside_reader(dataset)
    limit = "SimpleBaseline 2 x 1,024 trains, batch 1,024"
    dataset.to_torch(cache_folder=cache)
    rows: list[BenchmarkRow] = []
    for name, options in (("Parquet, by blocks", {}), ("mapped cache", {"cache_folder": cache})):
        pairs = dataset.to_torch(batch_rows=BATCH_ROWS, shuffle_seed=1, **options)
        rate = max(ROWS / _seconds(lambda pairs=pairs: [None for _ in pairs]) for _ in range(2))
        rows.append(rate_row(f"training reader, shuffled, {name}", rate, "rows/s", step_rate, limit))
    share = BenchmarkRow("training waits for its reader, share of the time", waiting, "of 1")
    return [*rows, share]


def _lifter_beside_reader(dataset: Dataset) -> tuple[float, float]:
    """Rows a second that training takes, and the share of the time that it waits; the first batch is not in it."""
    lifter = build_lifter(SimpleBaselineSettings(), dataset.skeleton, seed=1)
    trainer = LifterTrainer(LifterTrainerSettings(), lifter, seed=1)
    trainer.begin_epoch(0)
    batches = iter(dataset.to_torch(batch_rows=BATCH_ROWS, shuffle_seed=1, mix_blocks=1))
    _step(trainer, next(batches))
    waited_s = trained_s = 0.0
    before_s = time.perf_counter()
    for batch in islice(batches, STEPS):
        got_s = time.perf_counter()
        _step(trainer, batch)
        after_s = time.perf_counter()
        waited_s, trained_s, before_s = waited_s + got_s - before_s, trained_s + after_s - got_s, after_s
    return STEPS * BATCH_ROWS / trained_s, waited_s / (waited_s + trained_s)


def _step(trainer: LifterTrainer, batch: dict[str, torch.Tensor]) -> None:
    trainer.step(batch["keypoints_screen"], batch["joints_root_m"])


def _seconds(work: Callable[[], object]) -> float:
    started_s = time.perf_counter()
    work()
    return time.perf_counter() - started_s
