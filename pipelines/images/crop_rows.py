"""Crops of a source's rows as tensors: cut out of images, or drawn, as they are or changed for training."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from estimators.images.crop_augmentation import CropAugmentationSettings, augmented_crops, colour_gains
from estimators.images.crop_pixels import coloured, cut_crop
from estimators.images.crops import Crops, CropSettings
from estimators.images.drawn_people import draw_people
from pipelines.images.image_table import ImageTable
from pipelines.images.settings import DRAWN, PicturesSettings
from poses.cameras import CAMERA_FIELDS
from poses.randomness import RowRandom
from storage.errors import ImageError
from storage.images import ImageFolder

PURPOSE = "train_images.crop"
_WIDTH, _HEIGHT = CAMERA_FIELDS.index("width"), CAMERA_FIELDS.index("height")


@dataclass(frozen=True, eq=False)
class CropBatch:
    """B crops and what they show.

    Attributes:
        images: (B, 3, size, size) float32 RGB in [0, 1].
        keypoints_crop: (B, J, 2) float32 crop coordinates, NaN where unknown.
        joints_root_m: (B, J, 3) float32, in the axes of the turned and mirrored camera.
        rows: (B,) of the table: those asked for less the bad ones.
        crops: Where they were cut.
        faults: Rows that gave no crop, with the reason.
    """

    images: Tensor
    keypoints_crop: Tensor
    joints_root_m: Tensor
    rows: np.ndarray
    crops: Crops
    faults: tuple[tuple[int, str], ...]


class CropRows:
    """Crops of one source.

    Args:
        table: Rows that a crop can be made of (see `image_table.row_faults`).
        pictures: Where its images are, or how they are drawn.
        crop: Size and margin.
    """

    def __init__(self, table: ImageTable, pictures: PicturesSettings, crop: CropSettings) -> None:
        self.table, self._pictures, self._crop = table, pictures, crop
        self._joints_root_m = table.joints_root_m
        self._folder = None
        if pictures.images != DRAWN:
            self._folder = ImageFolder(pictures.images or table.where, pictures.limits)

    def __len__(self) -> int:
        return len(self.table)

    def as_they_are(self, rows: np.ndarray) -> CropBatch:
        """Upright crops, as for evaluation."""
        return self._batch(rows, self._upright(rows), None)

    def augmented(
        self, rows: np.ndarray, passes: np.ndarray, settings: CropAugmentationSettings, seed: int
    ) -> CropBatch:
        """Crops for training.

        Args:
            rows: (B,) of the table.
            passes: (B,) which pass over the data each of them belongs to; another pass, another crop.
            settings: Of the changes.
            seed: Of the run.
        """
        random = RowRandom(seed, PURPOSE, self.table.sample_id[rows], passes)
        return self._batch(
            rows, augmented_crops(self._upright(rows), settings, random), colour_gains(settings, random)
        )

    def _upright(self, rows: np.ndarray) -> Crops:
        return self.table.take(rows).crops(self._crop.margin)

    def _batch(self, rows: np.ndarray, crops: Crops, gains: np.ndarray | None) -> CropBatch:
        images, faults = self._images(rows, crops)
        good = np.asarray([image is not None for image in images], bool)
        kept = [coloured(image, gains[k]) if gains is not None else image
                for k, image in enumerate(images) if image is not None]  # fmt: skip
        crops, rows, skeleton = crops.take(good), rows[good], self.table.skeleton
        size = self._crop.size
        pixels = np.stack(kept) if kept else np.zeros((0, size, size, 3), np.float32)
        keypoints = crops.keypoints_in_crop(self.table.keypoints_px[rows], skeleton)
        joints = crops.joints_in_crop(self._joints_root_m[rows], skeleton)
        return CropBatch(
            torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2), np.float32)),
            torch.from_numpy(keypoints.astype(np.float32)),
            torch.from_numpy(joints.astype(np.float32)),
            rows,
            crops,
            tuple(faults),
        )

    def _images(
        self, rows: np.ndarray, crops: Crops
    ) -> tuple[Sequence[np.ndarray | None], list[tuple[int, str]]]:
        """RGB in [0, 1] of every row, None where there is none, and why."""
        table, size = self.table, self._crop.size
        if self._folder is None:
            drawn = draw_people(
                table.joints_camera_m[rows],
                table.camera_px[rows],
                crops,
                table.sample_id[rows],
                table.skeleton,
                self._pictures.drawing,
                size,
            )
            return list(drawn.astype(np.float32) / np.float32(255.0)), []
        with ThreadPoolExecutor(self._pictures.readers) as pool:
            found = list(
                pool.map(self._cut, rows.tolist(), [crops.take(slice(k, k + 1)) for k in range(len(rows))])
            )
        faults = [(row, one) for row, one in zip(rows.tolist(), found, strict=True) if isinstance(one, str)]
        return [None if isinstance(one, str) else one for one in found], faults

    def _cut(self, row: int, crop: Crops) -> np.ndarray | str:
        """One crop out of its image file, or why there is none."""
        folder, path = self._folder, self.table.image[row]
        if folder is None:
            return "no folder of images"
        if not path:
            return "the column 'image' is empty; name its image, or leave the row out of the dataset"
        try:
            image = folder.read(path)
        except ImageError as error:
            return str(error)
        height, width = image.shape[:2]
        wanted_width, wanted_height = self.table.camera_px[row, [_WIDTH, _HEIGHT]].tolist()
        scale = width / wanted_width
        if abs(wanted_height * scale - height) > max(1.0, scale):
            return (
                f"{folder.where(path)}: {width} x {height} pixels, its camera has {wanted_width:.0f} x "
                f"{wanted_height:.0f}, another shape; keypoints would not fit, give the image that they were marked in"
            )
        return cut_crop(image, _scaled(crop, scale), self._crop.size)


def _scaled(crop: Crops, scale: float) -> Crops:
    """The same square in an image that was resized."""
    return Crops(crop.centre_px * scale, crop.half_side_px * scale, crop.angle_rad, crop.mirrored)
