"""RepNet's training on 2D and 3D poses that are not paired, by hand-written gradients.

A step is the published one (specs/lifters.md 1.4): the critic learns to give real poses lower scores than the
generator's, with a gradient penalty between them; then generator and camera network learn to please the
critic, to reproject onto the keypoints, and to give cameras that are scaled rotations. What autograd does in
seven passes is done in fewer, with the same numbers: the generator runs once for both halves; real poses,
fakes and the points between them go through the critic as one batch; the penalty's gradient is one more
forward pass of tangents (`dense_path.py`); layers are updated as soon as their gradients are known.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from estimators.checkpoints import load_module_state, pack, unpack
from estimators.errors import LifterInputError
from estimators.lifters.contract import check_keypoints
from estimators.lifters.repnet.critic import KinematicChainCritic
from estimators.lifters.repnet.dense_path import Learn, learn_nothing
from estimators.lifters.repnet.flat_pose import flatten_joints, normalise_keypoints
from estimators.lifters.repnet.keras_adam import KerasAdam
from estimators.lifters.repnet.lifter import RepNetLifter
from estimators.lifters.repnet.losses import RepNetLosses, image_losses, joint_weights
from estimators.lifters.repnet.settings import RepNetTrainerSettings
from estimators.lifters.repnet.torso import align_to_torso
from estimators.lifters.repnet.turned_views import TurnedViews, turned_losses, turned_views
from estimators.optimizer_state import generator_state, load_generator_state
from poses.kinematics import check_joint_axis

_SMALLEST_NORM = 1e-12


@dataclass(frozen=True)
class _Made:
    """The generator's pass over a batch of keypoints."""

    shared: list[Tensor] | None
    pose: list[Tensor]
    camera: list[Tensor]


class RepNetTrainer:
    """Owns the critic, both optimisers and the random numbers of the gradient penalty; trains a lifter in place.

    Args:
        settings: Losses, rates, critic.
        lifter: Generator and camera network.
        seed: Of the critic's first weights and of the points between real and generated poses.
    """

    def __init__(self, settings: RepNetTrainerSettings, lifter: RepNetLifter, seed: int = 0) -> None:
        self.settings = settings
        self.lifter = lifter
        self.epoch = 0
        self._device = next(lifter.parameters()).device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.critic = KinematicChainCritic(settings.critic, lifter.skeleton).to(self._device)
        self._random = torch.Generator(device=self._device).manual_seed(seed + 1)
        self._adams = {
            "lifter": KerasAdam(lifter, settings.betas, settings.epsilon),
            "critic": KerasAdam(self.critic, settings.betas, settings.epsilon),
        }
        self._scratch: dict[tuple[int, int], Tensor] = {}
        self._joint_weight = joint_weights(settings, lifter.skeleton).to(self._device)

    @property
    def steps(self) -> int:
        """Steps done."""
        return self._adams["lifter"].steps

    @property
    def learning_rate(self) -> float:
        """Rate of the next step, of both optimisers."""
        return self.settings.learning_rate * self.settings.schedule.factor(self.steps, self.epoch)

    def begin_epoch(self, epoch: int) -> None:
        """Say which epoch (from 0) the next steps belong to; schedules by epoch read it."""
        self.epoch = epoch

    def prepare_keypoints(
        self, keypoints_screen: Float[Tensor, "B J 2"], availability: Float[Tensor, "B J"] | None = None
    ) -> Float[Tensor, "B D"]:
        """Screen keypoints as `step` wants them: normalised rows.

        Raises:
            LifterInputError: on a wrong shape, pixels, or numbers that are not finite.
        """
        check_keypoints(keypoints_screen, self.lifter.skeleton, 1)
        return normalise_keypoints(keypoints_screen, availability).flat

    def prepare_poses(self, joints_m: Float[Tensor, "B J 3"]) -> Float[Tensor, "B P"]:
        """Real 3D poses of any place and view as `step` wants them: aligned rows.

        Raises:
            LifterInputError: if a coordinate is not finite.
            SkeletonError: if the skeleton has no hips or shoulders.
        """
        check_joint_axis(joints_m, self.lifter.skeleton)
        bad = int((~torch.isfinite(joints_m)).flatten(1).any(1).sum())
        if bad:
            raise LifterInputError(
                f"RepNet's real poses: {bad} of {len(joints_m)} have NaN or infinite coordinates; drop them first"
            )
        aligned = align_to_torso(joints_m, self.lifter.skeleton, self.settings.torso)
        return flatten_joints(aligned.joints_m).contiguous()

    @torch.no_grad()
    def step(
        self,
        keypoints_flat: Float[Tensor, "B D"],
        poses_flat: Float[Tensor, "R P"],
        availability: Float[Tensor, "B J"] | None = None,
        mixing: Float[Tensor, "R 1"] | None = None,
    ) -> RepNetLosses:
        """One step of the critic and one of generator and camera.

        Args:
            keypoints_flat: From `prepare_keypoints`.
            poses_flat: As many real poses from `prepare_poses`; they belong to other images.
            availability: Of the keypoints; 0 where one is missing. Its reprojection then counts for nothing.
            mixing: Share of the real pose in each point of the gradient penalty; drawn evenly if not given.

        Raises:
            LifterInputError: if the batch is empty, the counts differ, or a loss is not finite (weights are
            then
                those after the critic's step).
        """
        self._check(keypoints_flat, poses_flat)
        if mixing is None:
            mixing = torch.rand(len(poses_flat), 1, generator=self._random, device=self._device)
        rate = self.learning_rate
        made = self._generate(keypoints_flat)
        losses = self._critic_step(poses_flat, made.pose[-1], mixing, rate)
        turned = self._turn(poses_flat, made.pose[-1], availability)
        losses |= self._generator_step(keypoints_flat, made, availability, rate, turned)
        if not all(value - value == 0.0 for value in losses.values()):
            raise LifterInputError(
                f"RepNet training: losses {losses} at step {self.steps}, wanted finite numbers; lower the learning "
                "rate or look for broken poses"
            )
        return RepNetLosses(**losses)

    def state_dict(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything that the next step depends on: named tensors, and scalars as JSON."""
        parts: dict[str, dict[str, Tensor]] = {"random": {"mixing": generator_state(self._random)}}
        scalars: dict[str, Any] = {"epoch": self.epoch}
        for name, network in self._networks().items():
            parts[name] = {key: value.detach().clone() for key, value in network.state_dict().items()}
            parts[f"adam_{name}"], scalars[f"adam_{name}"] = self._adams[name].state()
        return pack(**parts), scalars

    def load_state_dict(self, tensors: Mapping[str, Tensor], scalars: Mapping[str, Any]) -> None:
        """Continue from `state_dict`'s values; the following steps are those of an uninterrupted run.

        Raises:
            CheckpointError: if the state is of other networks.
        """
        for name, network in self._networks().items():
            load_module_state(network, unpack(tensors, name), f"RepNet trainer state, {name}")
            self._adams[name].load_state(unpack(tensors, f"adam_{name}"), scalars[f"adam_{name}"])
        load_generator_state(self._random, unpack(tensors, "random")["mixing"])
        self.epoch = int(scalars["epoch"])

    def _networks(self) -> dict[str, nn.Module]:
        return {"lifter": self.lifter, "critic": self.critic}

    def _generate(self, keypoints_flat: Tensor) -> _Made:
        lifter = self.lifter
        shared = None if lifter.shared is None else lifter.shared.nodes(keypoints_flat)
        features = keypoints_flat if shared is None else shared[-1]
        return _Made(shared, lifter.pose.nodes(features), lifter.camera.path.nodes(features))

    def _critic_step(self, real: Tensor, fake: Tensor, mixing: Tensor, rate: float) -> dict[str, float]:
        """Scores, their gradients and the penalty's for real, fake and mixed poses as one batch of 3 B rows."""
        rows = len(real)
        mixed = mixing * real + (1.0 - mixing) * fake
        nodes = self.critic.nodes(torch.cat([real, fake, mixed]))
        scores = nodes.joined[-1]
        real_mean, fake_mean = scores[:rows].mean(), scores[rows : 2 * rows].mean()
        gradient = torch.full_like(scores, 1.0 / rows)
        gradient[rows : 2 * rows].neg_()
        gradient[2 * rows :] = 1.0
        deltas: list[tuple[nn.Linear, Tensor, Tensor]] = []
        slopes = self.critic.pull_back(nodes, gradient, lambda *found: deltas.append(found))[2 * rows :]
        norm = slopes.square().sum(1, keepdim=True).sqrt()
        weight = self.settings.gradient_penalty
        penalty = weight * (norm - 1.0).square().mean()
        pull = (2.0 * weight / rows) * (norm - 1.0) / norm.clamp_min(_SMALLEST_NORM) * slopes
        self.critic.push_tangents(nodes, 2 * rows, pull)
        adam = self._adams["critic"]
        adam.begin_step(rate)
        learn = self._learner(adam, 2 * rows)
        for layer, delta, values in deltas:
            learn(layer, delta, values)
        total = real_mean - fake_mean + penalty
        names = ("critic", "critic_real", "critic_fake", "gradient_penalty")
        return dict(zip(names, torch.stack([total, real_mean, -fake_mean, penalty]).tolist(), strict=True))

    def _generator_step(
        self,
        keypoints_flat: Tensor,
        made: _Made,
        availability: Tensor | None,
        rate: float,
        turned: TurnedViews | None,
    ) -> dict[str, float]:
        settings, pose, camera = self.settings, made.pose[-1], made.camera[-1]
        nodes = self.critic.nodes(pose)
        scores = nodes.joined[-1]
        pull = torch.full_like(scores, settings.adversarial_weight / len(scores))
        at_pose = self.critic.pull_back(nodes, pull, learn_nothing)
        reprojection, camera_mean, at_image, at_camera = self._image_gradients(
            keypoints_flat, pose, camera, availability
        )
        at_pose.add_(at_image)
        adversarial = scores.mean()
        total = (
            settings.adversarial_weight * adversarial
            + settings.reprojection_weight * reprojection
            + settings.camera_weight * camera_mean
        )
        others = torch.zeros(2, device=self._device)
        if turned is not None:
            made, at_pose, at_camera, others = self._join_turned(turned, made, at_pose, at_camera)
            total = total + (turned.weights * others).sum()
        self._learn_lifter(made, at_pose, at_camera, rate)
        values = torch.stack([total, adversarial, reprojection, camera_mean, *others]).tolist()
        names = ("generator", "adversarial", "reprojection", "camera", "turned_pose_m", "turned_camera")
        return dict(zip(names, values, strict=True))

    def _turn(self, real: Tensor, generated: Tensor, availability: Tensor | None) -> TurnedViews | None:
        """Turned views of this step's poses, if they are wanted; random numbers are drawn only then."""
        wanted = self.settings.turned
        if wanted is None:
            return None
        poses = real if wanted.poses == "real" else generated.clone()
        return turned_views(wanted, poses, availability, self._random)

    def _join_turned(
        self, turned: TurnedViews, made: _Made, at_pose: Tensor, at_camera: Tensor
    ) -> tuple[_Made, Tensor, Tensor, Tensor]:
        """The generator's pass and its gradients with the turned views as further rows, and their two losses."""
        also = self._generate(turned.keypoints_flat)
        with torch.enable_grad():
            pose, camera = also.pose[-1].detach().requires_grad_(), also.camera[-1].detach().requires_grad_()
            losses = turned_losses(turned, pose, camera)
            at_turned = torch.autograd.grad((turned.weights * losses).sum(), (pose, camera))
        at_pose, at_camera = torch.cat([at_pose, at_turned[0]]), torch.cat([at_camera, at_turned[1]])
        return _joined(made, also), at_pose, at_camera, losses.detach()

    def _learn_lifter(self, made: _Made, at_pose: Tensor, at_camera: Tensor, rate: float) -> None:
        """Gradients of pose and camera through the networks, and Adam's step."""
        adam, lifter = self._adams["lifter"], self.lifter
        adam.begin_step(rate)
        learn, wants = self._learner(adam), made.shared is not None
        at_features = lifter.pose.pull_back(made.pose, at_pose, learn, wants)
        at_shared = lifter.camera.path.pull_back(made.camera, at_camera, learn, wants)
        if made.shared is not None and lifter.shared is not None:
            lifter.shared.pull_back(made.shared, at_features.add_(at_shared), learn, wants_input=False)

    def _image_gradients(
        self, keypoints_flat: Tensor, pose: Tensor, camera: Tensor, availability: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Reprojection and camera loss, and their weighted gradients at pose and camera: small, so by autograd."""
        settings = self.settings
        with torch.enable_grad():
            pose, camera = pose.detach().requires_grad_(), camera.detach().requires_grad_()
            reprojection, cameras = image_losses(
                settings, keypoints_flat, pose, camera, self._joint_weight, availability
            )
            total = settings.reprojection_weight * reprojection + settings.camera_weight * cameras
            at_pose, at_camera = torch.autograd.grad(total, (pose, camera))
        return reprojection.detach(), cameras.detach(), at_pose, at_camera

    def _learner(self, adam: KerasAdam, biased_rows: int | None = None) -> Learn:
        """Updates a layer from (delta, input); rows from `biased_rows` on are tangents, which no bias moves."""

        def learn(layer: nn.Linear, delta: Tensor, values: Tensor) -> None:
            shape = (layer.out_features, layer.in_features)
            if shape not in self._scratch:
                self._scratch[shape] = torch.empty(shape, device=self._device)
            weight = torch.mm(delta.t(), values, out=self._scratch[shape])
            biased = delta if biased_rows is None else delta[:biased_rows]
            adam.update((layer.weight, weight), (layer.bias, biased.sum(0)))

        return learn

    def _check(self, keypoints_flat: Tensor, poses_flat: Tensor) -> None:
        joints = self.lifter.skeleton.n_joints
        wanted = ((len(poses_flat), 2 * joints), (len(keypoints_flat), 3 * joints))
        if not len(poses_flat) or (keypoints_flat.shape, poses_flat.shape) != wanted:
            raise LifterInputError(
                f"RepNet training wants (B, {2 * joints}) keypoints and (B, {3 * joints}) poses of skeleton "
                f"{self.lifter.skeleton.name!r}, B at least 1, got {list(keypoints_flat.shape)} and "
                f"{list(poses_flat.shape)}; use prepare_keypoints and prepare_poses"
            )


def _joined(one: _Made, other: _Made) -> _Made:
    """Two passes as one of all rows."""

    def rows(first: list[Tensor], second: list[Tensor]) -> list[Tensor]:
        return [torch.cat(nodes) for nodes in zip(first, second, strict=True)]

    shared = None if one.shared is None or other.shared is None else rows(one.shared, other.shared)
    return _Made(shared, rows(one.pose, other.pose), rows(one.camera, other.camera))
