"""Training of SemGCN's image variant, step by step: crops in, one loss of 2D and 3D joints, a state that resumes."""

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from estimators.checkpoints import load_module_state, pack, unpack
from estimators.dropout import set_dropout_generator
from estimators.errors import LifterInputError
from estimators.images.graph_pose import GraphPoseNetwork, GraphPoses
from estimators.lifters.training.schedules import ConstantSchedule, Schedule
from estimators.optimizer_state import adam_state, generator_state, load_adam_state, load_generator_state

LEAST_ROWS = 2
"""BatchNorm has no statistics of one crop at its last, smallest map."""


class GraphPoseTrainerSettings(BaseModel):
    """How the network is trained."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    learning_rate: float = Field(default=1e-3, gt=0.0)
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = Field(default=0.0, ge=0.0, description="decoupled from the gradient, as in AdamW")
    schedule: Schedule = ConstantSchedule()
    grad_clip_norm: float | None = Field(default=1.0, gt=0.0)
    joints_from_step: int = Field(
        default=0, ge=0, description="until this step only the 2D loss counts, so that places are found first"
    )
    predict_batch: int = Field(default=64, ge=1, description="crops per forward pass in predict")


class GraphPoseTrainer:
    """Owns a network, its optimiser and its dropout's random numbers.

    Args:
        settings: Rates and phases; the loss is the network's own.
        network: Trained in place.
        seed: Of dropout.
    """

    def __init__(self, settings: GraphPoseTrainerSettings, network: GraphPoseNetwork, seed: int = 0) -> None:
        self.settings, self.network = settings, network
        self.steps = self.epoch = 0
        self._generator = torch.Generator(device=next(network.parameters()).device).manual_seed(seed)
        set_dropout_generator(network, self._generator)
        optimizer = torch.optim.AdamW if settings.weight_decay else torch.optim.Adam
        self._optimizer = optimizer(
            network.parameters(),
            lr=settings.learning_rate,
            betas=settings.betas,
            weight_decay=settings.weight_decay,
            fused=True,
        )

    @property
    def learning_rate(self) -> float:
        """Rate of the next update."""
        return self.settings.learning_rate * self.settings.schedule.factor(self.steps, self.epoch)

    def begin_epoch(self, epoch: int) -> None:
        """Say which epoch (from 0) the next updates belong to; schedules by epoch read it."""
        self.epoch = epoch

    def step(self, crops: Tensor, keypoints_crop: Tensor, joints_root_m: Tensor) -> dict[str, float]:
        """One update.

        Args:
            crops: (B, 3, H, W) RGB in [0, 1].
            keypoints_crop: (B, J, 2) crop coordinates, NaN where unknown.
            joints_root_m: (B, J, 3) metres, the root at zero.

        Returns:
            The losses before the update: `loss`, `joints`, `keypoints`.

        Raises:
            LifterInputError: if there are too few crops, or the loss is not finite.
        """
        if len(crops) < LEAST_ROWS:
            raise LifterInputError(
                f"image network: {len(crops)} crop(s) to train on at update {self.steps}, wanted {LEAST_ROWS} or more "
                "(BatchNorm has no statistics of one); choose larger batches"
            )
        self.network.train()
        weight = 1.0 if self.steps >= self.settings.joints_from_step else 0.0
        loss, parts = self.network.loss(crops, keypoints_crop, joints_root_m, joints_weight=weight)
        value = float(loss.detach())
        if value != value or value in (float("inf"), float("-inf")):
            raise LifterInputError(
                f"image network: loss {value} at update {self.steps}, wanted a finite number; look for NaN in the 3D "
                "joints, or lower the learning rate"
            )
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self.settings.grad_clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.grad_clip_norm)
        for group in self._optimizer.param_groups:
            group["lr"] = self.learning_rate
        self._optimizer.step()
        self.steps += 1
        return {"loss": value, **parts}

    def predict(self, crops: Tensor) -> GraphPoses:
        """2D and 3D joints in evaluation mode."""
        return predict_poses(self.network, crops, self.settings.predict_batch)

    def state_dict(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything that the next step depends on: named tensors, and scalars as JSON."""
        parts = {
            "network": {name: value.detach().clone() for name, value in self.network.state_dict().items()},
            "adam": adam_state(self._optimizer, self.network),
            "random": {"dropout": generator_state(self._generator)},
        }
        return pack(**parts), {"steps": self.steps, "epoch": self.epoch}

    def load_state_dict(self, tensors: Mapping[str, Tensor], scalars: Mapping[str, Any]) -> None:
        """Continue from `state_dict`'s values; the following steps are those of an uninterrupted run.

        Raises:
            CheckpointError: if the state is of another network.
        """
        load_module_state(self.network, unpack(tensors, "network"), "image trainer state")
        load_adam_state(self._optimizer, self.network, unpack(tensors, "adam"))
        load_generator_state(self._generator, unpack(tensors, "random")["dropout"])
        self.steps = int(scalars["steps"])
        self.begin_epoch(int(scalars["epoch"]))


def predict_poses(network: GraphPoseNetwork, crops: Tensor, batch: int = 64) -> GraphPoses:
    """2D and 3D joints of crops in evaluation mode, in pieces; the network's mode is as before afterwards."""
    was_training = network.training
    network.eval()
    try:
        with torch.inference_mode():
            found = [network(piece) for piece in crops.split(batch)]
    finally:
        network.train(was_training)
    return GraphPoses(
        torch.cat([poses.keypoints_crop for poses in found]),
        torch.cat([poses.joints_m for poses in found]),
        network.skeleton.root_index,
    )
