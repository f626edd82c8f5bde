"""Crops with the joints that a network finds in them, as one picture to look at."""

import numpy as np

from estimators.images.graph_pose import GraphPoseNetwork
from estimators.images.trainer import predict_poses
from pipelines.images.crop_rows import CropRows
from poses.skeleton import Skeleton
from storage.images import encode_image

COLUMNS, ROWS = 8, 3
_SIDE = 128
"""Least side of a crop on the sheet."""
_TRUE = (255, 255, 255)
_LEFT, _RIGHT, _MIDDLE = (255, 60, 40), (40, 110, 255), (60, 230, 60)


def contact_sheet(network: GraphPoseNetwork, rows: CropRows) -> bytes | None:
    """A PNG of `COLUMNS` x `ROWS` crops of rows spread over the source; None if none has an image.

    Thin white lines are the true keypoints, thick ones the found: left red, right blue, the middle green.
    """
    chosen = np.unique(np.linspace(0, len(rows) - 1, COLUMNS * ROWS).astype(np.int64))
    batch = rows.as_they_are(chosen)
    if not len(batch.rows):
        return None
    device = next(network.parameters()).device
    found = predict_poses(network, batch.images.to(device)).keypoints_crop.cpu().numpy()
    times = -(-_SIDE // batch.images.shape[-1])
    pictures = np.rint(batch.images.permute(0, 2, 3, 1).numpy() * 255.0).astype(np.uint8)
    pictures = pictures.repeat(times, axis=1).repeat(times, axis=2)
    for picture, true, seen in zip(pictures, batch.keypoints_crop.numpy(), found, strict=True):
        for bone, (parent, child) in _bones(network.skeleton):
            _line(picture, true[parent], true[child], _TRUE, 0)
            _line(picture, seen[parent], seen[child], _colour(bone), 1)
    missing = COLUMNS * ROWS - len(pictures)
    tiles = np.concatenate([pictures, np.zeros((missing, *pictures.shape[1:]), np.uint8)])
    side = tiles.shape[1]
    sheet = tiles.reshape(ROWS, COLUMNS, side, side, 3).transpose(0, 2, 1, 3, 4)
    return encode_image(np.ascontiguousarray(sheet.reshape(ROWS * side, COLUMNS * side, 3)))


def _bones(skeleton: Skeleton) -> list[tuple[str, tuple[int, int]]]:
    pairs = zip(skeleton.bone_parent_index.tolist(), skeleton.bone_child_index.tolist(), strict=True)
    return list(zip(skeleton.bones, pairs, strict=True))


def _colour(bone: str) -> tuple[int, int, int]:
    return _LEFT if bone.startswith("left_") else _RIGHT if bone.startswith("right_") else _MIDDLE


def _line(
    picture: np.ndarray, start: np.ndarray, stop: np.ndarray, colour: tuple[int, int, int], half_width: int
) -> None:
    """A line between crop coordinates; nothing where a keypoint is not known."""
    side = len(picture)
    if not (np.isfinite(start).all() and np.isfinite(stop).all()):
        return
    share = np.linspace(0.0, 1.0, 2 * side)[:, None]
    places = np.floor((start + share * (stop - start) + 1.0) / 2.0 * side).astype(np.int64)
    for x in range(-half_width, half_width + 1):
        for y in range(-half_width, half_width + 1):
            inside = places + np.asarray([x, y])
            inside = inside[((inside >= 0) & (inside < side)).all(axis=1)]
            picture[inside[:, 1], inside[:, 0]] = colour
