"""Training of one lifter, step by step; its state is flat tensors and JSON, and resumes bit for bit.

With a precision of half width the forward pass runs under autocast; weights, gradients, moments, averages and the loss
itself stay float32, and so does `predict`: an estimate does not depend on how its lifter was trained. Several
processes train one lifter together when each is given its `Replicas`.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.func import functional_call

from estimators.checkpoints import load_module_state, pack, unpack
from estimators.data_parallel import Replicas
from estimators.dropout import set_dropout_generator
from estimators.errors import CheckpointError, LifterInputError
from estimators.lifters.contract import Lifter
from estimators.lifters.training.batch_norm import BatchNormMomentum, check_training_rows, set_momentum
from estimators.lifters.training.losses import LossName, loss_per_sample
from estimators.lifters.training.mirroring import mean_of_both
from estimators.lifters.training.schedules import ConstantSchedule, Schedule
from estimators.optimizer_state import adam_state, generator_state, load_adam_state, load_generator_state
from poses.identity import stable_id


class LifterTrainerSettings(BaseModel):
    """How a lifter is trained; the defaults are PoseAug's for the closed loop."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    loss: LossName = Field(default="mse", description="see estimators.lifters.training.losses")
    learning_rate: float = Field(default=1e-4, gt=0.0)
    betas: tuple[float, float] = (0.9, 0.999)
    amsgrad: bool = False
    weight_decay: float = Field(default=0.0, ge=0.0, description="decoupled from the gradient, as in AdamW")
    schedule: Schedule = ConstantSchedule()
    batch_norm_momentum: BatchNormMomentum | None = Field(
        default=None, description="falls with the epochs, as VideoPose3D's; None leaves 0.1"
    )
    grad_clip_norm: float | None = Field(default=1.0, gt=0.0)
    ema_decay: float | None = Field(
        default=None, gt=0.0, lt=1.0, description="average of the weights for predict"
    )
    precision: Literal["float32", "bfloat16", "float16"] = Field(
        default="float32",
        description="of activations in training; float16 scales the loss and skips updates that overflow",
    )
    predict_batch: int = Field(default=512, ge=1, description="rows per forward pass in predict")


class LifterTrainer:
    """Owns a lifter, its optimiser, its dropout's random numbers and, if asked, an average of its weights.

    Args:
        settings: Loss, rate and schedule.
        lifter: The network; trained in place.
        seed: Of dropout.
        replicas: This process among those that train the lifter together; every one of them calls `step` with rows
            of its own, as many as the others. None: there is only this one.
    """

    def __init__(
        self,
        settings: LifterTrainerSettings,
        lifter: Lifter,
        seed: int = 0,
        replicas: Replicas | None = None,
    ) -> None:
        self.settings = settings
        self.lifter = lifter
        self.steps = 0
        self.epoch = 0
        self._seed, self._replicas = seed, replicas
        self._device = next(lifter.parameters()).device
        self._generator = torch.Generator(device=self._device).manual_seed(seed)
        set_dropout_generator(lifter, self._generator)
        optimizer = torch.optim.AdamW if settings.weight_decay else torch.optim.Adam
        self._optimizer = optimizer(
            lifter.parameters(),
            lr=settings.learning_rate,
            betas=settings.betas,
            amsgrad=settings.amsgrad,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self._scaler = torch.amp.GradScaler(self._device.type, enabled=settings.precision == "float16")
        self._average: dict[str, Tensor] | None = None
        if settings.ema_decay is not None:
            self._average = {name: value.detach().clone() for name, value in lifter.state_dict().items()}
        self.begin_epoch(0)

    @property
    def learning_rate(self) -> float:
        """Rate of the next update."""
        return self.settings.learning_rate * self.settings.schedule.factor(self.steps, self.epoch)

    def begin_epoch(self, epoch: int) -> None:
        """Say which epoch (from 0) the next updates belong to; schedules by epoch read it."""
        self.epoch = epoch
        if self.settings.batch_norm_momentum is not None:
            set_momentum(self.lifter, self.settings.batch_norm_momentum.at(epoch))

    def step(
        self,
        keypoints_screen: Tensor,
        joints_root_m: Tensor,
        weight: Tensor | None = None,
        further_loss: Callable[[Lifter], Tensor] | None = None,
    ) -> float:
        """One optimiser step.

        Args:
            keypoints_screen: (B, J, 2) or (B, T, J, 2) screen coordinates.
            joints_root_m: Targets, root-relative metres, in the shape of the lifter's output, or one per input frame:
                the whole sequence is lifted then.
            weight: (B,) weight of each sample; its mean need not be 1.
            further_loss: A loss of the lifter in training mode that is added to that of the pairs, and must be finite.

        Returns:
            The loss of the pairs before the step.

        Raises:
            LifterInputError: if input and target do not fit, there are too few rows, or the loss is not finite.
        """
        self.lifter.train()
        self._seed_replica()
        temporal = joints_root_m.ndim == 4 and self.lifter.receptive_field > 1
        whole = temporal and joints_root_m.shape[1] == keypoints_screen.shape[1]
        if self._replicas is None:
            check_training_rows(self.lifter, keypoints_screen, 1 if whole else self.lifter.receptive_field)
        with self._autocast():
            outputs = self.lifter(keypoints_screen, "sequence" if whole else "loss")
        loss = self._loss(outputs.to(joints_root_m.dtype), joints_root_m, weight)
        self._optimizer.zero_grad(set_to_none=True)
        self._scaler.scale(loss if further_loss is None else loss + further_loss(self.lifter)).backward()
        value = self._shared_loss(loss)
        if value != value or value in (float("inf"), float("-inf")):
            raise LifterInputError(
                f"lifter training: loss {value} at update {self.steps}, wanted a finite number; look for "
                f"NaN targets "
                "or lower the learning rate"
            )
        self._update()
        self.steps += 1
        self._update_average()
        return value

    def predict(self, keypoints_screen: Tensor, flip: bool = False) -> Tensor:
        """Lift without training: evaluation mode, averaged weights where there are any, in chunks.

        Args:
            keypoints_screen: (B, J, 2) or (B, T, J, 2) screen coordinates.
            flip: Average with the mirrored prediction of the mirrored input (test-time augmentation).
        """
        was_training = self.lifter.training
        self.lifter.eval()
        try:
            with torch.inference_mode():
                pieces = [
                    self._predict_chunk(chunk, flip)
                    for chunk in keypoints_screen.split(self.settings.predict_batch)
                ]
        finally:
            self.lifter.train(was_training)
        return torch.cat(pieces)

    def state_dict(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything that the next step depends on: named tensors, and scalars as JSON."""
        parts = {
            "lifter": {name: value.detach().clone() for name, value in self.lifter.state_dict().items()},
            "adam": adam_state(self._optimizer, self.lifter),
            "random": {"dropout": generator_state(self._generator)},
        }
        if self._average is not None:
            parts["average"] = {name: value.clone() for name, value in self._average.items()}
        scalars: dict[str, Any] = {"steps": self.steps, "epoch": self.epoch}
        if self._scaler.is_enabled():
            scalars["loss_scale"] = self._scaler.state_dict()
        return pack(**parts), scalars

    def evaluation_state(self) -> dict[str, Tensor]:
        """Copies of the weights that `predict` uses: the average where there is one, else the lifter's own."""
        state = self.lifter.state_dict() if self._average is None else self._average
        return {name: value.detach().clone() for name, value in state.items()}

    def load_state_dict(self, tensors: Mapping[str, Tensor], scalars: Mapping[str, Any]) -> None:
        """Continue from `state_dict`'s values; the following steps are those of an uninterrupted run.

        Raises:
            CheckpointError: if the state is of another lifter, or lacks the averaged weights that the
                settings want.
        """
        average = unpack(tensors, "average")
        if bool(average) != (self._average is not None):
            raise CheckpointError(
                "lifter trainer state and settings disagree on averaged weights (ema_decay); "
                "resume with the settings of the checkpoint"
            )
        load_module_state(self.lifter, unpack(tensors, "lifter"), "lifter trainer state")
        load_adam_state(self._optimizer, self.lifter, unpack(tensors, "adam"))
        load_generator_state(self._generator, unpack(tensors, "random")["dropout"])
        if self._average is not None:
            self._average = {name: average[name].to(self._device).clone() for name in self._average}
        self.steps = int(scalars["steps"])
        self.begin_epoch(int(scalars["epoch"]))
        if self._scaler.is_enabled():
            if "loss_scale" not in scalars:
                raise CheckpointError(
                    "lifter trainer state has no loss scale, which precision float16 wants; resume with the precision "
                    "of the checkpoint"
                )
            self._scaler.load_state_dict(dict(scalars["loss_scale"]))

    def _autocast(self) -> torch.autocast:
        """Half precision for the forward pass, if the settings want it."""
        precision = self.settings.precision
        if precision == "float32":
            return torch.autocast(self._device.type, enabled=False)
        return torch.autocast(self._device.type, dtype=getattr(torch, precision))

    def _seed_replica(self) -> None:
        """Dropout of one of several replicas is a function of (seed, step, rank), so there is nothing to save."""
        if self._replicas is not None:
            key = stable_id("lifter.dropout", self._seed, self.steps, self._replicas.rank)
            self._generator.manual_seed(key % 2**31)

    def _shared_loss(self, loss: Tensor) -> float:
        """The loss of the whole batch; with replicas the gradients become those of the whole batch, too."""
        if self._replicas is not None:
            loss = self._replicas.average_gradients(list(self.lifter.parameters()), loss)
        return float(loss.detach())

    def _update(self) -> None:
        """Clip the gradients and take the optimiser's step."""
        if self._scaler.is_enabled():
            self._scaler.unscale_(self._optimizer)
        if self.settings.grad_clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.lifter.parameters(), self.settings.grad_clip_norm)
        for group in self._optimizer.param_groups:
            group["lr"] = self.learning_rate
        self._scaler.step(self._optimizer)
        self._scaler.update()

    def _loss(self, predicted: Tensor, joints_root_m: Tensor, weight: Tensor | None) -> Tensor:
        if predicted.shape != joints_root_m.shape:
            raise LifterInputError(
                f"lifter training: targets of shape {list(joints_root_m.shape)} for predictions of shape "
                f"{list(predicted.shape)}; give one root-relative pose per output frame"
            )
        per_sample = loss_per_sample(self.settings.loss, predicted, joints_root_m, self.lifter.skeleton)
        return per_sample.mean() if weight is None else (per_sample * weight).mean()

    def _update_average(self) -> None:
        if self._average is None or self.settings.ema_decay is None:
            return
        for name, value in self.lifter.state_dict().items():
            if value.is_floating_point():
                self._average[name].lerp_(value.detach(), 1.0 - self.settings.ema_decay)
            else:
                self._average[name].copy_(value)

    def _predict_chunk(self, keypoints_screen: Tensor, flip: bool) -> Tensor:
        if not flip:
            return self._forward(keypoints_screen)
        return mean_of_both(
            self._forward, keypoints_screen, self.lifter.keypoint_skeleton, self.lifter.skeleton
        )

    def _forward(self, keypoints_screen: Tensor) -> Tensor:
        if self._average is None:
            return self.lifter(keypoints_screen)
        return functional_call(self.lifter, self._average, (keypoints_screen,))
