"""The default loop's augmentor: candidates from the wide base, feedback on what is drawn and kept, a learned residual.

Where it stands to PoseAug: the base spreads as wide as the biomechanics allow instead of leaving the spread to a
generator; the estimator's errors flow back in three ways, each with a switch of its own: into the odds of the base's
factors, into the choice among candidates, and (as published) into the generator's loss. The discriminators hold the
generator, whose input is the base draw, not the source pose.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from augment.feedback_loop.drawer import BaseDrawer, Candidates, SourceRows, as_candidates
from augment.feedback_loop.error_odds import ErrorOdds
from augment.feedback_loop.settings import FeedbackLoopSettings
from augment.poseaug.learner import GanBatch, PoseAugLearner
from augment.wide_base.factors import FactorOdds
from augment.wide_base.library import PoseLibrary
from estimators.lifters.contract import Lifter
from poses.randomness import RowRandom
from poses.skeleton import Skeleton


@dataclass(frozen=True)
class RealPoses:
    """Real poses for the discriminators: (R, J, 3) and (R, J, 2), drawn independently of the batch."""

    joints_m: Float[Tensor, "R J 3"]
    keypoints_screen: Float[Tensor, "R J 2"]


@dataclass(frozen=True)
class MadeBatch:
    """One batch of augmented pairs, with what was refused and the numbers of the step.

    Of windows: (B, T, J, 2), and targets (B, 1, J, 3) of the output frame or (B, T, J, 3) of all, as the lifter wants.
    """

    joints_root_m: Float[Tensor, "B ... J 3"]
    keypoints_screen: Float[Tensor, "B ... J 2"]
    rejected: dict[str, int]
    metrics: dict[str, float]


class FeedbackLearner:
    """Draws, listens to the estimator, and trains the residual augmentor.

    Args:
        settings: Which parts are on, and how strong.
        skeleton: Of all poses.
        library: Limbs and bodies of the source dataset.
        seed: Of every random number.
        device: Where the learned augmentor lives; the base is drawn on the CPU.
    """

    def __init__(
        self,
        settings: FeedbackLoopSettings,
        skeleton: Skeleton,
        library: PoseLibrary,
        seed: int,
        device: str = "cpu",
    ) -> None:
        self.settings = settings
        self.skeleton = skeleton
        self.library = library
        self.seed = seed
        self.device = device
        self.drawer = BaseDrawer(settings.base, skeleton, library, seed)
        self.odds = ErrorOdds(settings.sampler, FactorOdds.even(settings.base))
        self.residual: PoseAugLearner | None = None
        if settings.residual.enabled:
            self.residual = PoseAugLearner(settings.residual.poseaug, skeleton, seed, device)
        self._batches = 0

    def candidates_for(self, wanted: int) -> int:
        """How many source rows to give to `make_batch` for `wanted` poses."""
        selection = self.settings.selection
        oversampling = selection.oversampling if selection.enabled else 1.0
        return int(np.ceil(wanted * oversampling * _SPARE))

    def make_batch(
        self,
        rows: SourceRows,
        copy: int | np.ndarray,
        wanted: int,
        lifter: Lifter,
        epoch: int,
        real: RealPoses,
    ) -> MadeBatch:
        """Make about `wanted` pairs (fewer where the filters refuse too many) and learn from how the estimator does.

        Windows are refused, listened to and chosen whole: one bad frame refuses a window, and what counts is the
        estimator's error in its output frame.

        Args:
            rows: `candidates_for(wanted)` source rows or windows.
            copy: Which copy of its source each candidate is.
            lifter: A snapshot of the estimator; it is only looked at.
            epoch: From 1; the residual's warm-up and ramps count it.
            real: What the discriminators call real.
        """
        if self.settings.wide:
            candidates = self.drawer.draw(rows, copy, self.odds.odds)
        else:
            candidates = as_candidates(rows, self.skeleton, self.settings.base)
        kept = torch.nonzero(candidates.keep)[:, 0]
        rejected = _count(candidates)
        metrics: dict[str, float] = {}
        error_m = self._listen(candidates, kept, lifter, metrics)
        natural = candidates.output(candidates.drawn.natural)[kept]
        chosen = self._choose(kept, error_m, natural, rows, copy, wanted)
        if len(kept) > len(chosen):
            rejected["not_selected"] = len(kept) - len(chosen)
        joints = candidates.shape.targets(candidates.drawn.joints_root_m)[chosen]
        keypoints = candidates.windows_screen[chosen]
        if self.residual is not None and len(chosen) >= 2:
            joints, keypoints = self._refine(
                self.residual, candidates, chosen, lifter, epoch, real, joints, keypoints, metrics
            )
        self._batches += 1
        return MadeBatch(joints, keypoints, rejected, metrics)

    def _listen(
        self, candidates: Candidates, kept: Tensor, lifter: Lifter, metrics: dict[str, float]
    ) -> Tensor | None:
        """The estimator's error on every kept candidate, (n,) metres; the odds learn from it."""
        if not (self.settings.sampler.enabled or self.settings.selection.enabled):
            return None
        target_m = candidates.output(candidates.drawn.joints_root_m)[kept]
        with torch.no_grad():
            predicted = lifter.lift(candidates.windows_screen[kept].to(self.device)).cpu()
        error_m = (predicted.view_as(target_m) - target_m).norm(dim=-1).mean(1)
        steered = ~candidates.output(candidates.drawn.natural)[kept]
        if self.settings.wide and steered.any():
            drawn_bins = candidates.drawn.bins.items()
            bins = {name: candidates.output(chosen)[kept][steered] for name, chosen in drawn_bins}
            self.odds.observe(error_m[steered], bins)
        metrics["candidate_error_m"] = float(error_m.mean())
        for name, odds in self.odds.odds.odds.items():
            for index, value in enumerate(odds.tolist()):
                metrics[f"odds_{name}_{index}"] = value
        return error_m

    def _choose(
        self,
        kept: Tensor,
        error_m: Tensor | None,
        natural: Tensor,
        rows: SourceRows,
        copy: int | np.ndarray,
        wanted: int,
    ) -> Tensor:
        """Rows to emit: the first `wanted`, or a sample in favour of the hard but learnable."""
        selection = self.settings.selection
        if not selection.enabled or error_m is None or len(kept) <= wanted:
            return kept[:wanted]
        steered = error_m if natural.all() else error_m[~natural]
        ratio = (error_m / steered.mean()).clamp(max=selection.max_ratio)
        ratio = torch.where(natural, 1.0, ratio)
        random = RowRandom(self.seed, "feedback_loop.selection", rows.row_id, copy)
        uniform = torch.from_numpy(random.uniform(1, stream="keep"))[kept, 0].clamp_min(1e-7)
        keys = torch.log(uniform) / ratio.clamp_min(1e-3) ** selection.power
        return kept[torch.topk(keys, wanted).indices.sort().values]

    def _refine(
        self,
        residual: PoseAugLearner,
        candidates: Candidates,
        chosen: Tensor,
        lifter: Lifter,
        epoch: int,
        real: RealPoses,
        joints_root_m: Tensor,
        keypoints_screen: Tensor,
        metrics: dict[str, float],
    ) -> tuple[Tensor, Tensor]:
        """One adversarial step at every n-th batch; its valid fakes take the place of the bent poses they came from.

        Ordinary poses stay as they were drawn: bent by the generator they teach less (docs/results.md).
        """
        settings, shape = self.settings.residual, candidates.shape
        if self._batches % settings.train_every:
            return joints_root_m, keypoints_screen
        refinable = chosen[: settings.batch_rows]
        rows = shape.rows_of(refinable)
        intrinsics = candidates.output(candidates.drawn.intrinsics_screen)[refinable]
        batch = GanBatch(
            joints_camera_m=candidates.drawn.joints_camera_m[rows].to(self.device),
            keypoints_screen=candidates.keypoints_screen[rows].to(self.device),
            intrinsics_screen=intrinsics.to(self.device),
            real_joints_m=real.joints_m.to(self.device),
            real_keypoints_screen=real.keypoints_screen.to(self.device),
            shape=shape,
        )
        result = residual.gan_step(batch, lifter, epoch)
        metrics.update(result.metrics)
        if epoch <= residual.settings.feedback.warmup_epochs:
            return joints_root_m, keypoints_screen
        fakes, root = result.fakes, self.skeleton.root_index
        refined = fakes.keep.cpu()
        if self.settings.wide:
            refined &= ~candidates.output(candidates.drawn.natural)[refinable]
        take = torch.nonzero(refined)[:, 0]
        take = take[: round(settings.share * settings.train_every * len(chosen))]
        joints_root_m, keypoints_screen = joints_root_m.clone(), keypoints_screen.clone()
        taken = shape.rows_of(take)
        fakes_m = fakes.joints_camera_m.cpu()[taken]
        joints_root_m[take] = shape.targets(fakes_m - fakes_m[:, root].unsqueeze(1))
        keypoints_screen[take] = shape.windows(fakes.keypoints_screen.cpu()[taken])
        return joints_root_m, keypoints_screen

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything that the next batch depends on: named tensors, and scalars as JSON."""
        tensors = {f"odds.{name}": value for name, value in self.odds.tensors().items()}
        scalars: dict[str, Any] = {"batches": self._batches}
        if self.residual is not None:
            own, scalars["residual"] = self.residual.state()
            tensors |= {f"residual.{name}": value for name, value in own.items()}
        return tensors, scalars

    def load_state(self, tensors: Mapping[str, Tensor], scalars: Mapping[str, Any]) -> None:
        """Continue from `state`'s values; the following batches are those of an uninterrupted run."""
        self.odds.load(_below("odds.", tensors))
        if self.residual is not None:
            self.residual.load_state(_below("residual.", tensors), scalars["residual"])
        self._batches = int(scalars["batches"])


_SPARE = 1.15
"""Candidates drawn per wanted pose, for those that the filters refuse."""


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}


def _count(candidates: Candidates) -> dict[str, int]:
    """Refused candidates by the first reason that applies."""
    counts: dict[str, int] = {}
    left = ~candidates.keep
    for reason, failed in candidates.failed.items():
        number = int((left & failed).sum())
        if number:
            counts[reason] = number
        left = left & ~failed
    return counts
