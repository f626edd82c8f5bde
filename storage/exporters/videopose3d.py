"""npz files in VideoPose3D's arrangement: sequences by subject, action and camera, 2D and 3D in files apart.

`data_2d_NAME-00000.npz`    positions_2d (T,J,2) pixels, keypoint_confidence (T,J), camera_px (T,11)
`data_3d_NAME-00000.npz`    positions_3d (T,J,3) metres, in the camera's frame (pairs have no world frame)
`data_rows_NAME-00000.npz`  sample_id, source_id, copy, frame and the extra columns, for the way back

The published files hold one pickled dictionary each, and no file of numbers can give the published loader the
dictionary that it asks for. DESIGN allows no pickle, so members are plain arrays, `positions_2d/000007` and
so on, and `metadata` is a JSON text that says which subject, action and camera each belongs to: `numpy.load`
opens everything with `allow_pickle=False`. With the setting `pickled` the published dictionaries are written
beside them, for the published loader (see docs/formats.md for what it can and cannot do with them).
"""

import json
from collections.abc import Sequence as Seq
from typing import Any

import numpy as np

from poses.cameras import camera_field
from poses.skeleton import Skeleton
from storage.exporters.columns import ColumnSpec
from storage.exporters.plain_npz import NpzWriter, npz_writer
from storage.exporters.selection import PairsSelection
from storage.exporters.sequences import Sequence, bucketed_sequences
from storage.exporters.settings import ExportSettings
from storage.exporters.target import ExportTarget

SHARD_ROWS = 131_072
METADATA = "metadata"

MEMBERS_2D = {
    "positions_2d": "keypoints_px",
    "keypoint_confidence": "keypoint_confidence",
    "camera_px": "camera_px",
}
MEMBERS_3D = {"positions_3d": "joints_camera_m"}
MEMBERS_ROWS = {"sample_id": "sample_id", "source_id": "source_id", "copy": "copy", "frame": "frame"}
"""Member folder -> column, by file."""


def write_videopose3d(selection: PairsSelection, target: ExportTarget, settings: ExportSettings) -> None:
    """Three files per shard, and two more where pickled ones are asked for."""
    with target.scratch_folder("buckets") as scratch:
        buckets = bucketed_sequences(selection, settings.shard_rows or SHARD_ROWS, scratch)
        for number, sequences in enumerate(buckets):
            _write_shard(sequences, selection.extras, target, f"{settings.name}-{number:05d}")
            if settings.pickled:
                _write_pickled(sequences, target, f"{settings.name}-{number:05d}")


def _write_shard(
    sequences: Seq[Sequence], extras: tuple[ColumnSpec, ...], target: ExportTarget, stem: str
) -> None:
    skeleton = sequences[0].pairs.skeleton
    rows = sum(len(sequence.pairs) for sequence in sequences)
    for kind, members in (("2d", MEMBERS_2D), ("3d", MEMBERS_3D), ("rows", MEMBERS_ROWS)):
        # rows are counted once, by the file that has the ids
        path, counted = f"data_{kind}_{stem}.npz", rows if kind == "rows" else 0
        with target.file(path, rows=counted) as sink, npz_writer(sink) as writer:
            described = _described(sequences, members)
            if kind == "rows":
                _add_extras(sequences, extras, described, writer)
            writer.add(METADATA, np.asarray(json.dumps({**metadata(skeleton), "sequences": described})))
            for number, sequence in enumerate(sequences):
                for folder, name in members.items():
                    writer.add(f"{folder}/{number:06d}", getattr(sequence.pairs, name))


def metadata(skeleton: Skeleton) -> dict[str, Any]:
    """VideoPose3D's own metadata: name, joint count, and the left and right joints in mirror order."""
    left = [skeleton.index(one) for one, _ in skeleton.mirror_pairs]
    right = [skeleton.index(other) for _, other in skeleton.mirror_pairs]
    return {
        "layout_name": skeleton.name,
        "num_joints": skeleton.n_joints,
        "keypoints_symmetry": [left, right],
        "joints": list(skeleton.joints),
        "parents": list(skeleton.parents),
    }


def _described(sequences: Seq[Sequence], members: dict[str, str]) -> list[dict[str, Any]]:
    """What the metadata says about each sequence; members go by their names in the file."""
    described: list[dict[str, Any]] = []
    for number, sequence in enumerate(sequences):
        key = sequence.key
        width, height = (
            float(camera_field(sequence.pairs.camera_px, name)[0]) for name in ("width", "height")
        )
        described.append(
            {
                "subject": key["subject"],
                "action": action_name(key),
                "camera": camera_label(key),
                "frames": len(sequence.pairs),
                "w": width if np.isfinite(width) else None,
                "h": height if np.isfinite(height) else None,
                "names": {name: key[name] for name in ("subject", "action", "clip", "camera_name")},
                **{folder: f"{folder}/{number:06d}" for folder in members},
            }
        )
    return described


def action_name(key: dict[str, str | int]) -> str:
    """VideoPose3D's second level: action, clip and copy; evaluation there groups by the first word."""
    words = [str(key["action"]) or "unknown", str(key["clip"])]
    if key["copy"]:
        words.append(f"copy {key['copy']}")
    if key["part"]:
        words.append(f"({key['part']})")
    return " ".join(word for word in words if word)


def camera_label(key: dict[str, str | int]) -> str:
    """The camera with its rig, where the dataset tells the rig."""
    return f"{key['rig']}/{key['camera_name']}" if key["rig"] else str(key["camera_name"])


def _add_extras(
    sequences: Seq[Sequence],
    extras: tuple[ColumnSpec, ...],
    described: list[dict[str, Any]],
    writer: NpzWriter,
) -> None:
    """Extra columns by number; strings as codes, with the names in the sequence's description."""
    for number, sequence in enumerate(sequences):
        texts: dict[str, list[str]] = {}
        for column, spec in enumerate(extras):
            values = np.asarray(sequence.pairs.extra[spec.name])
            if spec.dtype == "string":
                names, values = _coded(values)
                texts[spec.name] = names
            writer.add(f"extra_{column:03d}/{number:06d}", values)
        described[number]["texts"] = texts


def _coded(values: np.ndarray) -> tuple[list[str], np.ndarray]:
    names = sorted(set(values.tolist()))
    code = {name: number for number, name in enumerate(names)}
    return names, np.asarray([code[value] for value in values.tolist()], np.int32)


def _write_pickled(sequences: Seq[Sequence], target: ExportTarget, stem: str) -> None:
    """The published dictionaries. Every camera is an action of its own with one camera: 3D stays in its frame."""
    skeleton = sequences[0].pairs.skeleton
    positions_2d: dict[str, dict[str, list[np.ndarray]]] = {}
    positions_3d: dict[str, dict[str, np.ndarray]] = {}
    for sequence in sequences:
        subject, pairs = str(sequence.key["subject"]), sequence.pairs
        wanted = f"{action_name(sequence.key)} {camera_label(sequence.key)}"
        action, taken = wanted, positions_2d.get(subject, {})
        while action in taken:  # clips whose names read the same
            action += "'"
        positions_2d.setdefault(subject, {})[action] = [np.array(pairs.keypoints_px)]
        positions_3d.setdefault(subject, {})[action] = np.array(pairs.joints_camera_m)
    described = metadata(skeleton)
    with target.file(f"pickled/data_2d_{stem}.npz") as sink, npz_writer(sink) as writer:
        writer.add_pickled(METADATA, described)
        writer.add_pickled("positions_2d", positions_2d)
    with target.file(f"pickled/data_3d_{stem}.npz") as sink, npz_writer(sink) as writer:
        writer.add_pickled("positions_3d", positions_3d)
