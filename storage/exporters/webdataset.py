"""WebDataset: tar files of samples, one pair each, for training loops that stream.

A sample has three members: `KEY.joints_camera_m.npy` (J,3), `KEY.json` (identity, confidence, camera, extra
columns) and `KEY.keypoints_px.npy` (J,2); the key is the sample id with 19 digits. The files are the same
bytes for the same pairs. `index.json` lists the shards as the wids readers of the webdataset package want it.
"""

import json

import numpy as np
import pyarrow as pa

from poses.batch import PoseBatch
from storage.exporters.json_text import column, objects
from storage.exporters.plain_npz import npy_bytes
from storage.exporters.selection import PairsSelection
from storage.exporters.settings import ExportSettings
from storage.exporters.target import ExportedFiles, ExportTarget
from storage.exporters.ustar import TarWriter

SHARD_ROWS = 50_000
ARRAYS = ("joints_camera_m", "keypoints_px")
"""Columns with a member of their own; all others are in the JSON member."""
JSON_COLUMNS = (
    "sample_id", "source_id", "copy", "frame", "clip", "subject", "action", "camera_name",
    "keypoint_confidence", "camera_px",
)  # fmt: skip
MEMBERS = ("joints_camera_m.npy", "json", "keypoints_px.npy")
"""Of every sample, in their order in the file."""


def write_webdataset(selection: PairsSelection, target: ExportTarget, settings: ExportSettings) -> None:
    """`NAME-000000.tar` and so on, and the index."""
    for number, shard in enumerate(selection.shards(settings.shard_rows or SHARD_ROWS)):
        write_shard(shard, shard_name(settings, number), target)
    write_index(target, settings)


def shard_name(settings: ExportSettings, number: int) -> str:
    """File name of a shard."""
    return f"{settings.name}-{number:06d}.tar"


def write_shard(pairs: PoseBatch, name: str, target: ExportedFiles) -> None:
    """One tar."""
    with target.file(name, rows=len(pairs)) as sink:
        writer = TarWriter(sink)
        add_samples(pairs, writer)
        writer.close()


def write_index(target: ExportedFiles, settings: ExportSettings) -> None:
    """The list of all shards, when they are all there."""
    shards = [{"url": file.path, "nsamples": file.rows, "filesize": file.bytes} for file in target.files]
    index = {"wids_version": 1, "name": settings.name, "shardlist": shards}
    with target.file("index.json") as sink:
        sink.write((json.dumps(index, indent=1) + "\n").encode())


def add_samples(pairs: PoseBatch, writer: TarWriter) -> None:
    """One sample per pair, in their order."""
    described = sample_json(pairs).to_pylist()
    arrays = {name: _npy_rows(getattr(pairs, name)) for name in ARRAYS}
    for row, one in enumerate(pairs.sample_id.tolist()):
        key = b"%019d." % one
        for member in MEMBERS:
            name = member.removesuffix(".npy")
            data = described[row].encode() if member == "json" else arrays[name][row]
            writer.add(key + member.encode(), data)


def sample_json(pairs: PoseBatch) -> pa.Array:
    """The JSON member of every pair."""
    fields: dict[str, pa.Array | str] = {name: column(getattr(pairs, name)) for name in JSON_COLUMNS}
    fields["skeleton"] = json.dumps(pairs.skeleton.name)
    if pairs.extra:
        fields["extra"] = objects({name: column(values) for name, values in sorted(pairs.extra.items())})
    return objects(fields)


def _npy_rows(values: np.ndarray) -> list[bytes]:
    """Every row of (B, ...) numbers as an npy file; the header is the same for all."""
    whole = bytes(npy_bytes(values[0]))
    header, rows = whole[: len(whole) - values[0].nbytes], np.ascontiguousarray(values)
    return [header + row.tobytes() for row in rows]
