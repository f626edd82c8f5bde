"""COCO keypoints JSON: what pycocotools and detectors' training code read.

One image and one annotation per pair (ids from 1 through all files). COCO has no place for 3D, cameras and
identity, so they stand in further keys of the annotation, under our own names; loaders skip keys that they do
not know. The images themselves do not exist: `file_name` is a name for whoever renders or has them.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from poses.batch import PoseBatch
from poses.cameras import CAMERA_FIELDS
from poses.skeleton import Skeleton
from storage.exporters.columns import ColumnSpec
from storage.exporters.json_text import chosen, column, lists, numbers, objects, rows_joined
from storage.exporters.selection import PairsSelection
from storage.exporters.settings import ExportSettings
from storage.exporters.target import ExportTarget

SHARD_ROWS = 50_000
CATEGORY_ID = 1
FOLDER = "annotations"
INFO_KEY = "posemill"
KEYPOINTS_KEY = "keypoints_px"
"""Of annotations with a missing keypoint whose pixels are not 0, 0: all pixels as they were."""

VISIBLE, MISSING = 2, 0


def write_coco(selection: PairsSelection, target: ExportTarget, settings: ExportSettings) -> None:
    """One self-contained JSON file per shard, `annotations/NAME-00000.json`."""
    first_id = 1
    for number, shard in enumerate(selection.shards(settings.shard_rows or SHARD_ROWS)):
        name = f"{FOLDER}/{settings.name}-{number:05d}.json"
        with target.file(name, rows=len(shard)) as sink:
            for part in coco_parts(shard, first_id, selection.columns, settings.name):
                sink.write(part)
        first_id += len(shard)


def coco_parts(
    pairs: PoseBatch, first_id: int, columns: tuple[ColumnSpec, ...], name: str
) -> tuple[bytes, ...]:
    """The JSON file of some pairs in pieces.

    Args:
        pairs: At least one.
        first_id: Id of the first image and annotation.
        columns: Of the export; go into `info`, so that the file can be read alone.
        name: Of the export.
    """
    ids = numbers(np.arange(first_id, first_id + len(pairs), dtype=np.int64))
    head = {
        "info": {
            "description": f"{name}: 2D-3D human pose pairs of posemill",
            "version": "1.0",
            INFO_KEY: {
                "skeleton": pairs.skeleton.to_dict(),
                "columns": [spec.model_dump(mode="json") for spec in columns],
            },
        },
        "licenses": [],
        "categories": [category(pairs.skeleton)],
    }
    return (
        json.dumps(head)[:-1].encode(),
        b',\n"images": [\n',
        rows_joined(_images(pairs, ids)),
        b'\n],\n"annotations": [\n',
        rows_joined(_annotations(pairs, ids)),
        b"\n]}\n",
    )


def category(skeleton: Skeleton) -> dict[str, Any]:
    """COCO's category: keypoint names, and bones as pairs of keypoint numbers from 1."""
    bones = zip(skeleton.bone_parent_index.tolist(), skeleton.bone_child_index.tolist(), strict=True)
    return {
        "id": CATEGORY_ID,
        "name": "person",
        "supercategory": "person",
        "keypoints": list(skeleton.joints),
        "skeleton": [[parent + 1, child + 1] for parent, child in bones],
    }


def boxes(pairs: PoseBatch) -> np.ndarray:
    """(B, 4) float32 x, y, width, height of what is seen of each person's keypoints; zeros where nothing is."""
    seen = (pairs.keypoint_confidence > 0)[..., None]
    low = np.where(seen, pairs.keypoints_px, np.inf).min(axis=1)
    high = np.where(seen, pairs.keypoints_px, -np.inf).max(axis=1)
    with np.errstate(invalid="ignore", over="ignore"):
        box = np.concatenate([low, high - low], axis=1)
    return np.where(seen.any(axis=1), box, 0).astype(np.float32)


def _images(pairs: PoseBatch, ids: pa.Array) -> pa.Array:
    names = np.asarray([f"{one:019d}.jpg" for one in pairs.sample_id.tolist()], object)
    sizes = pairs.camera_px[:, [CAMERA_FIELDS.index("width"), CAMERA_FIELDS.index("height")]]
    whole = np.nan_to_num(np.rint(sizes), nan=0, posinf=0, neginf=0).astype(np.int64)
    return objects(
        {
            "id": ids,
            "file_name": column(names),
            "width": numbers(whole[:, 0]),
            "height": numbers(whole[:, 1]),
        }
    )


def _annotations(pairs: PoseBatch, ids: pa.Array) -> pa.Array:
    seen = pairs.keypoint_confidence > 0
    flags = np.where(seen, np.float32(VISIBLE), np.float32(MISSING))
    shown = np.where(seen[..., None], pairs.keypoints_px, np.float32(0))
    box = boxes(pairs)
    with np.errstate(over="ignore"):
        area = box[:, 2] * box[:, 3]
    fields: dict[str, pa.Array | str] = {
        "id": ids,
        "image_id": ids,
        "category_id": str(CATEGORY_ID),
        "iscrowd": "0",
        "bbox": lists(box),
        "area": numbers(area),
        "num_keypoints": numbers(seen.sum(axis=1)),
        "keypoints": lists(np.concatenate([shown, flags[..., None]], axis=-1)),
        **{name: column(values) for name, values in _other_columns(pairs).items()},
    }
    hidden = (~seen[..., None] & (pairs.keypoints_px != 0)).any(axis=(1, 2))
    if hidden.any():
        fields[KEYPOINTS_KEY] = chosen(hidden, lists(pairs.keypoints_px))
    if pairs.extra:
        fields["extra"] = objects({name: column(values) for name, values in sorted(pairs.extra.items())})
    return objects(fields)


def _other_columns(pairs: PoseBatch) -> Mapping[str, np.ndarray]:
    names = (
        "sample_id", "source_id", "copy", "frame", "clip", "subject", "action", "camera_name",
        "joints_camera_m", "keypoint_confidence", "camera_px",
    )  # fmt: skip
    return {name: getattr(pairs, name) for name in names}
