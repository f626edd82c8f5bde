"""The trainer of the loop: feeds the estimator its diet of augmented and real poses, keeps the best on validation."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from estimators.lifters.contract import Lifter
from estimators.lifters.training.trainer import LifterTrainer
from estimators.weights import WeightBuffer, flatten_state, flatten_tensors
from pipelines.closed_loop.checkpoint import MemberState
from pipelines.closed_loop.chunks import PoseChunk, join_chunks
from pipelines.closed_loop.ordering import RowStream, batch_bounds, shuffled
from pipelines.closed_loop.reports import TrainingReport
from pipelines.closed_loop.source_poses import SourcePoses
from pipelines.closed_loop.source_windows import SourceWindows, window_shape
from pipelines.closed_loop.unpaired_member import RepNetWeights
from pipelines.closed_loop.weak_lessons import WeakLessons
from poses.metrics import mpjpe_mm
from poses.randomness import RowRandom


@dataclass(frozen=True)
class TrainerOrder:
    """How the trainer feeds: which diet, how large the batches are, and after how many steps it is done."""

    diet: str
    batch_rows: int
    lifter_steps: int | None
    seed: int
    flip_real: bool = False
    validate_every_rounds: int = 1
    first_round: int = 0
    """The round that schedules by epoch count as their first: rounds before it are pretraining."""


class TrainerWorker:
    """A plain class: an actor hosts it, the in-process crew calls it.

    Diets: `alternate` is the published order (all fakes of the round, shuffled, then the round's share of a pass over
    the real poses); `mixed` fills every batch half with fakes and half with real poses; `real` is fed no fakes.
    """

    def __init__(
        self,
        order: TrainerOrder,
        trainer: LifterTrainer,
        real: SourcePoses,
        validation: SourcePoses | None,
        validation_rows: np.ndarray | None = None,
        weak: WeakLessons | None = None,
    ) -> None:
        self._order = order
        self._trainer = trainer
        self._weak = weak
        shape = window_shape(trainer.lifter)
        self._real = SourceWindows(real, shape)
        self._validation = (
            SourceWindows(validation, shape, validation_rows) if validation is not None else None
        )
        self._mirror = torch.as_tensor(real.skeleton.mirror_index.copy())
        self._device = real.joints_camera_m.device
        self._stream = RowStream(
            len(real), order.batch_rows, order.seed, "trainer.real", drop_short=order.diet != "alternate"
        )
        self._version = 0
        self._fed_of_round = (-1, 0.0)
        self._best_error_mm = float("inf")
        self._best_weights: Tensor | None = None

    @property
    def lifter(self) -> Lifter:
        """The estimator as it stands now."""
        return self._trainer.lifter

    @property
    def trainer(self) -> LifterTrainer:
        """Optimiser, schedule and estimator together."""
        return self._trainer

    @property
    def best_error_mm(self) -> float:
        """The lowest validation error so far, in millimetres; infinite before the first validation."""
        return self._best_error_mm

    @property
    def best_weights(self) -> Tensor | None:
        """The estimator's flat weights at `best_error_mm`."""
        return self._best_weights

    @property
    def wants_supervision(self) -> bool:
        """True where RepNet's word on unpaired 2D is a part of the loss."""
        return self._weak is not None

    def hear(self, weights: RepNetWeights, rounds_learned: int) -> None:
        """RepNet as it stands after `rounds_learned` rounds; what it says from now on comes of these weights."""
        if self._weak is not None:
            self._weak.hear(weights, rounds_learned)

    def pretrain(self, round_index: int) -> TrainingReport:
        """One pass over the real poses."""
        self._begin_epoch(round_index)
        losses = [self._real_step() for _ in range(self._stream.batches_per_pass) if not self._full()]
        return self._report(round_index, losses, None, 0, round_is_whole=True)

    def consume(
        self, round_index: int, chunks: list[PoseChunk], share: float
    ) -> tuple[TrainingReport, WeightBuffer]:
        """Train on chunks and on `share` of a pass over the real poses; what comes of it, and the weights after it.

        The shares of a round add up to 1; the estimator is validated when they do, not after every chunk.

        Raises:
            LifterInputError: if the loss is no longer a number.
        """
        self._begin_epoch(round_index)
        chunk = join_chunks(chunks)
        staleness = self._version - chunk.lifter_version
        if self._order.diet == "alternate":
            losses = self._alternate(round_index, chunk, share)
        else:
            losses = self._mixed(chunk)
        fed_round, fed = self._fed_of_round
        self._fed_of_round = (round_index, share + (fed if fed_round == round_index else 0.0))
        whole = self._fed_of_round[1] > 1.0 - 1e-6
        return self._report(round_index, losses, chunk, staleness, whole), self.weights()

    def weights(self) -> WeightBuffer:
        """The estimator as one flat, versioned buffer."""
        return flatten_state(self._trainer.lifter, self._version)

    def _begin_epoch(self, round_index: int) -> None:
        self._trainer.begin_epoch(max(0, round_index - self._order.first_round))

    def _full(self) -> bool:
        return self._order.lifter_steps is not None and self._trainer.steps >= self._order.lifter_steps

    def _alternate(self, round_index: int, chunk: PoseChunk, share: float) -> list[float]:
        """All fakes, then the real poses; a round without fakes (the augmentor's warm-up) trains nothing."""
        if len(chunk) == 0:
            return []
        joints = torch.from_numpy(chunk.joints_root_m).to(self._device)
        keypoints = torch.from_numpy(chunk.keypoints_screen).to(self._device)
        rows_of_all = shuffled(
            len(chunk), self._order.seed, f"trainer.fakes.{chunk.first_batch}", round_index
        )
        losses: list[float] = []
        for start, stop in batch_bounds(len(chunk), self._order.batch_rows):
            if self._full() or stop - start < 2:
                break
            rows = torch.from_numpy(rows_of_all[start:stop])
            losses.append(self._step(keypoints[rows], joints[rows]))
        for _ in range(max(1, round(share * self._stream.batches_per_pass))):
            if self._full():
                break
            losses.append(self._real_step())
        return losses

    def _mixed(self, chunk: PoseChunk) -> list[float]:
        """As many steps as the chunk has batches; its fakes spread over them, real poses fill every batch up."""
        joints = torch.from_numpy(chunk.joints_root_m).to(self._device)
        keypoints = torch.from_numpy(chunk.keypoints_screen).to(self._device)
        losses: list[float] = []
        n_fakes = 0 if self._order.diet == "real" else len(chunk)
        for fakes in np.array_split(np.arange(n_fakes), len(chunk.batch_rows)):
            if self._full():
                break
            rows = self._stream.next()[: self._order.batch_rows - len(fakes)]
            fake_rows = torch.from_numpy(fakes)
            real_keypoints, real_joints = self._real_rows(rows)
            losses.append(
                self._step(
                    torch.cat([keypoints[fake_rows], real_keypoints]),
                    torch.cat([joints[fake_rows], real_joints]),
                )
            )
        return losses

    def _real_step(self) -> float:
        return self._step(*self._real_rows(self._stream.next()))

    def _step(self, keypoints: Tensor, joints: Tensor) -> float:
        """One update from pairs and, where it counts, from RepNet's word; the loss of the pairs."""
        weak = self._weak if self._weak is not None and self._weak.may_speak else None
        return self._trainer.step(keypoints, joints, further_loss=None if weak is None else weak.loss)

    def _real_rows(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """Keypoints and targets of real poses; a random half mirrored (windows whole) where the diet says so."""
        keypoints, joints = self._real.keypoints(rows), self._real.targets(rows)
        if not self._order.flip_real:
            return keypoints, joints
        random = RowRandom(self._order.seed, "trainer.flip", self._real.sample_id(rows), self._trainer.steps)
        turned = (torch.from_numpy(random.uniform(1, stream="flip"))[:, 0] < 0.5).to(self._device)
        return (
            self._flipped(keypoints, turned, keypoints.new_tensor([-1.0, 1.0])),
            self._flipped(joints, turned, joints.new_tensor([-1.0, 1.0, 1.0])),
        )

    def _flipped(self, poses: Tensor, turned: Tensor, signs: Tensor) -> Tensor:
        turned = turned.view(-1, *[1] * (poses.ndim - 1))
        return torch.where(turned, poses[..., self._mirror, :] * signs, poses)

    def _report(
        self,
        round_index: int,
        losses: list[float],
        chunk: PoseChunk | None,
        staleness: int,
        round_is_whole: bool,
    ) -> TrainingReport:
        if losses:
            self._version += 1
        validation = self._validate(round_index) if losses and (round_is_whole or self._full()) else {}
        return TrainingReport(
            round_index=round_index,
            version=self._version,
            lifter_steps=self._trainer.steps,
            staleness=staleness,
            loss_lifter=float(np.mean(losses)) if losses else float("nan"),
            fakes=0 if chunk is None else len(chunk),
            rejected={} if chunk is None else chunk.rejected,
            augmentor_metrics=[] if chunk is None else chunk.metrics,
            validation=validation,
            unpaired={} if self._weak is None else self._weak.means(),
        )

    def _validate(self, round_index: int) -> dict[str, float]:
        """MPJPE on the validation poses; the best estimator so far is kept by it and by nothing else."""
        due = (round_index + 1) % self._order.validate_every_rounds == 0 or self._full()
        if self._validation is None or not due:
            return {}
        error_mm = float(
            torch.cat([self._errors_mm(self._validation, r) for r in self._validation.pieces()]).mean()
        )
        if error_mm < self._best_error_mm:
            self._best_error_mm = error_mm
            self._best_weights = flatten_tensors(self._trainer.evaluation_state(), self._version).flat
        return {"mpjpe_mm": error_mm, "best_mpjpe_mm": self._best_error_mm}

    def _errors_mm(self, windows: SourceWindows, rows: np.ndarray) -> Tensor:
        target = windows.poses_root_m(rows)
        return mpjpe_mm(self._trainer.predict(windows.keypoints(rows)).view_as(target), target)

    def state(self) -> MemberState:
        """Everything that the next round depends on."""
        tensors, scalars = self._trainer.state_dict()
        tensors = {f"trainer.{name}": value for name, value in tensors.items()}
        if self._best_weights is not None:
            tensors["best_weights"] = self._best_weights
        own: dict[str, Any] = {
            "trainer": scalars,
            "version": self._version,
            "stream_position": self._stream.position,
            "best_error_mm": self._best_error_mm if self._best_weights is not None else None,
        }
        if self._weak is not None:
            own["weak"] = self._weak.state()
        return MemberState(tensors, own)

    def load_state(self, state: MemberState) -> None:
        """Take up where `state` left off."""
        prefix = "trainer."
        self._trainer.load_state_dict(
            {name[len(prefix) :]: value for name, value in state.tensors.items() if name.startswith(prefix)},
            state.scalars["trainer"],
        )
        self._version = state.scalars["version"]
        self._fed_of_round = (-1, 0.0)
        self._stream.position = state.scalars["stream_position"]
        best = state.scalars["best_error_mm"]
        self._best_error_mm = float("inf") if best is None else best
        self._best_weights = state.tensors.get("best_weights")
        if self._weak is not None:
            self._weak.load_state(state.scalars["weak"])
