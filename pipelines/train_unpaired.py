"""The job `train_unpaired`: RepNet from 2D and 3D poses that do not belong together, resumed to the same numbers.

It leaves `lifter.safetensors`, a lifter like any other, and `critic.safetensors`, the judge for `augment`'s
`critic`. Both hold the last step's weights: choosing them by validation would need the pairs that this
training does without.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from estimators.checkpoints import checkpoint_to_bytes
from estimators.lifters.repnet.judge import export_judge, judge_of
from estimators.lifters.repnet.lifter import build_repnet
from estimators.lifters.repnet.settings import (
    PresetName,
    RepNetSettings,
    RepNetTrainerSettings,
    repnet_preset,
)
from estimators.lifters.repnet.trainer import RepNetTrainer
from pipelines.chosen_on import LAST_STEP
from pipelines.closed_loop.ordering import RowStream
from pipelines.context import RunContext
from pipelines.errors import SettingsError
from pipelines.evaluate import predict
from pipelines.knobs import knob
from pipelines.plan import Plan, Unit, freeze_plan, make_plan
from pipelines.pose_table import PairsSource, PoseTable, load_table
from pipelines.step_checkpoints import StepCheckpoints
from pipelines.step_watch import watched_steps
from pipelines.trained_lifter import TrainedLifter, lifter_to_bytes
from pipelines.unpaired_data import load_detections, load_real_poses
from poses.protocols import evaluate as evaluate_poses
from poses.protocols import find_protocol
from storage.object_store import open_store
from storage.reader import Dataset

LIFTER_FILE, CRITIC_FILE = "lifter.safetensors", "critic.safetensors"
_MEASURED_POSES = 4096


class TrainUnpairedSettings(BaseModel):
    """Which 3D and which 2D poses RepNet learns from, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    poses: tuple[PairsSource, ...] = Field(min_length=1)
    """Only their 3D is read."""
    keypoints: tuple[PairsSource, ...] = Field(min_length=1)
    """Only their 2D is read: another part, another dataset, or pseudo-labels. Confidence 0 means missing."""
    validation: tuple[PairsSource, ...] = ()
    """Pairs that are measured along the way and choose nothing."""
    preset: PresetName = "default"
    network: RepNetSettings | None = None
    """Replaces the preset's."""
    trainer: RepNetTrainerSettings | None = None
    """Replaces the preset's."""
    batch_rows: int = Field(default=32, ge=1)
    steps: int = Field(default=20_000, ge=1)
    steps_per_epoch: int | None = Field(default=None, ge=1)
    """For schedules by epoch; None: one pass over the keypoints."""
    validate_every: int = Field(default=2_000, ge=1)
    checkpoint_every: int = Field(default=1_000, ge=1)
    protocol: str = "frame_mean_with_root"
    metric: str = "pa_mpjpe_mm"
    device: str = knob("cpu")

    def chosen_network(self) -> RepNetSettings:
        """Of the settings, else of the preset."""
        return self.network or repnet_preset(self.preset).network

    def chosen_trainer(self) -> RepNetTrainerSettings:
        """Of the settings, else of the preset."""
        return self.trainer or repnet_preset(self.preset).trainer


@dataclass(frozen=True)
class TrainUnpairedResult:
    """What the job left.

    Attributes:
        run_id: Of its plan. lifter_path, critic_path: Inside the output. history: One entry per validation
        and one at the end: step, mean losses since the one before, and the metric
            if there are validation poses.
    """

    run_id: str
    lifter_path: str
    critic_path: str
    history: tuple[dict[str, float], ...]


@dataclass
class _Progressed:
    """What a resumed run must know beside the trainer's state."""

    sums: dict[str, float] = field(default_factory=dict)
    counted: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


def plan_train_unpaired(settings: TrainUnpairedSettings, seed: int) -> Plan:
    """The plan: one unit, and the digests of all files that it may read."""
    find_protocol(settings.protocol)
    inputs: dict[str, str] = {}
    for source in (*settings.poses, *settings.keypoints, *settings.validation):
        dataset = Dataset.open(source.url, source.version)
        inputs |= {f"{source.url}/{entry.path}": entry.sha256 for entry in dataset.pair_files}
    return make_plan("train_unpaired", settings, seed, [Unit("train", "train")], inputs)


def run_train_unpaired(settings: TrainUnpairedSettings, context: RunContext) -> TrainUnpairedResult:
    """Train RepNet, or go on with it.

    Raises:
        SettingsError: if a selection is empty, or the skeletons of 2D, 3D and validation differ.
        PlanMismatchError: if the output holds another plan.
        JobStoppedError: if it was asked to stop; it leaves a checkpoint first.
    """
    plan = plan_train_unpaired(settings, context.seed)
    freeze_plan(open_store(context.out_url), plan, context.accept_other_plan)
    with watched_steps(context, plan.run_id, plan.job, settings.steps, "steps") as watched:
        run = _Run(settings, watched, plan.run_id)
        run.resume()
        with context.stop.heeding():
            run.work()
    return TrainUnpairedResult(plan.run_id, LIFTER_FILE, CRITIC_FILE, tuple(run.progressed.history))


class _Run:
    """Data order, steps, measurements and checkpoints."""

    def __init__(self, settings: TrainUnpairedSettings, context: RunContext, run_id: str) -> None:
        self._settings, self._context, self._run_id = settings, context, run_id
        self._store = open_store(context.out_url)
        self._checkpoints = StepCheckpoints(self._store, run_id)
        detections, real = load_detections(settings.keypoints), load_real_poses(settings.poses)
        self._validation: PoseTable | None = None
        if settings.validation:
            self._validation = load_table(settings.validation).in_time_order()
        skeleton = detections.skeleton
        others = [real.skeleton, *([] if self._validation is None else [self._validation.skeleton])]
        for other in others:
            if other.joints != skeleton.joints:
                raise SettingsError(
                    f"the 2D poses have skeleton {skeleton.name!r}, others {other.name!r}; import all with one skeleton"
                )
        lifter = build_repnet(settings.chosen_network(), skeleton, context.seed).to(settings.device)
        self._trainer = RepNetTrainer(settings.chosen_trainer(), lifter, context.seed)
        self._availability = torch.from_numpy(detections.availability)
        self._keypoints = self._trainer.prepare_keypoints(
            torch.from_numpy(detections.keypoints_screen), self._availability
        )
        self._poses = self._trainer.prepare_poses(torch.from_numpy(real.joints_root_m))
        rows = min(settings.batch_rows, len(self._keypoints), len(self._poses))
        seed = context.seed
        self._streams = [
            RowStream(len(data), rows, seed, f"train_unpaired.{name}", drop_short=True)
            for name, data in (("keypoints", self._keypoints), ("poses", self._poses))
        ]
        self.progressed = _Progressed()

    def resume(self) -> None:
        """Go on from the newest checkpoint, if there is one."""
        checkpoint = self._checkpoints.newest()
        if checkpoint is None:
            return
        self._trainer.load_state_dict(checkpoint.tensors, checkpoint.metadata["trainer"])
        self.progressed = _Progressed(**checkpoint.metadata["progress"])
        for stream in self._streams:
            stream.position = self._trainer.steps
        self._context.progress.log(f"{self._run_id}: goes on at step {self._trainer.steps}")

    def work(self) -> None:
        """Train to the last step and write both files."""
        settings, progress, trainer = self._settings, self._context.progress, self._trainer
        progress.start("train", settings.steps, "steps", trainer.steps)
        steps_per_epoch = settings.steps_per_epoch or self._streams[0].batches_per_pass
        while trainer.steps < settings.steps:
            trainer.begin_epoch(trainer.steps // steps_per_epoch)
            self._step()
            progress.advance("train")
            last = trainer.steps == settings.steps
            if last or trainer.steps % settings.validate_every == 0:
                self._measure()
            stopping = self._context.stop.requested and not last
            if last or stopping or trainer.steps % settings.checkpoint_every == 0:
                self._save()
            if stopping:
                raise self._context.stop.error(f"step {trainer.steps} of {settings.steps} is kept")
        progress.finish("train")
        self._write_results()

    def _step(self) -> None:
        seen, real = (torch.from_numpy(stream.next()) for stream in self._streams)
        device = self._settings.device
        arrays: list[Tensor] = [self._keypoints[seen], self._poses[real], self._availability[seen]]
        losses = self._trainer.step(*(array.to(device) for array in arrays))
        done = self.progressed
        done.counted += 1
        for name, value in vars(losses).items():
            done.sums[name] = done.sums.get(name, 0.0) + value

    def _measure(self) -> None:
        """Mean losses since the last time, and the error on the validation poses."""
        done, step = self.progressed, self._trainer.steps
        entry = {name: total / done.counted for name, total in done.sums.items()}
        entry |= {"step": step, "learning_rate": self._trainer.learning_rate}
        done.sums, done.counted = {}, 0
        if self._validation is not None:
            entry[self._settings.metric] = self._error(self._validation)
        done.history.append(entry)
        words = ", ".join(
            f"{name} {entry[name]:.4g}" for name in ("critic", "adversarial", "reprojection", "camera")
        )
        error = (
            f", {self._settings.metric} {entry[self._settings.metric]:.1f}"
            if self._validation is not None
            else ""
        )
        self._context.progress.log(f"step {step}: {words}{error}")

    def _error(self, table: PoseTable) -> float:
        was_training = self._trainer.lifter.training
        trained = TrainedLifter(self._trainer.lifter.eval(), self._settings.chosen_network(), {})
        predicted = predict(trained, table)
        self._trainer.lifter.train(was_training)
        target = torch.from_numpy(table.joints_root_m)
        found = evaluate_poses(
            self._settings.protocol, predicted, target, table.skeleton, action=table.action
        )
        return float(found.metrics[self._settings.metric])

    def _save(self) -> None:
        tensors, scalars = self._trainer.state_dict()
        metadata = {"trainer": scalars, "progress": vars(self.progressed)}
        self._checkpoints.save(self._trainer.steps, tensors, metadata, metrics=self.progressed.history)

    def _write_results(self) -> None:
        settings, lifter = self._settings, self._trainer.lifter
        metadata: dict[str, Any] = {
            "run_id": self._run_id,
            "step": self._trainer.steps,
            "selected_on": LAST_STEP,
        }
        weights = {name: value.detach().cpu() for name, value in lifter.state_dict().items()}
        data = lifter_to_bytes(weights, settings.chosen_network(), lifter.skeleton, metadata)
        self._store.write_bytes(LIFTER_FILE, data)
        rows = np.linspace(0, len(self._poses) - 1, min(len(self._poses), _MEASURED_POSES)).astype(np.int64)
        judge = judge_of(self._trainer, self._poses[torch.from_numpy(rows)].to(settings.device))
        tensors, document = export_judge(judge)
        self._store.write_bytes(CRITIC_FILE, checkpoint_to_bytes(tensors, {**document, **metadata}))
