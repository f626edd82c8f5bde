"""Which Parquet and Zarr settings: `python -m benchmarks.storage_settings [--write]`, the table of docs/benchmarks.md.

One thing is changed at a time from what posemill writes. Rates are MB of rows a second of processor time, in memory, so
that neither the disk nor other programs are in them; settings are taken in turns, and the best of each counts.
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec

from benchmarks.document import write_between
from benchmarks.source import size_bytes, source_pairs
from storage.pairs_file import parquet_options
from storage.schema import NAME_COLUMNS, arrow_schema, batch_columns, to_arrow
from storage.sequences import CHUNK_FRAMES, SHARD_FRAMES, ZARR_CODEC
from storage.writer import ROW_GROUP_ROWS

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"
BEGIN = "<!-- settings: written by `python -m benchmarks.storage_settings --write` -->"
END = "<!-- end of the settings -->"
REPEATS = 5

PARQUET: dict[str, dict[str, Any]] = {
    "as posemill writes (zstd 1, byte stream split)": {},
    "no compression, plain": {
        "compression": "none",
        "compression_level": None,
        "use_byte_stream_split": False,
    },
    "pyarrow's defaults (snappy, dictionary)": {
        "compression": "snappy",
        "compression_level": None,
        "use_byte_stream_split": False,
        "use_dictionary": True,
    },
    "zstd 1, plain": {"use_byte_stream_split": False},
    "zstd 3, byte stream split": {"compression_level": 3},
    "zstd -5, byte stream split": {"compression_level": -5},
    "lz4, byte stream split": {"compression": "lz4", "compression_level": None},
    "snappy, byte stream split": {"compression": "snappy", "compression_level": None},
    "no page checksums": {"write_page_checksum": False},
    "statistics of every column": {"write_statistics": True},
    "write batches of 1,024 values": {"write_batch_size": 1_024},
    "write batches of 65,536 values": {"write_batch_size": 65_536},
    "pages of 1 MB": {"data_page_size": 1 << 20},
    "row groups of 16,384": {"rows": 16_384},
    "row groups of 262,144": {"rows": 262_144},
}
ZARR: dict[str, dict[str, Any]] = {
    "as posemill writes (lz4, byte shuffle)": {},
    "no compression": {"codec": None},
    "zstd 1, no shuffle": {"codec": BloscCodec(cname="zstd", clevel=1, shuffle="noshuffle")},
    "zstd 1, bit shuffle": {"codec": BloscCodec(cname="zstd", clevel=1, shuffle="bitshuffle")},
    "zstd 3, byte shuffle": {"codec": BloscCodec(cname="zstd", clevel=3, shuffle="shuffle")},
    "zstd 1, byte shuffle": {"codec": BloscCodec(cname="zstd", clevel=1, shuffle="shuffle")},
    "chunks of 1,024 frames": {"chunk": 1_024},
    "chunks of 65,536 frames": {"chunk": SHARD_FRAMES},
}
WINDOWS, WINDOW_FRAMES = 20, 243


@dataclass
class Taken:
    """The best of one setting.

    Attributes:
        share: Bytes stored of the bytes of the numbers.
        window_ms: Zarr: processor time for one window of 243 frames anywhere.
    """

    write_s: float = float("inf")
    read_s: float = float("inf")
    share: float = 0.0
    window_ms: float = float("inf")


def parquet_settings(rows: int) -> tuple[dict[str, Taken], float]:
    """Every Parquet setting on so many pairs; and their megabytes."""
    pairs = source_pairs(rows)
    columns = batch_columns(pairs)
    schema = arrow_schema(columns, pairs.skeleton)
    table = pa.Table.from_batches([to_arrow(columns, schema)])
    found = {name: Taken() for name in PARQUET}
    for _ in range(REPEATS):
        for name, changed in PARQUET.items():
            best = found[name]
            group = changed.get("rows", ROW_GROUP_ROWS)
            options = {**parquet_options(schema), **changed}
            options = {key: value for key, value in options.items() if value is not None and key != "rows"}
            data, write_s = _computed(partial(_encoded, table, options, group))
            _, read_s = _computed(partial(_decoded, data))
            best.write_s, best.read_s = min(best.write_s, write_s), min(best.read_s, read_s)
            best.share = data.size / size_bytes(pairs)
    return found, size_bytes(pairs) / 1e6


def _encoded(table: pa.Table, options: dict[str, Any], group: int) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, table.schema, **options) as writer:
        writer.write_table(table, row_group_size=group)
    return sink.getvalue()


def _decoded(data: pa.Buffer) -> None:
    names = list(NAME_COLUMNS)
    file = pq.ParquetFile(pa.BufferReader(data), read_dictionary=names, page_checksum_verification=True)
    for group in range(file.num_row_groups):
        file.read_row_group(group, use_threads=False)


def zarr_settings(frames: int) -> tuple[dict[str, Taken], float]:
    """Every Zarr setting on so many frames of motion; and their megabytes."""
    joints = source_pairs(frames).joints_camera_m
    found = {name: Taken() for name in ZARR}
    with tempfile.TemporaryDirectory() as name:
        for _ in range(REPEATS):
            for setting, changed in ZARR.items():
                folder = Path(name) / "group"
                best = found[setting]
                _, write_s = _computed(partial(_write_zarr, folder, joints, **changed))
                array: Any = zarr.open_group(str(folder), mode="r")["joints"]
                _, read_s = _computed(lambda array=array: array[:])
                _, windows_s = _computed(partial(_read_windows, array))
                best.write_s, best.read_s = min(best.write_s, write_s), min(best.read_s, read_s)
                best.window_ms = min(best.window_ms, windows_s / WINDOWS * 1e3)
                best.share = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
                best.share /= joints.nbytes
                shutil.rmtree(folder)
    return found, joints.nbytes / 1e6


def _write_zarr(
    folder: Path, joints: np.ndarray, chunk: int = CHUNK_FRAMES, codec: BloscCodec | None = ZARR_CODEC
) -> None:
    array = zarr.create_group(store=str(folder), zarr_format=3).create_array(
        "joints",
        shape=joints.shape,
        dtype=joints.dtype,
        chunks=(chunk, *joints.shape[1:]),
        shards=(SHARD_FRAMES, *joints.shape[1:]),
        compressors=(Crc32cCodec(),) if codec is None else (codec, Crc32cCodec()),
    )
    for start in range(0, len(joints), SHARD_FRAMES):
        array[start : start + SHARD_FRAMES] = joints[start : start + SHARD_FRAMES]


def _read_windows(array: Any) -> None:
    random = np.random.default_rng(0)
    for start in random.integers(0, array.shape[0] - WINDOW_FRAMES, WINDOWS).tolist():
        array[start : start + WINDOW_FRAMES]


def _computed(work: Callable[[], Any]) -> tuple[Any, float]:
    started_s = time.process_time()
    made = work()
    return made, time.process_time() - started_s


def tables(
    parquet: dict[str, Taken], megabytes: float, sequences: dict[str, Taken], sequence_mb: float
) -> str:
    """Both tables in Markdown."""
    lines = [
        f"Parquet, {megabytes:.0f} MB of pairs:",
        "",
        "| setting | stored | write, MB/s | read, MB/s |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {one.share:.2f} | {megabytes / one.write_s:.0f} | {megabytes / one.read_s:.0f} |"
        for name, one in parquet.items()
    ]
    lines += [
        "",
        f"Zarr, {sequence_mb:.0f} MB of motion:",
        "",
        f"| setting | stored | write, MB/s | read, MB/s | a window of {WINDOW_FRAMES} frames, ms |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {one.share:.2f} | {sequence_mb / one.write_s:.0f} | {sequence_mb / one.read_s:.0f} |"
        f" {one.window_ms:.1f} |"
        for name, one in sequences.items()
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure; print the tables, or write them into docs/benchmarks.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the tables into docs/benchmarks.md")
    parser.add_argument("--rows", type=int, default=2 * ROW_GROUP_ROWS)
    arguments = parser.parse_args()
    text = tables(*parquet_settings(arguments.rows), *zarr_settings(arguments.rows))
    print(text)
    if arguments.write:
        write_between(DOCUMENT, BEGIN, END, text)


if __name__ == "__main__":
    main()
