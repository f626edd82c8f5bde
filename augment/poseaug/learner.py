"""Training of the augmentor and its discriminators, one GAN step at a time, in the released code's order.

A step: update the augmentor (adversarial, range and feedback losses); at every second step then the 3D and
the 2D discriminator, on this step's fakes through their replay pools; hand out the fakes with a mask of
those that pass the filters. All state is named tensors and JSON, and resumes bit for bit; all randomness is
the learner's own.

For a temporal estimator the sources are windows: the augmentor makes whole windows (`PoseAugGenerator.forward`), the
feedback is the estimator's error on them, the filters refuse them whole; the discriminators go on judging single poses,
those of the output frames.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int8
from torch import Tensor, nn

from augment.errors import AugmentError
from augment.poseaug.collapse_monitor import CollapseMonitor, CollapseMonitorSettings
from augment.poseaug.discriminators import BodyPartDiscriminator, ProjectionDiscriminator
from augment.poseaug.fake_filter import REJECTION_REASONS, judge_fakes, project, worst_frame
from augment.poseaug.feedback import estimator_feedback, frozen_estimator, joint_errors_m, ramp
from augment.poseaug.generator import Augmented3D, PoseAugGenerator
from augment.poseaug.losses import (
    bone_angle_loss,
    bone_length_loss,
    discriminator_loss,
    generator_adversarial_loss,
)
from augment.poseaug.replay_pool import ReplayPool
from augment.poseaug.settings import PoseAugSettings
from augment.windows import POSE, WindowShape
from estimators.checkpoints import load_module_state, pack, unpack
from estimators.lifters.contract import Lifter
from estimators.lifters.training.schedules import LinearPoseAugSchedule
from estimators.optimizer_state import adam_state, generator_state, load_adam_state, load_generator_state
from poses.skeleton import Skeleton


@dataclass(frozen=True)
class GanBatch:
    """One step's data: three independent draws from the source poses, as the released code zips them.

    Args:
        joints_camera_m: Sources to augment, camera frame: B poses, or the B = W·T frames of W windows.
        keypoints_screen: Their 2D.
        intrinsics_screen: The poses' or windows' cameras; what is made of them is seen by the same ones.
        real_joints_m: Real poses for the 3D discriminator.
        real_keypoints_screen: Real 2D for the 2D discriminator.
        image_aspect: Height over width of each source's image; None means square.
        shape: Of the windows.
    """

    joints_camera_m: Float[Tensor, "B J 3"]
    keypoints_screen: Float[Tensor, "B J 2"]
    intrinsics_screen: Float[Tensor, "W 9"]
    real_joints_m: Float[Tensor, "R J 3"]
    real_keypoints_screen: Float[Tensor, "S J 2"]
    image_aspect: Float[Tensor, " W"] | None = None
    shape: WindowShape = POSE


@dataclass(frozen=True)
class Fakes:
    """Augmented pairs of one step.

    Args:
        joints_camera_m: (B, J, 3) camera frame: poses, or frame after frame of windows.
        keypoints_screen: (B, J, 2).
        keep: (W,) which poses or windows pass the filters.
        reason: Index into `REJECTION_REASONS`; 0 where kept.
    """

    joints_camera_m: Float[Tensor, "B J 3"]
    keypoints_screen: Float[Tensor, "B J 2"]
    keep: Bool[Tensor, " W"]
    reason: Int8[Tensor, " W"]

    def rejected(self) -> dict[str, int]:
        """Number of rejected poses by reason."""
        counts = torch.bincount(self.reason.long(), minlength=len(REJECTION_REASONS)).tolist()
        return {name: count for name, count in zip(REJECTION_REASONS, counts, strict=True) if name and count}


@dataclass(frozen=True)
class GanStepResult:
    """Numbers of one step by name, and its fakes."""

    metrics: dict[str, float]
    fakes: Fakes


class PoseAugLearner:
    """Owns the augmentor, both discriminators, their optimisers, pools and random numbers.

    Args:
        settings: Everything but the data.
        skeleton: Of all poses.
        seed: Of initial weights, noise, pools and dropout; the global random state is never touched.
        device: Where the networks live.
    """

    def __init__(self, settings: PoseAugSettings, skeleton: Skeleton, seed: int, device: str = "cpu") -> None:
        self.settings = settings
        self.skeleton = skeleton
        self.iteration = 0
        safe = not settings.compat.unsafe_norms
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.generator = PoseAugGenerator(settings.generator, skeleton, safe).to(device)
            self.body_part_discriminator = BodyPartDiscriminator(settings.discriminators, skeleton, safe).to(
                device
            )
            self.projection_discriminator = ProjectionDiscriminator(settings.discriminators, skeleton).to(
                device
            )
        self._networks: dict[str, nn.Module] = {
            "generator": self.generator,
            "body_part_discriminator": self.body_part_discriminator,
            "projection_discriminator": self.projection_discriminator,
        }
        self._optimizers = {
            name: torch.optim.Adam(network.parameters(), lr=self._base_rate(name), fused=True)
            for name, network in self._networks.items()
        }
        joints, size = skeleton.n_joints, settings.discriminators.pool_size
        self._pools = {
            "pool_3d": ReplayPool(size, (joints, 3), seed + 1, device),
            "pool_2d": ReplayPool(size, (joints, 2), seed + 2, device),
        }
        self._noise = torch.Generator(device=device).manual_seed(seed + 3)
        self._dropout = torch.Generator(device=device).manual_seed(seed + 4)
        self._schedule = LinearPoseAugSchedule(epochs=settings.epochs)
        self.monitor = CollapseMonitor(CollapseMonitorSettings(), settings.losses, skeleton)

    def gan_step(self, batch: GanBatch, lifter: Lifter, epoch: int) -> GanStepResult:
        """Update the augmentor and, at every n-th step, the discriminators.

        Args:
            batch: Three independent draws from the source.
            lifter: The estimator's current weights; it gets no gradient and is left as it was, unless
                `compat.train_mode_estimator` lets its BatchNorm statistics drift.
            epoch: Counted from 1, as the warm-up, the feedback's ramp and the schedules count it.
        """
        self._check(batch, epoch)
        self.generator.train()
        shape = batch.shape
        noise = self.generator.draw_noise(len(batch.intrinsics_screen), self._noise)
        frames = self.generator(batch.joints_camera_m, noise, shape)
        frames_screen = self._project(batch, frames.joints_camera_m, clamp=True)
        augmented, projected = frames.output_frames(shape), shape.output_frames(frames_screen)
        metrics = self._update_generator(batch, augmented, frames, frames_screen, lifter, epoch)
        accuracy: dict[str, float] = {}
        if self.iteration % self.settings.discriminators.every == 0:
            fakes = {"d3d": augmented.bone_angle_joints_m.detach(), "d2d": projected.detach()}
            accuracy = self._update_discriminators(batch, fakes, epoch, metrics)
        kept = self._judge(batch, frames.joints_camera_m.detach(), frames_screen.detach())
        kept_fraction = float(kept.keep.float().mean())
        metrics |= self.monitor.observe(augmented, accuracy, kept_fraction)
        self.iteration += 1
        return GanStepResult(metrics=metrics, fakes=kept)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything that the next step depends on: named tensors, and scalars as JSON."""
        parts: dict[str, dict[str, Tensor]] = {}
        scalars: dict[str, Any] = {"iteration": self.iteration, "monitor": self.monitor.state()}
        for name, network in self._networks.items():
            parts[name] = {key: value.detach().clone() for key, value in network.state_dict().items()}
            parts[f"adam_{name}"] = adam_state(self._optimizers[name], network)
        for name, pool in self._pools.items():
            parts[name], scalars[name] = pool.state()
        parts["random"] = {"noise": generator_state(self._noise), "dropout": generator_state(self._dropout)}
        return pack(**parts), scalars

    def load_state(self, tensors: Mapping[str, Tensor], scalars: Mapping[str, Any]) -> None:
        """Continue from `state`'s values; the following steps are those of an uninterrupted run.

        Raises:
            CheckpointError: if the state is of other networks.
            AugmentError: if its pools do not fit.
        """
        for name, network in self._networks.items():
            load_module_state(network, unpack(tensors, name), f"PoseAug state, {name}")
            load_adam_state(self._optimizers[name], network, unpack(tensors, f"adam_{name}"))
        for name, pool in self._pools.items():
            pool.load_state(unpack(tensors, name), scalars[name])
        random = unpack(tensors, "random")
        load_generator_state(self._noise, random["noise"])
        load_generator_state(self._dropout, random["dropout"])
        self.monitor.load_state(scalars["monitor"])
        self.iteration = int(scalars["iteration"])

    def _base_rate(self, network: str) -> float:
        if network == "generator":
            return self.settings.learning_rate_generator
        return self.settings.learning_rate_discriminators

    def _update_generator(
        self,
        batch: GanBatch,
        augmented: Augmented3D,
        frames: Augmented3D,
        frames_screen: Tensor,
        lifter: Lifter,
        epoch: int,
    ) -> dict[str, float]:
        """`frames` are those of whole windows, `augmented` their output frames; poses on their own are both."""
        projected = batch.shape.output_frames(frames_screen)
        weights = self.settings.losses
        discriminators = (self.body_part_discriminator, self.projection_discriminator)
        for network in discriminators:
            network.requires_grad_(False)
        adversarial_3d = generator_adversarial_loss(
            self.body_part_discriminator(augmented.bone_angle_joints_m)
        )
        adversarial_2d = generator_adversarial_loss(self.projection_discriminator(projected))
        angle = bone_angle_loss(augmented.bone_angle_change, weights)
        length = bone_length_loss(augmented.bone_length_ratio, weights)
        loss = (
            weights.adversarial_3d * adversarial_3d
            + weights.adversarial_2d * adversarial_2d
            + weights.regulariser * (angle + length)
        )
        feedback_metrics: dict[str, float] = {}
        settings = self.settings.feedback
        with frozen_estimator(lifter, self.settings.compat.train_mode_estimator, self._dropout):
            if settings.kind != "none" and epoch > settings.warmup_epochs:
                feedback, feedback_metrics = self._feedback(batch, frames, frames_screen, lifter, epoch)
                loss = loss + feedback
            gradient_norm = self._descend("generator", loss, epoch)
        for network in discriminators:
            network.requires_grad_(True)
        return {
            "loss_generator": float(loss.detach()),
            "loss_adversarial_3d": float(adversarial_3d.detach()),
            "loss_adversarial_2d": float(adversarial_2d.detach()),
            "loss_bone_angle": float(angle.detach()),
            "loss_bone_length": float(length.detach()),
            "gradient_norm_generator": gradient_norm,
            **feedback_metrics,
        }

    def _feedback(
        self, batch: GanBatch, frames: Augmented3D, frames_screen: Tensor, lifter: Lifter, epoch: int
    ) -> tuple[Tensor, dict[str, float]]:
        settings, shape = self.settings.feedback, batch.shape
        augmented = frames.output_frames(shape)
        with torch.no_grad():
            source_errors = joint_errors_m(
                lifter, shape.windows(batch.keypoints_screen), shape.output_frames(batch.joints_camera_m)
            )
        angle_2d = self._project(batch, frames.bone_angle_joints_m, clamp=True)
        angle_centre = ramp(
            settings.bone_angle_ratio_start, settings.bone_angle_ratio_end, epoch, settings.ramp_epochs
        )
        angle_loss, angle_ratio = estimator_feedback(
            joint_errors_m(lifter, shape.windows(angle_2d), augmented.bone_angle_joints_m),
            source_errors,
            self.skeleton,
            settings,
            angle_centre,
            settings.bone_angle_ratio_half_width,
        )
        motion_centre = ramp(
            settings.rigid_motion_ratio_start, settings.rigid_motion_ratio_end, epoch, settings.ramp_epochs
        )
        motion_loss, motion_ratio = estimator_feedback(
            joint_errors_m(lifter, shape.windows(frames_screen), augmented.joints_camera_m),
            source_errors,
            self.skeleton,
            settings,
            motion_centre,
            settings.rigid_motion_ratio_half_width,
        )
        metrics = {
            "loss_feedback_bone_angle": float(angle_loss.detach()),
            "loss_feedback_rigid_motion": float(motion_loss.detach()),
            "hardness_bone_angle": float(angle_ratio.detach().mean()),
            "hardness_rigid_motion": float(motion_ratio.detach().mean()),
            "source_error_m": float(source_errors.mean()),
        }
        total = settings.bone_angle_weight * angle_loss + settings.rigid_motion_weight * motion_loss
        return total, metrics

    def _update_discriminators(
        self, batch: GanBatch, fakes: Mapping[str, Tensor], epoch: int, metrics: dict[str, float]
    ) -> dict[str, float]:
        accuracy: dict[str, float] = {}
        for short, name, pool, real in (
            ("d3d", "body_part_discriminator", "pool_3d", batch.real_joints_m),
            ("d2d", "projection_discriminator", "pool_2d", batch.real_keypoints_screen),
        ):
            network = self._networks[name]
            real_scores = network(real)
            fake_scores = network(self._pools[pool].exchange(fakes[short]))
            loss = discriminator_loss(real_scores, fake_scores)
            metrics[f"gradient_norm_{short}"] = self._descend(name, loss, epoch)
            metrics[f"loss_{short}"] = float(loss.detach())
            right = (real_scores.detach() > 0.5).float().mean() + (fake_scores.detach() < 0.5).float().mean()
            accuracy[short] = 0.5 * float(right)
        return accuracy

    def _descend(self, name: str, loss: Tensor, epoch: int) -> float:
        network, optimizer = self._networks[name], self._optimizers[name]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(network.parameters(), self.settings.grad_clip_norm)
        for group in optimizer.param_groups:
            group["lr"] = self._base_rate(name) * self._schedule.factor(self.iteration, epoch - 1)
        optimizer.step()
        return float(norm)

    def _judge(self, batch: GanBatch, joints_camera_m: Tensor, projected: Tensor) -> Fakes:
        compat = self.settings.compat
        if not compat.clamp_instead_of_reject:
            projected = self._project(batch, joints_camera_m, clamp=False)
        aspect = None if batch.image_aspect is None else batch.shape.on_frames(batch.image_aspect)
        reason = worst_frame(judge_fakes(joints_camera_m, projected, aspect, self.settings), batch.shape)
        return Fakes(
            joints_camera_m=joints_camera_m, keypoints_screen=projected, keep=reason == 0, reason=reason
        )

    def _project(self, batch: GanBatch, joints_camera_m: Tensor, clamp: bool) -> Tensor:
        """As the camera of each pose or window sees it."""
        intrinsics = batch.shape.on_frames(batch.intrinsics_screen)
        return project(joints_camera_m, intrinsics, self.settings.compat, clamp=clamp)

    def _check(self, batch: GanBatch, epoch: int) -> None:
        if epoch < 1:
            raise AugmentError(f"gan_step counts epochs from 1, got {epoch}")
        wanted = self.skeleton.n_joints
        if batch.joints_camera_m.shape[1] != wanted:
            raise AugmentError(
                f"gan_step wants poses of the {wanted} joints of skeleton {self.skeleton.name!r}, got "
                f"{batch.joints_camera_m.shape[1]}; map them with poses.skeleton.joint_map first"
            )
