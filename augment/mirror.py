"""Mirror images: the same pair seen in a mirror, exact in 3D, 2D and camera."""

from collections.abc import Mapping

import numpy as np

from augment.contract import UP_COLUMN, Augmented, check_whole_windows, derived_pairs, split_by_reason
from augment.validity import reasons_if_not_finite
from augment.windows import POSE, WindowShape
from poses.batch import PoseBatch
from poses.cameras import camera_field, mirror_camera_px

PURPOSE = "mirror"
_MIRROR = np.array([-1.0, 1.0, 1.0], np.float32)


class MirrorAugmentor:
    """Every row's mirror image: x negated, left and right exchanged, the image turned over.

    Nothing is drawn: copies of one row are equal but for their ids. The principal point moves to the other side, so
    that the mirrored 3D projects onto the mirrored 2D.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed

    @property
    def name(self) -> str:
        """What it is called."""
        return PURPOSE

    def augment(self, batch: PoseBatch, copy: int) -> Augmented:
        """One mirrored pair per row; only rows with broken numbers are rejected."""
        return self.augment_windows(batch, copy, POSE)

    def augment_windows(self, batch: PoseBatch, copy: int, shape: WindowShape) -> Augmented:
        """Mirrored motion: that of mirrored frames."""
        check_whole_windows(batch, shape)
        extra: dict[str, np.ndarray] = {}
        if UP_COLUMN in batch.extra:
            extra[UP_COLUMN] = batch.extra[UP_COLUMN] * _MIRROR
        pairs = derived_pairs(batch, self._seed, PURPOSE, copy, mirror_columns(batch), extra)
        return split_by_reason(pairs, reasons_if_not_finite(pairs.joints_camera_m, pairs.keypoints_px), shape)


def mirror_columns(batch: PoseBatch) -> Mapping[str, np.ndarray]:
    """The columns of a batch that a mirror changes, mirrored."""
    swap = batch.skeleton.mirror_index
    keypoints_px = batch.keypoints_px[:, swap]
    keypoints_px[..., 0] = camera_field(batch.camera_px, "width")[:, None] - keypoints_px[..., 0]
    return {
        "joints_camera_m": batch.joints_camera_m[:, swap] * _MIRROR,
        "keypoints_px": keypoints_px,
        "keypoint_confidence": batch.keypoint_confidence[:, swap],
        "camera_px": mirror_camera_px(batch.camera_px).astype(np.float32),
    }
