"""VideoPose3D's semi-supervised training (Pavllo et al. 2019, section 4): keypoints of videos without 3D teach too.

A lifter gives poses relative to the root, a second network (`RootTrajectory`) the root's place. Labelled and
unlabelled windows pass through both in one batch, so BatchNorm sees them together. The loss, as released, weights 1:

- position: mean joint distance, labelled windows (metres);
- trajectory: mean distance of the root, weighted by 1 / depth of the true root, labelled;
- projection: mean distance on the screen between the projected (pose + root) and the 2D keypoints, unlabelled;
- bones: mean over bones of |mean length, labelled - mean length, unlabelled|.

The last two join after `warmup_epochs`; until then unlabelled windows are not even passed through. One Adam with
amsgrad drives both networks. Unlabelled cameras must be known, their lens distortion too.

Where we differ: the released projection loss compares joint i of the 3D skeleton with keypoint i, whatever they are,
which is wrong for detections in COCO order against poses in H36M order. Here joints are compared by name, and joints
that only one side has are left out; with one skeleton on both sides nothing changes.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from estimators.checkpoints import load_module_state, pack, unpack
from estimators.dropout import set_dropout_generator
from estimators.errors import LifterInputError
from estimators.lifters.contract import Lifter
from estimators.lifters.temporal.trajectory import RootTrajectory
from estimators.lifters.training.batch_norm import BatchNormMomentum, check_training_rows, set_momentum
from estimators.lifters.training.mirroring import mean_of_both, mirror_root
from estimators.lifters.training.schedules import ExponentialSchedule, Schedule
from estimators.lifters.training.semi_losses import (
    Labelled,
    LensModel,
    SemiLosses,
    Unlabelled,
    bone_term,
    mean_distance,
    projection_term,
    shared_joints,
    trajectory_term,
)
from estimators.optimizer_state import adam_state, generator_state, load_adam_state, load_generator_state
from poses.kinematics import mirror_joints
from poses.skeleton import Skeleton


class SemiSupervisedSettings(BaseModel):
    """How lifter and trajectory model are trained together; the defaults are published, but for the lens formula."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    learning_rate: float = Field(default=1e-3, gt=0.0)
    betas: tuple[float, float] = (0.9, 0.999)
    amsgrad: bool = True
    schedule: Schedule = ExponentialSchedule(decay=0.95, period=1, unit="epoch")
    batch_norm_momentum: BatchNormMomentum | None = BatchNormMomentum()
    warmup_epochs: int = Field(default=1, ge=0, description="epochs of labelled windows only")
    trajectory_weight: float = Field(default=1.0, ge=0.0)
    projection_weight: float = Field(default=1.0, ge=0.0)
    bone_weight: float = Field(default=1.0, ge=0.0)
    distortion: LensModel = Field(
        default="brown_conrady",
        description="lens of the projection; `published` is VideoPose3D's own formula",
    )
    predict_batch: int = Field(default=512, ge=1, description="rows per forward pass in predict")


class SemiSupervisedTrainer:
    """Owns a lifter, its trajectory model, their optimiser and their dropout's random numbers.

    Args:
        settings: Rates, weights, warm-up.
        lifter: The network for poses; trained in place.
        trajectory: The network for the root; trained in place.
        seed: Of dropout.
        target_skeleton: Joints of `Unlabelled.target_screen`; None: those of the lifter's keypoints.

    Raises:
        LifterInputError: if the two networks see different windows or keypoints, or the target skeleton shares no joint
            with the poses.
    """

    def __init__(
        self,
        settings: SemiSupervisedSettings,
        lifter: Lifter,
        trajectory: RootTrajectory,
        seed: int = 0,
        target_skeleton: Skeleton | None = None,
    ) -> None:
        _check_pair(lifter, trajectory)
        self.settings, self.lifter, self.trajectory = settings, lifter, trajectory
        self.steps = self.epoch = 0
        self._both = nn.ModuleDict({"lifter": lifter, "trajectory": trajectory})
        self._device = next(lifter.parameters()).device
        self._generator = torch.Generator(device=self._device).manual_seed(seed)
        set_dropout_generator(self._both, self._generator)
        self._optimizer = torch.optim.Adam(
            self._both.parameters(),
            lr=settings.learning_rate,
            betas=settings.betas,
            amsgrad=settings.amsgrad,
            fused=True,
        )
        self._shared = shared_joints(lifter.skeleton, target_skeleton or lifter.keypoint_skeleton)
        self.begin_epoch(0)

    @property
    def learning_rate(self) -> float:
        """Rate of the next update."""
        return self.settings.learning_rate * self.settings.schedule.factor(self.steps, self.epoch)

    @property
    def warming_up(self) -> bool:
        """Whether the current epoch uses labelled windows only."""
        return self.epoch < self.settings.warmup_epochs

    def begin_epoch(self, epoch: int) -> None:
        """Say which epoch (from 0) the next updates belong to; rate, warm-up and BatchNorm's momentum read it."""
        self.epoch = epoch
        if self.settings.batch_norm_momentum is not None:
            set_momentum(self._both, self.settings.batch_norm_momentum.at(epoch))

    def step(self, labelled: Labelled, unlabelled: Unlabelled | None = None) -> SemiLosses:
        """One optimiser step; returns the losses before it.

        Args:
            labelled: Windows with 3D.
            unlabelled: Windows without; None trains on labelled ones alone, and so does the warm-up.

        Raises:
            LifterInputError: if shapes do not fit, a root is not in front of its camera, or the loss is not finite.
        """
        self._both.train()
        terms = self._terms(labelled, None if self.warming_up else unlabelled)
        weights = {
            "position": 1.0,
            "trajectory": self.settings.trajectory_weight,
            "projection": self.settings.projection_weight,
            "bones": self.settings.bone_weight,
        }
        total = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
        if not bool(torch.isfinite(total.detach())):
            raise LifterInputError(
                f"semi-supervised training: loss {float(total.detach())} at update {self.steps}, wanted a finite "
                "number; look for NaN targets or cameras, or lower the learning rate"
            )
        self._optimizer.zero_grad(set_to_none=True)
        total.backward()
        for group in self._optimizer.param_groups:
            group["lr"] = self.learning_rate
        self._optimizer.step()
        self.steps += 1
        return SemiLosses(
            float(total.detach()), **{name: float(term.detach()) for name, term in terms.items()}
        )

    def predict(self, keypoints_screen: Tensor, flip: bool = False) -> Tensor:
        """Root-relative poses in evaluation mode, in chunks.

        Args:
            keypoints_screen: (B, T, J, 2), or (B, J, 2) for single-frame networks.
            flip: Average with the mirrored prediction of the mirrored input (test-time augmentation).
        """
        return self._in_chunks(keypoints_screen, lambda chunk: self._pose(chunk, flip))

    def predict_camera(self, keypoints_screen: Tensor, flip: bool = False) -> Tensor:
        """As `predict`, with the root at the place that the trajectory model gives: camera axes, metres."""

        def both(chunk: Tensor) -> Tensor:
            root = self.trajectory(chunk)
            if flip:
                mirrored = mirror_joints(chunk, self.lifter.keypoint_skeleton)
                root = 0.5 * (root + mirror_root(self.trajectory(mirrored)))
            root = root.squeeze(1) if chunk.ndim == 3 else root
            return self._pose(chunk, flip) + root.unsqueeze(-2)

        return self._in_chunks(keypoints_screen, both)

    def state_dict(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything that the next step depends on: named tensors, and scalars as JSON."""
        modules = {
            name: {key: value.detach().clone() for key, value in module.state_dict().items()}
            for name, module in (("lifter", self.lifter), ("trajectory", self.trajectory))
        }
        parts = {
            **modules,
            "adam": adam_state(self._optimizer, self._both),
            "random": {"dropout": generator_state(self._generator)},
        }
        return pack(**parts), {"steps": self.steps, "epoch": self.epoch}

    def evaluation_state(self) -> dict[str, Tensor]:
        """Copies of the lifter's weights, which `predict` uses."""
        return {name: value.detach().clone() for name, value in self.lifter.state_dict().items()}

    def load_state_dict(self, tensors: Mapping[str, Tensor], scalars: Mapping[str, Any]) -> None:
        """Continue from `state_dict`'s values; the following steps are those of an uninterrupted run.

        Raises:
            CheckpointError: if the state is of other networks.
        """
        load_module_state(self.lifter, unpack(tensors, "lifter"), "semi-supervised trainer state, lifter")
        load_module_state(
            self.trajectory, unpack(tensors, "trajectory"), "semi-supervised trainer state, trajectory"
        )
        load_adam_state(self._optimizer, self._both, unpack(tensors, "adam"))
        load_generator_state(self._generator, unpack(tensors, "random")["dropout"])
        self.steps = int(scalars["steps"])
        self.begin_epoch(int(scalars["epoch"]))

    def _terms(self, labelled: Labelled, unlabelled: Unlabelled | None) -> dict[str, Tensor]:
        """The unweighted terms; without unlabelled windows the first two only."""
        keypoints = labelled.keypoints_screen
        if unlabelled is not None:
            keypoints = torch.cat([keypoints, unlabelled.keypoints_screen])
        known = len(labelled.keypoints_screen)
        check_training_rows(self._both, keypoints, self.lifter.receptive_field)
        joints = _with_time(self.lifter(keypoints, "loss"), 4)
        root = self.trajectory(keypoints)
        target, target_root = _with_time(labelled.joints_root_m, 4), _with_time(labelled.root_camera_m, 3)
        _check_targets(joints[:known], target, target_root)
        terms = {
            "position": mean_distance(joints[:known], target),
            "trajectory": trajectory_term(root[:known], target_root),
        }
        if unlabelled is not None:
            terms["projection"] = projection_term(
                joints[known:] + root[known:].unsqueeze(-2),
                _with_time(unlabelled.target_screen, 4),
                unlabelled.intrinsics_screen,
                self._shared,
                self.settings.distortion,
            )
            terms["bones"] = bone_term(joints[:known], joints[known:], self.lifter.skeleton)
        return terms

    def _pose(self, keypoints_screen: Tensor, flip: bool) -> Tensor:
        if not flip:
            return self.lifter(keypoints_screen)
        skeletons = self.lifter.keypoint_skeleton, self.lifter.skeleton
        return mean_of_both(self.lifter, keypoints_screen, *skeletons)

    def _in_chunks(self, keypoints_screen: Tensor, lift: Callable[[Tensor], Tensor]) -> Tensor:
        was_training = self._both.training
        self._both.eval()
        try:
            with torch.inference_mode():
                chunks = keypoints_screen.split(self.settings.predict_batch)
                return torch.cat([lift(chunk) for chunk in chunks])
        finally:
            self._both.train(was_training)


def _with_time(values: Tensor, dimensions: int) -> Tensor:
    """The values with an axis of one output frame after the batch's, where they have none."""
    return values.unsqueeze(1) if values.ndim == dimensions - 1 else values


def _check_pair(lifter: Lifter, trajectory: RootTrajectory) -> None:
    windows = lifter.receptive_field, trajectory.receptive_field
    joints = lifter.keypoint_skeleton.joints, trajectory.keypoint_skeleton.joints
    if windows[0] != windows[1] or joints[0] != joints[1]:
        raise LifterInputError(
            f"semi-supervised training: the lifter sees {windows[0]} frames of {len(joints[0])} joints, the trajectory "
            f"model {windows[1]} frames of {len(joints[1])}; build both for the same windows and keypoints"
        )


def _check_targets(joints: Tensor, target: Tensor, target_root: Tensor) -> None:
    if joints.shape != target.shape or target_root.shape != target[..., 0, :].shape:
        raise LifterInputError(
            f"semi-supervised training: targets of shape {list(target.shape)} and roots of shape "
            f"{list(target_root.shape)} for predictions of shape {list(joints.shape)}; give one root-relative pose and "
            "one root per output frame"
        )
