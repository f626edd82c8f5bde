"""Mass generation from a trained default loop: PoseBatch in, augmented PoseBatch and rejected rows out."""

from dataclasses import replace

import numpy as np
import torch

from augment.contract import (
    UP_COLUMN,
    Augmented,
    before_one_camera,
    derived_pairs,
    split_by_reason,
    up_camera_of,
)
from augment.errors import AugmentError
from augment.feedback_loop.drawer import BaseDrawer, Candidates, SourceRows, as_candidates
from augment.feedback_loop.trained import TrainedFeedback
from augment.poseaug.augmentor import PoseAugAugmentor
from augment.validity import ValiditySettings, reasons_to_reject
from augment.windows import POSE, WindowShape
from poses.batch import PoseBatch
from poses.cameras import make_camera_px, project_px, screen_intrinsics
from poses.randomness import RowRandom

PURPOSE = "feedback"
IMAGE_PX = 1000
"""Drawn cameras have square images of this many pixels."""


class FeedbackAugmentor:
    """Draws from the wide base with the odds that the loop ended at; a share passes through the learned augmentor.

    Args:
        trained: What the loop learned.
        seed: Run seed; a row's result is a function of (seed, row id, copy).
    """

    name = "feedback"

    def __init__(self, trained: TrainedFeedback, seed: int) -> None:
        self._trained = trained
        self._seed = seed
        settings = trained.settings.base
        self._drawer = BaseDrawer(settings, trained.skeleton, trained.library, seed)
        margin = max(0.0, settings.max_abs_screen - 1.0) / 2.0
        self._validity = ValiditySettings(z_min_m=settings.min_depth_m, margin=margin)
        self._residual = PoseAugAugmentor(trained.residual, seed) if trained.residual is not None else None

    def augment(self, batch: PoseBatch, copy: int) -> Augmented:
        """One new pair per row; rows whose pose falls outside the image or behind the camera are rejected.

        Raises:
            AugmentError: if the batch has another skeleton than the loop was trained on.
        """
        return self.augment_windows(batch, copy, POSE)

    def augment_windows(self, batch: PoseBatch, copy: int, shape: WindowShape) -> Augmented:
        """Windows as the loop draws them for temporal estimators; a share of them is refined whole."""
        skeleton = self._trained.skeleton
        if batch.skeleton.joints != skeleton.joints:
            raise AugmentError(
                f"augmentor was trained on skeleton {skeleton.name!r} ({skeleton.n_joints} joints), got poses of "
                f"{batch.skeleton.name!r} ({batch.skeleton.n_joints}); import the source with that skeleton"
            )
        base = self._base(before_one_camera(batch, shape), copy, shape)
        if self._residual is None or not len(base.pairs):
            return base
        return Augmented(self._refined(base.pairs, copy, shape), base.rejected)

    def _base(self, batch: PoseBatch, copy: int, shape: WindowShape) -> Augmented:
        rows = SourceRows(
            shape.output_frames(batch.sample_id),
            torch.from_numpy(np.ascontiguousarray(batch.joints_camera_m)),
            torch.from_numpy(up_camera_of(batch)),
            torch.from_numpy(np.ascontiguousarray(screen_intrinsics(batch.camera_px), np.float32)),
            shape,
        )
        settings = self._trained.settings
        if settings.wide:
            candidates = self._drawer.draw(rows, copy, self._trained.odds)
        else:
            candidates = as_candidates(rows, self._trained.skeleton, settings.base)
        joints_camera_m = candidates.drawn.joints_camera_m.numpy()
        own_view = candidates.drawn.source_view.numpy()[:, None]
        camera_px = np.where(own_view, batch.camera_px, _camera_px(candidates))
        with np.errstate(all="ignore"):
            keypoints_px = project_px(joints_camera_m, camera_px)
        columns = {
            "joints_camera_m": joints_camera_m,
            "keypoints_px": keypoints_px,
            "keypoint_confidence": np.ones(keypoints_px.shape[:2], np.float32),
            "camera_px": camera_px,
            "camera_name": np.full(len(batch), self.name, dtype=object),
        }
        extra = {UP_COLUMN: candidates.drawn.up_camera.contiguous().numpy()}
        extra |= {
            f"augment_bin_{name}": bins.numpy().astype(np.int32)
            for name, bins in candidates.drawn.bins.items()
        }
        pairs = derived_pairs(batch, self._seed, PURPOSE, copy, columns, extra)
        reason = reasons_to_reject(joints_camera_m, keypoints_px, camera_px, self._validity)
        return split_by_reason(pairs, reason, shape)

    def _refined(self, pairs: PoseBatch, copy: int, shape: WindowShape) -> PoseBatch:
        """A share of the base's pairs, or windows, after the learned augmentor; where it gives none, they stay."""
        if self._residual is None:
            return pairs
        random = RowRandom(self._seed, f"{PURPOSE}.residual", shape.output_frames(pairs.source_id), copy)
        taken = random.uniform(1, stream="share")[:, 0] < self._trained.settings.residual.share
        chosen = np.flatnonzero(shape.repeated(taken))
        refined = np.zeros(len(pairs), np.int32)
        columns = {
            name: getattr(pairs, name).copy()
            for name in ("joints_camera_m", "keypoints_px", "keypoint_confidence")
        }
        up_camera = pairs.extra[UP_COLUMN].copy()
        if len(chosen):
            made = self._residual.augment_windows(pairs.take(chosen), copy, shape).pairs
            where = chosen[_positions(pairs.sample_id[chosen], made.source_id)]
            for name, values in columns.items():
                values[where] = getattr(made, name)
            up_camera[where] = made.extra[UP_COLUMN]
            refined[where] = 1
        extra = {**pairs.extra, UP_COLUMN: up_camera, "augment_refined": refined}
        return replace(pairs, **columns, extra=extra)


def _positions(ids: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Index in `ids` of every wanted id."""
    order = np.argsort(ids)
    return order[np.searchsorted(ids, wanted, sorter=order)]


def _camera_px(candidates: Candidates) -> np.ndarray:
    """(B, 11) pixel cameras of the drawn intrinsics."""
    intrinsics = candidates.drawn.intrinsics_screen.numpy()
    camera_px = np.tile(make_camera_px((1, 1), (0, 0), (IMAGE_PX, IMAGE_PX)), (len(intrinsics), 1))
    camera_px[:, 0:2] = intrinsics[:, 0:2] * (IMAGE_PX / 2)
    camera_px[:, 2:4] = (intrinsics[:, 2:4] + 1.0) * (IMAGE_PX / 2)
    return camera_px
