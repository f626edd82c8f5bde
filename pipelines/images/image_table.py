"""Pairs with what is needed to cut people out of their images, as flat arrays."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from estimators.images.crops import Crops, crops_around
from pipelines.errors import SettingsError
from pipelines.images.settings import DRAWN, ImagePairsSource
from pipelines.keypoints import require_own_keypoints
from pipelines.pose_table import chosen_rows, nothing_chosen
from poses.cameras import CAMERA_FIELDS
from poses.skeleton import Skeleton
from storage.reader import Dataset

IMAGE_COLUMN, BOX_COLUMN = "image", "box_px"
_COLUMNS = (
    "joints_camera_m", "keypoints_px", "keypoint_confidence", "camera_px", "frame", "copy", "clip", "action",
    "camera_name",
)  # fmt: skip
_OPTIONAL = ("part", "rig", IMAGE_COLUMN, BOX_COLUMN)
_LEAST_SIDE_PX = 2.0
_SIZE = [CAMERA_FIELDS.index("width"), CAMERA_FIELDS.index("height")]


@dataclass(frozen=True, eq=False)
class ImageTable:
    """N pairs of one source in memory.

    Attributes:
        skeleton: Of all rows.
        where: The dataset, for messages.
        sample_id: (N,) int64.
        joints_camera_m: (N, J, 3) float32.
        keypoints_px: (N, J, 2) float32, NaN where a keypoint is missing (confidence 0) or no number.
        camera_px: (N, 11) float32.
        image: (N,) paths of the images; "" where they are drawn.
        box_px: (N, 4) float32 left, top, width, height; NaN where the dataset has no box.
        action, part, rig: (N,) object arrays of str.
        sequence: (N,) object array; rows of one clip, camera and copy share a name.
        frame: (N,) int32.
    """

    skeleton: Skeleton
    where: str
    sample_id: np.ndarray
    joints_camera_m: np.ndarray
    keypoints_px: np.ndarray
    camera_px: np.ndarray
    image: np.ndarray
    box_px: np.ndarray
    action: np.ndarray
    part: np.ndarray
    rig: np.ndarray
    sequence: np.ndarray
    frame: np.ndarray

    def __len__(self) -> int:
        return len(self.sample_id)

    def take(self, rows: np.ndarray) -> "ImageTable":
        """The rows of an index or a mask."""
        columns = {name: value[rows] for name, value in vars(self).items() if isinstance(value, np.ndarray)}
        return ImageTable(self.skeleton, self.where, **columns)

    @property
    def joints_root_m(self) -> np.ndarray:
        """(N, J, 3) float32: joints relative to the root, in camera axes."""
        root = self.skeleton.root_index
        return self.joints_camera_m - self.joints_camera_m[:, root : root + 1]

    def crops(self, margin: float) -> Crops:
        """The upright square around every person."""
        return crops_around(self.keypoints_px, margin, self.box_px)


def load_image_table(source: ImagePairsSource) -> ImageTable:
    """All pairs of one source, in file order.

    Raises:
        SettingsError: if nothing is selected, pictures are wanted that the pairs do not name, or 2D and 3D have
            different joints.
    """
    dataset = Dataset.open(source.url, source.version)
    require_own_keypoints(dataset, "an image network, which sees one person in a crop,")
    pieces: list[dict[str, np.ndarray]] = []
    for path in (entry.path for entry in dataset.pair_files):
        keep = chosen_rows(dataset, source, path)
        if keep.any():
            pieces.append(_columns(dataset, source, path, keep))
    if not pieces:
        raise nothing_chosen(dataset, source)
    columns = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
    return ImageTable(dataset.skeleton, source.url, **columns)


def check_one_skeleton(tables: Sequence[ImageTable]) -> Skeleton:
    """The skeleton that all tables share.

    Raises:
        SettingsError: if two differ; names both.
    """
    first = tables[0]
    for other in tables[1:]:
        if other.skeleton.joints != first.skeleton.joints:
            raise SettingsError(
                f"{other.where}: skeleton {other.skeleton.name!r}, {first.where} has {first.skeleton.name!r}; import "
                "one of them again with the other's skeleton"
            )
    return first.skeleton


def concatenated(tables: Sequence[ImageTable]) -> ImageTable:
    """The rows of several tables of one skeleton."""
    first = tables[0]
    columns = {
        name: np.concatenate([getattr(table, name) for table in tables])
        for name, value in vars(first).items()
        if isinstance(value, np.ndarray)
    }
    return ImageTable(check_one_skeleton(tables), first.where, **columns)


def spread_rows(table: ImageTable, at_most: int | None) -> ImageTable:
    """At most so many rows, at equal distances."""
    if at_most is None or len(table) <= at_most:
        return table
    return table.take(np.linspace(0, len(table) - 1, at_most).astype(np.int64))


def row_faults(table: ImageTable, margin: float) -> list[tuple[int, str]]:
    """Rows that no crop can be made of, with the reason: 3D, camera, keypoints or box."""
    crops = table.crops(margin)
    low, high = crops.centre_px - crops.half_side_px[:, None], crops.centre_px + crops.half_side_px[:, None]
    size = table.camera_px[:, _SIZE]
    with np.errstate(invalid="ignore"):
        checks = {
            "its 3D joints are not all finite numbers": ~np.isfinite(table.joints_camera_m).all((1, 2)),
            "its camera has no finite focal length or image size above 0": ~(
                np.isfinite(table.camera_px).all(1) & (table.camera_px[:, [0, 1, *_SIZE]] > 0).all(1)
            ),
            "no box: wanted two keypoints with confidence above 0 that lie apart, or a box_px": ~(
                2.0 * crops.half_side_px >= _LEAST_SIDE_PX
            ),
            "its box lies outside the image": ((high <= 0) | (low >= size)).any(1),
        }
    found: dict[int, str] = {}
    for reason, bad in checks.items():
        for row in np.flatnonzero(bad).tolist():
            found.setdefault(row, reason)
    return sorted(found.items())


def _columns(
    dataset: Dataset, source: ImagePairsSource, path: str, keep: np.ndarray
) -> dict[str, np.ndarray]:
    there = dataset.open_pairs(path).columns
    if source.images != DRAWN and IMAGE_COLUMN not in there:
        raise SettingsError(
            f"{source.url}/{path}: wanted a column {IMAGE_COLUMN!r} with the path of every pair's image, the file has "
            f"{', '.join(there)}; add it (docs/training.md), or let people be drawn with images: {DRAWN}"
        )
    wanted = [*_COLUMNS, *(name for name in _OPTIONAL if name in there)]
    batch = dataset.open_pairs(path).read_rows(0, len(keep), wanted)
    rows = {name: values[keep] for name, values in batch.items()}
    n, nothing = int(keep.sum()), np.full(int(keep.sum()), "", object)
    seen = (rows["keypoint_confidence"] > 0) & np.isfinite(rows["keypoints_px"]).all(-1)
    names = (rows["clip"], rows.get("rig", nothing), rows["camera_name"], rows["copy"].tolist())
    return {
        "sample_id": rows["sample_id"],
        "joints_camera_m": np.ascontiguousarray(rows["joints_camera_m"], np.float32),
        "keypoints_px": np.where(seen[..., None], rows["keypoints_px"], np.float32(np.nan)),
        "camera_px": np.ascontiguousarray(rows["camera_px"], np.float32),
        "image": nothing if source.images == DRAWN else rows[IMAGE_COLUMN],
        "box_px": _boxes(rows.get(BOX_COLUMN), n, f"{source.url}/{path}"),
        "action": rows["action"],
        "part": rows.get("part", nothing),
        "rig": rows.get("rig", nothing),
        "sequence": np.asarray(["|".join(map(str, one)) for one in zip(*names, strict=True)], object),
        "frame": rows["frame"],
    }


def _boxes(boxes: np.ndarray | None, rows: int, where: str) -> np.ndarray:
    if boxes is None:
        return np.full((rows, 4), np.nan, np.float32)
    if boxes.shape != (rows, 4):
        raise SettingsError(
            f"{where}: column {BOX_COLUMN!r} has rows of shape {list(boxes.shape[1:])}, wanted [4]: left, top, width, "
            "height in pixels"
        )
    return boxes.astype(np.float32)
