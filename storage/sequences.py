"""Whole motions as one Zarr v3 group per unit: every clip's frames end to end, and a table of the clips.

Layout of `sequences/<digest>.zarr`: `joints_world_m` (T,J,3) float32 and `source_frame` (T,) int32, chunks of
8,192 frames in shards of 65,536, and in the group's attributes the skeleton and the clip table
(`first_frame`, `n_frames`). A shard is written whole by one call: partial writes of one shard by two writers
would lose data. The group is made in a scratch folder and appears under its digest when it is finished.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec

from poses.motion import MotionClip
from poses.skeleton import Skeleton
from storage.commit import FileEntry
from storage.errors import DatasetError, ShardError, StoreError
from storage.manifest import layout_version
from storage.object_store import ObjectStore

CHUNK_FRAMES = 8_192
SHARD_FRAMES = 65_536
ZARR_CODEC = BloscCodec(cname="lz4", clevel=5, shuffle="shuffle")
"""As small as zstd on motion, and read and written half as fast again: docs/benchmarks.md."""

ATTRIBUTE = "posemill"


def write_sequences(folder: Path, clips: Sequence[MotionClip], skeleton: Skeleton) -> list[dict[str, Any]]:
    """Writes the clips as a Zarr group in an empty folder; returns the clip table.

    Raises:
        DatasetError: if a clip has another skeleton or arrays that do not fit together.
    """
    table = _clip_table(clips, skeleton)
    frames = sum(row["n_frames"] for row in table)
    group = zarr.create_group(store=str(folder), zarr_format=3)
    group.attrs[ATTRIBUTE] = {
        "schema_version": layout_version(False),
        "skeleton": skeleton.name,
        "joints": list(skeleton.joints),
        "clips": table,
    }
    joints = _create(
        group, "joints_world_m", (frames, skeleton.n_joints, 3), np.float32, ("time", "joint", "xyz")
    )
    source_frame = _create(group, "source_frame", (frames,), np.int32, ("time",))
    for start, stop, parts in _shards(clips):
        joints[start:stop] = np.concatenate([clip.joints_world_m[part] for clip, part in parts])
        source_frame[start:stop] = np.concatenate([clip.source_frame[part] for clip, part in parts])
    return table


def _create(
    group: zarr.Group, name: str, shape: tuple[int, ...], kind: type[np.generic], dimensions: tuple[str, ...]
) -> zarr.Array:
    return group.create_array(
        name,
        shape=shape,
        dtype=kind,
        chunks=(CHUNK_FRAMES, *shape[1:]),
        shards=(SHARD_FRAMES, *shape[1:]),
        compressors=(ZARR_CODEC, Crc32cCodec()),
        dimension_names=dimensions,
    )


def _clip_table(clips: Sequence[MotionClip], skeleton: Skeleton) -> list[dict[str, Any]]:
    table: list[dict[str, Any]] = []
    first = 0
    for clip in clips:
        _check_clip(clip, skeleton)
        frames = len(clip.joints_world_m)
        table.append(
            {
                "key": clip.key,
                "subject": clip.subject,
                "action": clip.action,
                "rate_hz": float(clip.rate_hz),
                "source_file": clip.source_file,
                "first_frame": first,
                "n_frames": frames,
            }
        )
        first += frames
    return table


def _check_clip(clip: MotionClip, skeleton: Skeleton) -> None:
    if (clip.skeleton.joints, clip.skeleton.parents) != (skeleton.joints, skeleton.parents):
        raise DatasetError(
            f"clip {clip.key!r}: wanted skeleton {skeleton.name!r}, got {clip.skeleton.name!r}; map it to"
            " the dataset's skeleton first (poses.skeleton.joint_map)"
        )
    frames, wanted = len(clip.joints_world_m), (skeleton.n_joints, 3)
    if clip.joints_world_m.shape[1:] != wanted or clip.source_frame.shape != (frames,):
        raise DatasetError(
            f"clip {clip.key!r}: wanted joints (T, {wanted[0]}, 3) and source_frame (T,), got"
            f" {clip.joints_world_m.shape} and {clip.source_frame.shape}"
        )


def _shards(clips: Sequence[MotionClip]) -> Iterator[tuple[int, int, list[tuple[MotionClip, slice]]]]:
    """Frame ranges of whole shards, each with the pieces of clips that fill it."""
    start, filled = 0, 0
    parts: list[tuple[MotionClip, slice]] = []
    for clip in clips:
        taken, frames = 0, len(clip.joints_world_m)
        while taken < frames:
            portion = min(frames - taken, SHARD_FRAMES - filled)
            parts.append((clip, slice(taken, taken + portion)))
            taken, filled = taken + portion, filled + portion
            if filled == SHARD_FRAMES:
                yield start, start + filled, parts
                start, filled, parts = start + filled, 0, []
    if parts:
        yield start, start + filled, parts


@contextmanager
def open_sequences(store: ObjectStore, entry: FileEntry) -> Iterator[tuple[zarr.Group, list[dict[str, Any]]]]:
    """A sequence group for reading, with its clip table.

    Raises:
        ShardError: if files of the group are missing or shortened, or the group cannot be read.
    """
    where = f"{store.url}/{entry.path}"
    size_bytes = sum(store.size_bytes(name) for name in store.list(entry.path))
    if size_bytes != entry.bytes:
        raise ShardError(
            f"{where}: {entry.bytes:,} bytes in the manifest, {size_bytes:,} in the group; files are"
            " missing or damaged, run `posemill verify`"
        )
    with store.local_tree(entry.path) as folder, _as_shard_error(where):
        group = zarr.open_group(str(folder), mode="r", zarr_format=3)
        attributes: Any = group.attrs[ATTRIBUTE]
        yield group, list(attributes["clips"])


@contextmanager
def _as_shard_error(where: str) -> Iterator[None]:
    """Turns what Zarr raises on damaged data into a ShardError; our own errors pass."""
    try:
        yield
    except (ShardError, StoreError):
        raise
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise ShardError(
            f"{where}: cannot be read: {error}; the group is damaged, run `posemill verify`"
        ) from error


def read_clips(store: ObjectStore, entry: FileEntry, skeleton: Skeleton) -> Iterator[MotionClip]:
    """The clips of one group, in order; at most about one shard of frames is held at a time.

    Raises:
        ShardError: if the group is damaged.
    """
    with open_sequences(store, entry) as (group, table):
        for portion in _portions(table):
            start, stop = portion[0]["first_frame"], portion[-1]["first_frame"] + portion[-1]["n_frames"]
            joints = np.asarray(_array(group, "joints_world_m")[start:stop])
            frames = np.asarray(_array(group, "source_frame")[start:stop])
            for row in portion:
                part = slice(row["first_frame"] - start, row["first_frame"] - start + row["n_frames"])
                yield MotionClip(
                    key=row["key"],
                    subject=row["subject"],
                    action=row["action"],
                    rate_hz=row["rate_hz"],
                    joints_world_m=joints[part],
                    skeleton=skeleton,
                    source_file=row["source_file"],
                    source_frame=frames[part],
                )


def _array(group: zarr.Group, name: str) -> zarr.Array:
    """An array of the group. Raises KeyError or TypeError when it is not there."""
    array = group[name]
    if not isinstance(array, zarr.Array):
        raise TypeError(f"{name!r} is no array")
    return array


def _portions(table: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Neighbouring clips together, up to a shard of frames."""
    portion: list[dict[str, Any]] = []
    for row in table:
        portion.append(row)
        if sum(clip["n_frames"] for clip in portion) >= SHARD_FRAMES:
            yield portion
            portion = []
    if portion:
        yield portion
