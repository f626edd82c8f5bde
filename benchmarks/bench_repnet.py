"""RepNet's training: one critic and one generator step at batch 32, beside plain autograd.

The plain form is what the published code's formulas become in torch: every loss by autograd (the gradient
penalty by double backward), the generator run once for the critic's step and once for its own, and torch's
own Adam, one optimiser step at a time. Both give the same numbers
(tests/unit/benchmarks/test_bench_repnet.py). The floor is the bare matrix products that the fast form cannot
do without, in the same shapes and number; and these with Adam's updates of the same weights, which read and
write 28 bytes a weight and are bound by memory. All of them take turns in one run, by processor time of one
thread; the published TensorFlow code was measured at 12.5 iterations/s on two cores.
"""

import copy

import torch
from torch import Tensor

from benchmarks.bench_poseaug import _in_turns
from benchmarks.row import BenchmarkRow, rate_row
from estimators.lifters.repnet.keras_adam import KerasAdam
from estimators.lifters.repnet.lifter import RepNetLifter, build_repnet
from estimators.lifters.repnet.losses import RepNetLosses, image_losses, joint_weights
from estimators.lifters.repnet.settings import RepNetTrainerSettings, repnet_preset
from estimators.lifters.repnet.trainer import RepNetTrainer
from poses.skeleton import load_skeleton

BATCH = 32
GOAL = 2.0


class PlainTrainer:
    """RepNet's step in plain autograd."""

    def __init__(self, settings: RepNetTrainerSettings, lifter: RepNetLifter, trainer: RepNetTrainer) -> None:
        self.settings, self.lifter, self.critic = settings, lifter, trainer.critic
        device = next(lifter.parameters()).device
        self._joint_weight = joint_weights(settings, lifter.skeleton).to(device)
        self._optimizers = [
            torch.optim.Adam(network.parameters(), lr=settings.learning_rate, betas=settings.betas)
            for network in (self.critic, lifter)
        ]
        self.steps = 0

    def step(self, keypoints_flat: Tensor, poses_flat: Tensor, mixing: Tensor) -> RepNetLosses:
        """One step of each, critic first."""
        self.steps += 1
        with torch.no_grad():
            shared = self.lifter.shared
            fake = self.lifter.pose(keypoints_flat if shared is None else shared(keypoints_flat))
        real_mean, fake_mean = self.critic(poses_flat).mean(), self.critic(fake).mean()
        mixed = (mixing * poses_flat + (1 - mixing) * fake).requires_grad_()
        (slopes,) = torch.autograd.grad(self.critic(mixed).sum(), mixed, create_graph=True)
        penalty = self.settings.gradient_penalty * (slopes.square().sum(1).sqrt() - 1).square().mean()
        critic = real_mean - fake_mean + penalty
        self._update(0, critic)
        self.critic.requires_grad_(False)
        pose, camera = self.lifter.network(keypoints_flat)
        adversarial = self.critic(pose).mean()
        reprojection, cameras = image_losses(self.settings, keypoints_flat, pose, camera, self._joint_weight)
        generator = adversarial + reprojection + cameras
        self._update(1, generator)
        self.critic.requires_grad_(True)
        values = (critic, real_mean, -fake_mean, penalty, generator, adversarial, reprojection, cameras)
        return RepNetLosses(*(float(value.detach()) for value in values))

    def _update(self, which: int, loss: Tensor) -> None:
        optimizer = self._optimizers[which]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        for group in optimizer.param_groups:
            group["eps"] = self.settings.epsilon / (1 - self.settings.betas[1] ** self.steps) ** 0.5
        optimizer.step()


def make_trainers(device: str, width: int | None = None) -> tuple[RepNetTrainer, PlainTrainer]:
    """A fast and a plain trainer of equal weights."""
    preset, skeleton = repnet_preset("code"), load_skeleton("h36m_16")
    network = preset.network if width is None else preset.network.model_copy(update={"width": width})
    lifters = [build_repnet(network, skeleton, seed=1).to(device) for _ in range(2)]
    fast, other = (RepNetTrainer(preset.trainer, lifter, seed=2) for lifter in lifters)
    return fast, PlainTrainer(preset.trainer, lifters[1], other)


def make_batch(device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Normalised keypoints, poses and mixing shares of one batch."""
    generator = torch.Generator().manual_seed(0)
    keypoints = torch.randn(BATCH, 32, generator=generator)
    poses = 0.3 * torch.randn(BATCH, 48, generator=generator)
    return keypoints.to(device), poses.to(device), torch.rand(BATCH, 1, generator=generator).to(device)


def measure() -> list[BenchmarkRow]:
    """The fast form against the plain one, and against its own matrix products."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    fast, plain = make_trainers(device)
    keypoints, poses, mixing = make_batch(device)
    products = _Products(fast, device)
    runs = {
        "fast": lambda: fast.step(keypoints, poses, mixing=mixing),
        "plain": lambda: plain.step(keypoints, poses, mixing),
        "products": products.run,
        "products_and_adam": lambda: products.run(with_adam=True),
    }
    best = _in_turns(runs, device, repeats=25)
    rates = {name: 1.0 / seconds for name, seconds in best.items()}
    name = f"RepNet training, batch {BATCH}"
    return [
        rate_row(
            name,
            rates["fast"],
            "critic + generator iterations/s",
            rates["plain"],
            "plain autograd",
            goal=GOAL,
        ),
        rate_row(
            f"{name}, beside its products", rates["fast"], "iterations/s", rates["products"], "bare products"
        ),
        rate_row(
            f"{name}, beside its products and Adam's updates",
            rates["fast"],
            "iterations/s",
            rates["products_and_adam"],
            "both bare",
        ),
    ]


class _Products:
    """The matrix products of one fast iteration, with or without Adam's updates from them."""

    def __init__(self, trainer: RepNetTrainer, device: str) -> None:
        lifter, critic = copy.deepcopy(trainer.lifter), copy.deepcopy(trainer.critic)
        betas, epsilon = trainer.settings.betas, trainer.settings.epsilon
        self._adams = [KerasAdam(network, betas, epsilon) for network in (lifter, critic)]
        of_lifter, of_critic = (
            [part for part in network.modules() if isinstance(part, torch.nn.Linear)]
            for network in (lifter, critic)
        )
        self._passes = [
            (
                adam,
                part.weight,
                torch.randn(rows, part.in_features, device=device),
                torch.randn(rows, part.out_features, device=device),
                *kinds,
            )
            for adam, layers, rows, kinds in (
                (
                    self._adams[0],
                    of_lifter[:1],
                    BATCH,
                    (1, 0, 1),
                ),  # nothing wants the gradient of the keypoints
                (self._adams[0], of_lifter[1:], BATCH, (1, 1, 1)),
                (self._adams[1], of_critic, 3 * BATCH, (1, 1, 1)),
                (
                    self._adams[1],
                    of_critic,
                    BATCH,
                    (2, 1, 0),
                ),  # tangents of the penalty, and under the generator
            )
            for part in layers
        ]
        self._scratch = {weight.shape: torch.empty_like(weight) for _, weight, *_ in self._passes}

    @torch.no_grad()
    def run(self, with_adam: bool = False) -> None:
        """All of them, one after the other; Adam's rate is 0, so that the weights stay."""
        for adam in self._adams:
            adam.begin_step(0.0)
        for adam, weight, values, deltas, forward, to_input, to_weights in self._passes:
            for _ in range(forward):
                torch.mm(values, weight.t())
            for _ in range(to_input):
                torch.mm(deltas, weight)
            if to_weights:
                gradient = torch.mm(deltas.t(), values, out=self._scratch[weight.shape])
                if with_adam:
                    adam.update((weight, gradient))
