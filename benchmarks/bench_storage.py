"""Writing and reading pairs as Parquet, in MB of rows a second, beside a copy of the same bytes in memory.

Writing is the whole of it: encoding, digest, statistics, fsync, commit, manifest. Reading is the whole dataset as one
PoseBatch, with the pages' checksums.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.row import BenchmarkRow, rate_row
from benchmarks.source import size_bytes, source_pairs, write_dataset
from storage.reader import Dataset

ROWS = 131_072
REPEATS = 3


def measure() -> list[BenchmarkRow]:
    """Parquet write and read."""
    pairs = source_pairs(ROWS)
    megabytes = size_bytes(pairs) / 1e6
    bytes_of_rows = np.ones(size_bytes(pairs), np.uint8)
    target = np.empty_like(bytes_of_rows)
    with tempfile.TemporaryDirectory() as folder:
        writes, reads, copies = [], [], []
        for repeat in range(REPEATS):
            out = Path(folder) / str(repeat)
            copies.append(_seconds(lambda: np.copyto(target, bytes_of_rows)))
            writes.append(_seconds(lambda out=out: write_dataset(out, pairs)))
            reads.append(_seconds(lambda out=out: Dataset.open(out).read_pairs()))
            copies.append(_seconds(lambda: np.copyto(target, bytes_of_rows)))
        stored = sum(entry.bytes for entry in Dataset.open(Path(folder) / "0").pair_files)
    copy_rate = megabytes / min(copies)
    size = f"{ROWS:,} pairs, {megabytes:.0f} MB, {stored / 1e6 / megabytes:.0%} of it on disk"
    write = rate_row(f"Parquet write ({size})", megabytes / min(writes), "MB/s", copy_rate, "memory copy")
    read = rate_row("Parquet read", megabytes / min(reads), "MB/s", copy_rate, "memory copy")
    return [write, read]


def _seconds(work: Callable[[], object]) -> float:
    started_s = time.perf_counter()
    work()
    return time.perf_counter() - started_s
