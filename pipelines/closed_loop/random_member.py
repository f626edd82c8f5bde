"""Random augmentation as a member of the loop: the baselines, drawn anew for every batch, deaf to the estimator."""

import numpy as np
import torch
from torch import Tensor

from augment.random_augmentation import RandomAugmentationSettings, RandomDraw, draw
from augment.validity import REASONS, reasons_to_reject
from augment.windows import Motion
from estimators.weights import WeightBuffer
from pipelines.closed_loop.augmentors import ChunkBuilder
from pipelines.closed_loop.checkpoint import MemberState
from pipelines.closed_loop.chunks import PoseChunk
from pipelines.closed_loop.ordering import RowStream
from pipelines.closed_loop.source_windows import SourceWindows
from poses.cameras import project_px, to_screen
from poses.kinematics import bone_lengths_m
from poses.randomness import RowRandom

SPARE = 1.5
"""Poses drawn per pose that is wanted; the filters refuse some."""


class RandomMember:
    """Streams the source through random augmentation, pass after pass; windows whole."""

    def __init__(
        self, settings: RandomAugmentationSettings, source: SourceWindows, wanted_rows: int, seed: int
    ) -> None:
        self._settings = settings
        self._source = source
        self._skeleton = source.poses.skeleton
        self._joints_root_m = source.poses.joints_root_m
        self._wanted = wanted_rows
        self._seed = seed
        rows = int(np.ceil(SPARE * wanted_rows))
        self._stream = RowStream(len(source), rows, seed, "random.candidates", drop_short=True)

    def produce(self, round_index: int, first_batch: int, n_batches: int, weights: WeightBuffer) -> PoseChunk:
        """`n_batches` batches of as many pairs as the trainer's diet wants."""
        chunk = ChunkBuilder(round_index, first_batch, weights.version)
        for _ in range(n_batches):
            copy = 1 + self._stream.position // self._stream.batches_per_pass
            index = self._stream.next()
            random = RowRandom(self._seed, "random_member", self._source.sample_id(index), copy)
            joints_root_m, keypoints_screen, rejected = self._judged(self._drawn(index, random))
            chunk.add(joints_root_m[: self._wanted], keypoints_screen[: self._wanted], rejected)
        return chunk.build()

    def _drawn(self, index: np.ndarray, random: RowRandom) -> RandomDraw:
        """Windows are seen by the camera of their output frame."""
        poses, shape, rows = self._source.poses, self._source.shape, self._source.frames(index)
        joints_root_m, up_camera, motion = self._joints_root_m[rows], poses.up_camera[rows], None
        if shape.temporal:
            lengths_m = bone_lengths_m(joints_root_m, self._skeleton)
            motion = Motion.of(poses.joints_camera_m[rows], self._skeleton.root_index, lengths_m, shape)
            up_camera = up_camera[motion.anchor]
        return draw(
            joints_root_m,
            up_camera,
            self._skeleton,
            random,
            self._settings,
            shape=shape,
            motion=motion,
        )

    def _judged(self, drawn: RandomDraw) -> tuple[Tensor, Tensor, dict[str, int]]:
        joints_camera_m, camera_px = drawn.joints_camera_m.numpy(), drawn.camera_px.numpy()
        keypoints_px = project_px(joints_camera_m, camera_px)
        shape = self._source.shape
        reason = reasons_to_reject(joints_camera_m, keypoints_px, camera_px, self._settings.validity)
        reason = shape.first_reasons(reason, REASONS)
        keep = torch.from_numpy(reason == "")
        root = self._skeleton.root_index
        joints_root_m = drawn.joints_camera_m - drawn.joints_camera_m[:, root : root + 1]
        keypoints_screen = torch.from_numpy(to_screen(keypoints_px, camera_px))
        rejected = {name: int((reason == name).sum()) for name in REASONS if (reason == name).any()}
        return shape.targets(joints_root_m)[keep], shape.windows(keypoints_screen)[keep], rejected

    def state(self) -> MemberState:
        return MemberState(scalars={"stream": self._stream.position})

    def load_state(self, state: MemberState) -> None:
        self._stream.position = state.scalars["stream"]

    def complaints(self) -> tuple[str, ...]:
        return ()
