"""Small inputs for tests of image jobs: few pairs, drawn or with image files, and networks of some thousand weights."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from estimators.images.drawn_people import DrawingSettings, draw_people, whole_image
from pipelines.train_images import TrainImagesSettings
from poses.batch import PoseBatch
from poses.cameras import CAMERA_FIELDS
from storage.images import encode_image
from storage.manifest import publish_manifest
from storage.object_store import open_store
from storage.reader import Dataset
from storage.writer import UnitWriter

SIDE = 100
NETWORK: dict[str, Any] = {
    "backbone": {"depth": 18, "width": 4},
    "head_channels": 8,
    "graph": {"channels": 8, "blocks": 1},
}


def few_pairs(source: Path, part: str, count: int, rig: str = "h36m_like") -> PoseBatch:
    """Pairs of one part, spread over it, with cameras of a tenth of the size."""
    pairs = Dataset.open(str(source)).read_pairs()
    pairs = pairs.take((pairs.extra["part"] == part) & (pairs.extra["rig"] == rig))
    pairs = pairs.take(np.linspace(0, len(pairs) - 1, count).astype(np.int64))
    camera = pairs.camera_px.copy()
    for name in ("fx", "fy", "cx", "cy", "width", "height"):
        camera[:, CAMERA_FIELDS.index(name)] /= 10.0
    return replace(pairs, camera_px=camera, keypoints_px=pairs.keypoints_px / np.float32(10.0))


def with_images(pairs: PoseBatch, folder: Path) -> PoseBatch:
    """The pairs with drawn pictures of them in a folder, named in the column `image`."""
    squares, look = whole_image(pairs.camera_px), DrawingSettings()
    joints_m, camera_px = pairs.joints_camera_m, pairs.camera_px
    drawn = draw_people(joints_m, camera_px, squares, pairs.sample_id, pairs.skeleton, look, SIDE)
    names = [f"{one}.png" for one in pairs.sample_id.tolist()]
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in zip(names, drawn, strict=True):
        (folder / name).write_bytes(encode_image(picture))
    return replace(pairs, extra={**pairs.extra, "image": np.asarray(names, object)})


def write_dataset(url: Path, batches: list[PoseBatch]) -> Path:
    """A dataset of such pairs."""
    store, skeleton, keypoints = open_store(url), batches[0].skeleton, batches[0].keypoint_skeleton
    with UnitWriter(store, "made", "one", skeleton, keypoint_skeleton=keypoints) as writer:
        for batch in batches:
            writer.add_pairs(batch)
        commit = writer.commit()
    publish_manifest(store, "made", [commit], skeleton, keypoint_skeleton=keypoints)
    return url


def train_settings(url: Path, images: str | None = "drawn", **changes: Any) -> TrainImagesSettings:
    """Six small steps."""
    values: dict[str, Any] = {
        "data": [{"url": str(url), "parts": ["source_train"], "images": images}],
        "validation": [{"url": str(url), "parts": ["source_valid"], "images": images}],
        "network": NETWORK,
        "crop": {"size": 32},
        "batch_rows": 6,
        "steps": 6,
        "validate_every": 3,
        "checkpoint_every": 2,
    }
    return TrainImagesSettings.model_validate({**values, **changes})
