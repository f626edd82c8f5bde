"""posemill's own augmentor as a member of the loop."""

from augment.feedback_loop.drawer import SourceRows
from augment.feedback_loop.learner import FeedbackLearner, RealPoses
from estimators.lifters.contract import Lifter
from estimators.weights import WeightBuffer
from pipelines.closed_loop.augmentors import ChunkBuilder, EstimatorSnapshot, reasons_of_collapse
from pipelines.closed_loop.checkpoint import MemberState
from pipelines.closed_loop.chunks import PoseChunk
from pipelines.closed_loop.ordering import RowStream
from pipelines.closed_loop.source_windows import SourceWindows


class FeedbackMember:
    """Owns a feedback learner and its source poses; streams candidates through it, pass after pass."""

    def __init__(
        self,
        learner: FeedbackLearner,
        source: SourceWindows,
        lifter: Lifter,
        wanted_rows: int,
        first_round: int,
        seed: int,
    ) -> None:
        self._learner = learner
        self._source = source
        self._estimator = EstimatorSnapshot(lifter)
        self._wanted = wanted_rows
        self._first_round = first_round
        self._stream = RowStream(
            len(source), learner.candidates_for(wanted_rows), seed, "feedback.candidates", drop_short=True
        )
        residual_rows = learner.settings.residual.batch_rows
        self._real_3d = RowStream(len(source), residual_rows, seed, "feedback.real_3d", drop_short=True)
        self._real_2d = RowStream(len(source), residual_rows, seed, "feedback.real_2d", drop_short=True)
        self._poses = source.poses

    @property
    def learner(self) -> FeedbackLearner:
        """The augmentor."""
        return self._learner

    def produce(self, round_index: int, first_batch: int, n_batches: int, weights: WeightBuffer) -> PoseChunk:
        """`n_batches` batches of about as many pairs as the trainer's diet wants."""
        lifter = self._estimator.load(weights)
        chunk = ChunkBuilder(round_index, first_batch, weights.version)
        for _ in range(n_batches):
            copy = 1 + self._stream.position // self._stream.batches_per_pass
            index = self._stream.next()
            rows = self._source.frames(index)
            made = self._learner.make_batch(
                SourceRows(
                    self._source.sample_id(index),
                    self._poses.joints_camera_m[rows],
                    self._poses.up_camera[rows],
                    self._poses.intrinsics_screen[rows],
                    self._source.shape,
                ),
                copy,
                self._wanted,
                lifter,
                round_index - self._first_round + 1,
                RealPoses(
                    self._poses.joints_camera_m[self._source.centres(self._real_3d.next())],
                    self._poses.keypoints_screen[self._source.centres(self._real_2d.next())],
                ),
            )
            chunk.add(made.joints_root_m, made.keypoints_screen, made.rejected, made.metrics)
        return chunk.build()

    def state(self) -> MemberState:
        tensors, scalars = self._learner.state()
        streams = [self._stream.position, self._real_3d.position, self._real_2d.position]
        return MemberState(tensors, {"learner": scalars, "streams": streams})

    def load_state(self, state: MemberState) -> None:
        self._learner.load_state(state.tensors, state.scalars["learner"])
        streams = (self._stream, self._real_3d, self._real_2d)
        for stream, position in zip(streams, state.scalars["streams"], strict=True):
            stream.position = position

    def complaints(self) -> tuple[str, ...]:
        """The collapse monitor's reasons, where its verdict on the residual augmentor is a collapse."""
        residual = self._learner.residual
        return () if residual is None else reasons_of_collapse(residual.monitor)
