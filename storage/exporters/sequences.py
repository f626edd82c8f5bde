"""Pairs by sequence, whatever their order in the dataset and however many there are.

A sequence is what one camera saw of one copy of one clip. Pairs of a dataset may be shuffled, so they are
first dealt into buckets on disk by a hash of their clip, and each bucket is then sorted in memory. All cameras
of a clip meet in one bucket.
"""

import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from poses.batch import PoseBatch
from storage.errors import ExportError
from storage.exporters.columns import batch_of
from storage.exporters.selection import PairsSelection
from storage.schema import arrow_schema, batch_columns, to_arrow, to_numpy

MAX_BUCKETS = 256
"""Files that are open at once."""
MAX_OVERFULL = 16
"""A bucket may hold so many times the rows that were meant for it before the export is refused."""

CLIP_KEYS = ("part", "subject", "action", "clip", "rig")
KEYS = ("part", "subject", "action", "clip", "copy", "rig", "camera_name")


@dataclass(frozen=True)
class Sequence:
    """One camera's view of one copy of a clip, by frame.

    Attributes:
        key: The values of `KEYS`; "" where the dataset has no such column.
        pairs: Sorted by frame, then sample id.
    """

    key: dict[str, str | int]
    pairs: PoseBatch


def bucketed_sequences(
    selection: PairsSelection, bucket_rows: int, scratch: Path
) -> Iterator[list[Sequence]]:
    """All sequences, bucket by bucket; within a bucket sorted by their keys.

    Args:
        selection: What to export.
        bucket_rows: Pairs that are meant for one bucket.
        scratch: An empty folder for about as many bytes as the pairs have in memory.

    Raises:
        ExportError: if one clip holds far more pairs than a bucket.
    """
    n_buckets = min(MAX_BUCKETS, max(1, -(-selection.dataset.n_pairs // bucket_rows)))
    rows = _deal(selection, n_buckets, scratch)
    limit = MAX_OVERFULL * max(bucket_rows, selection.dataset.n_pairs // n_buckets)
    for bucket in sorted(rows):
        if rows[bucket] > limit:
            raise ExportError(
                f"{selection.dataset.store.url}: {rows[bucket]:,} pairs belong to one clip or a few, and a file"
                f" would hold them all (meant: {bucket_rows:,}); their column `clip` does not tell clips apart?"
                " choose another format, or a larger --shard-rows"
            )
        path = _path(scratch, bucket)
        with pa.OSFile(str(path)) as source, pa.ipc.open_stream(source) as reader:
            table = reader.read_all()
        path.unlink()
        columns = {name: to_numpy(table.column(name)) for name in table.column_names}
        yield _sequences(batch_of(columns, selection.skeleton))


def _deal(selection: PairsSelection, n_buckets: int, scratch: Path) -> dict[int, int]:
    """Writes every pair into the file of its bucket; gives the rows of each."""
    rows: dict[int, int] = {}
    writers: dict[int, pa.ipc.RecordBatchStreamWriter] = {}
    with ExitStack() as stack:
        for batch in selection.batches():
            bucket_of_row = _buckets(batch, n_buckets)
            for bucket in np.unique(bucket_of_row).tolist():
                part = batch.take(bucket_of_row == bucket)
                columns = batch_columns(part)
                if bucket not in writers:
                    sink = stack.enter_context(pa.OSFile(str(_path(scratch, bucket)), "wb"))
                    schema = arrow_schema(columns, part.skeleton)
                    writers[bucket] = stack.enter_context(pa.ipc.new_stream(sink, schema))
                writers[bucket].write_batch(to_arrow(columns, arrow_schema(columns, part.skeleton)))
                rows[bucket] = rows.get(bucket, 0) + len(part)
    return rows


def _path(scratch: Path, bucket: int) -> Path:
    return scratch / f"bucket-{bucket:04d}.arrow"


def _buckets(batch: PoseBatch, n_buckets: int) -> np.ndarray:
    """(B,) number of each row's bucket: the same for all rows of a clip's copy."""
    codes, keys = _group(batch, (*CLIP_KEYS, "copy"))
    hashes = [zlib.crc32(repr(tuple(key.values())).encode()) % n_buckets for key in keys]
    return np.asarray(hashes, np.int64)[codes]


def _sequences(pairs: PoseBatch) -> list[Sequence]:
    codes, keys = _group(pairs, KEYS)
    order = np.lexsort((pairs.sample_id, pairs.frame, codes))
    bounds = np.searchsorted(codes[order], np.arange(len(keys) + 1))
    found = [
        Sequence(key, pairs.take(order[start:stop]))
        for key, start, stop in zip(keys, bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)
    ]
    return sorted(found, key=lambda sequence: tuple(str(value) for value in sequence.key.values()))


def _group(pairs: PoseBatch, names: tuple[str, ...]) -> tuple[np.ndarray, list[dict[str, str | int]]]:
    """(B,) group of each row, and the groups' values: "" for columns that are not there."""
    columns = [_column(pairs, name) for name in names]
    codes = np.zeros(len(pairs), np.int64)
    for values in columns:
        coded = pa.array(values, from_pandas=False).dictionary_encode()
        merged = codes * len(coded.dictionary) + coded.indices.to_numpy().astype(np.int64)
        codes = np.unique(merged, return_inverse=True)[1]
    first = np.unique(codes, return_index=True)[1]
    keys: list[dict[str, str | int]] = [
        {name: values[row].item() if name == "copy" else str(values[row]) for name, values in named}
        for row in first.tolist()
        for named in [list(zip(names, columns, strict=True))]
    ]
    return codes, keys


def _column(pairs: PoseBatch, name: str) -> np.ndarray:
    if name in ("subject", "action", "clip", "camera_name", "copy"):
        return getattr(pairs, name)
    values = pairs.extra.get(name)
    if values is None or values.dtype != object:
        return np.full(len(pairs), "", object)
    return values
