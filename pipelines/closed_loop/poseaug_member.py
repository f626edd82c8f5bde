"""PoseAug as a member of the loop: one GAN step per batch, in the published order, and its fakes as a chunk."""

import numpy as np
import torch
from torch import Tensor

from augment.poseaug.bone_length_template import build_bone_length_template, swap_bone_lengths
from augment.poseaug.fake_filter import project
from augment.poseaug.learner import GanBatch, PoseAugLearner
from estimators.lifters.contract import Lifter
from estimators.weights import WeightBuffer
from pipelines.closed_loop.augmentors import ChunkBuilder, EstimatorSnapshot, reasons_of_collapse
from pipelines.closed_loop.checkpoint import MemberState
from pipelines.closed_loop.chunks import PoseChunk
from pipelines.closed_loop.ordering import batch_bounds, shuffled
from pipelines.closed_loop.source_windows import SourceWindows
from poses.cameras import camera_field
from poses.randomness import RowRandom

_PURPOSES = ("source", "real_3d", "real_2d")


class PoseAugMember:
    """Owns a PoseAug learner and its source poses.

    At each round the source poses get the bone lengths of a random person (released: `random_bl_aug`), which replaces
    the sources and both discriminators' real sets; three independent shuffles of them are zipped into batches. During
    the feedback's warm-up the augmentor learns, and hands out no fakes.
    """

    def __init__(
        self,
        learner: PoseAugLearner,
        source: SourceWindows,
        lifter: Lifter,
        batch_rows: int,
        first_round: int,
        seed: int,
        swap_bone_lengths: bool = True,
        device: str = "cpu",
    ) -> None:
        self._learner = learner
        self._windows = source.to(device)
        self._source = self._windows.poses
        self._estimator = EstimatorSnapshot(lifter)
        self._batch_rows = batch_rows
        self._first_round = first_round
        self._seed = seed
        self._template = None
        if swap_bone_lengths:
            self._template = build_bone_length_template(
                self._source.joints_camera_m.numpy(force=True), self._source.subject, self._source.skeleton
            )
        self._round = -1
        self._next_batch = 0
        self._joints_camera_m = self._source.joints_camera_m
        self._keypoints_screen = self._source.keypoints_screen
        self._person = torch.zeros(0)
        self._orders: tuple[np.ndarray, ...] = ()
        camera_px = self._source.camera_px
        height, width = camera_field(camera_px, "height"), camera_field(camera_px, "width")
        self._aspect = torch.from_numpy((height / width).astype(np.float32)).to(device)

    @property
    def learner(self) -> PoseAugLearner:
        """The augmentor with its discriminators."""
        return self._learner

    def produce(self, round_index: int, first_batch: int, n_batches: int, weights: WeightBuffer) -> PoseChunk:
        """One GAN step per batch against the estimator of `weights`."""
        self._begin_round(round_index)
        lifter = self._estimator.load(weights)
        epoch = round_index - self._first_round + 1
        warming_up = epoch <= self._learner.settings.feedback.warmup_epochs
        chunk = ChunkBuilder(round_index, first_batch, weights.version)
        for _ in range(n_batches):
            result = self._learner.gan_step(self._gan_batch(self._next_batch), lifter, epoch)
            self._next_batch += 1
            fakes, shape = result.fakes, self._windows.shape
            keep = torch.zeros_like(fakes.keep) if warming_up else fakes.keep
            root = self._source.skeleton.root_index
            joints = fakes.joints_camera_m
            joints = shape.targets(joints - joints[:, root : root + 1])[keep]
            rejected = {} if warming_up else fakes.rejected()
            chunk.add(joints, shape.windows(fakes.keypoints_screen)[keep], rejected, result.metrics)
        return chunk.build()

    def state(self) -> MemberState:
        tensors, scalars = self._learner.state()
        return MemberState(tensors, scalars)

    def load_state(self, state: MemberState) -> None:
        self._learner.load_state(state.tensors, state.scalars)
        self._round = -1

    def complaints(self) -> tuple[str, ...]:
        """The collapse monitor's reasons, where its verdict is a collapse."""
        return reasons_of_collapse(self._learner.monitor)

    def _begin_round(self, round_index: int) -> None:
        """Swap bone lengths and shuffle; a function of the round alone, so a resumed loop does the same."""
        if round_index == self._round:
            return
        self._round = round_index
        self._next_batch = 0
        self._estimator.forget()
        rows = len(self._windows)
        self._orders = tuple(
            shuffled(rows, self._seed, f"poseaug.{purpose}", round_index) for purpose in _PURPOSES
        )
        if self._template is None:
            return
        random = RowRandom(self._seed, "poseaug.bone_length_swap", self._source.sample_id, round_index)
        self._person = torch.from_numpy(random.uniform(1, stream="person"))[:, 0]
        self._joints_camera_m = swap_bone_lengths(self._source.joints_camera_m, self._template, self._person)
        self._keypoints_screen = self._project(self._joints_camera_m, self._source.intrinsics_screen)

    def _gan_batch(self, batch: int) -> GanBatch:
        numbers, real_3d, real_2d = (self._numbers(order, batch) for order in self._orders)
        source = self._windows.centres(numbers)
        joints, keypoints = self._joints_camera_m[source], self._keypoints_screen[source]
        if self._windows.shape.temporal:
            joints, keypoints = self._frames(numbers)
        return GanBatch(
            joints_camera_m=joints,
            keypoints_screen=keypoints,
            intrinsics_screen=self._source.intrinsics_screen[source],
            real_joints_m=self._joints_camera_m[self._windows.centres(real_3d)],
            real_keypoints_screen=self._keypoints_screen[self._windows.centres(real_2d)],
            image_aspect=self._aspect[source],
            shape=self._windows.shape,
        )

    def _frames(self, numbers: np.ndarray) -> tuple[Tensor, Tensor]:
        """All frames of windows, by one person and before one camera each: those of the output frame."""
        rows, centres = self._windows.frames(numbers), self._windows.centres(numbers)
        joints = self._source.joints_camera_m[rows]
        if self._template is None:
            return joints, self._source.keypoints_screen[rows]
        shape = self._windows.shape
        joints = swap_bone_lengths(joints, self._template, shape.on_frames(self._person[centres]))
        return joints, self._project(joints, shape.on_frames(self._source.intrinsics_screen[centres]))

    def _project(self, joints_camera_m: Tensor, intrinsics_screen: Tensor) -> Tensor:
        return project(joints_camera_m, intrinsics_screen, self._learner.settings.compat, clamp=True)

    def _numbers(self, order: np.ndarray, batch: int) -> np.ndarray:
        """Samples of this augmentor's n-th batch of the round; a round longer than one pass begins the order again."""
        bounds = batch_bounds(len(order), self._batch_rows)
        start, stop = bounds[batch % len(bounds)]
        return order[start:stop]
