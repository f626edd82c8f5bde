"""The batches of an image training: sources mixed by share, a function of the seed and the step alone.

As `pipelines.training_data.MixedBatches`, with crops that change from pass to pass. The next batch is made while the
network learns from this one.
"""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from estimators.images.crop_augmentation import CropAugmentationSettings
from pipelines.images.bad_pictures import BadPictures
from pipelines.images.crop_rows import CropBatch, CropRows
from pipelines.training_data import EndlessRows, rows_of_each


@dataclass(frozen=True, eq=False)
class TrainingCrops:
    """What one step learns from: see `CropBatch`."""

    images: Tensor
    keypoints_crop: Tensor
    joints_root_m: Tensor


class ImageBatches:
    """Batches of several sources.

    Args:
        sources: The rows of each.
        shares: Weight of each source.
        batch_rows: Rows of a batch; rows without a usable image make it smaller.
        augmentation: Of the crops.
        seed: Of order and crops.
        bad: Is told of rows without a usable image.

    Raises:
        SettingsError: if a source would get no row.
    """

    def __init__(
        self,
        sources: Sequence[CropRows],
        shares: Sequence[float],
        batch_rows: int,
        augmentation: CropAugmentationSettings,
        seed: int,
        bad: BadPictures,
    ) -> None:
        self._sources, self._augmentation, self._seed, self._bad = sources, augmentation, seed, bad
        self.rows_of_each = rows_of_each(shares, batch_rows)
        self._orders = [
            EndlessRows(len(rows), seed, f"train_images.{number}") for number, rows in enumerate(sources)
        ]
        self.batches_per_pass = max(1, round(len(sources[0]) / self.rows_of_each[0]))
        self._ahead = ThreadPoolExecutor(1, thread_name_prefix="crops")
        self._next: tuple[int, Future[list[CropBatch]]] | None = None

    def batch(self, step: int) -> TrainingCrops:
        """The crops of a step's batch.

        Raises:
            BadRowError, TooManyBadRowsError: as the policy says.
        """
        parts = self._next[1].result() if self._next and self._next[0] == step else self._made(step)
        self._next = (step + 1, self._ahead.submit(self._made, step + 1))
        for source, part in zip(self._sources, parts, strict=True):
            self._bad.add(source.table, part.faults)
        return TrainingCrops(
            torch.cat([part.images for part in parts]),
            torch.cat([part.keypoints_crop for part in parts]),
            torch.cat([part.joints_root_m for part in parts]),
        )

    def close(self) -> None:
        """Drop the batch in the making."""
        self._ahead.shutdown(wait=True, cancel_futures=True)

    def _made(self, step: int) -> list[CropBatch]:
        parts = []
        for source, order, count in zip(self._sources, self._orders, self.rows_of_each, strict=True):
            positions = step * count + np.arange(count)
            rows = order.take(step * count, count)
            parts.append(source.augmented(rows, positions // len(source), self._augmentation, self._seed))
        return parts
