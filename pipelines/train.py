"""The job `train`: one lifter on any posemill datasets, the best on validation kept, resumed to the same numbers."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from estimators.checkpoints import checkpoint_from_bytes, checkpoint_to_bytes, unpack
from estimators.lifters.settings import LifterSettings, build_lifter
from estimators.lifters.simple_baseline import SimpleBaselineSettings
from estimators.lifters.trainer import LifterTrainer, LifterTrainerSettings
from pipelines.closed_loop.ordering import RowStream
from pipelines.context import RunContext
from pipelines.errors import SettingsError
from pipelines.evaluate import predict_with
from pipelines.knobs import knob
from pipelines.plan import Plan, Unit, freeze_plan, make_plan
from pipelines.pose_table import PairsSource, PoseTable, Windows, load_table
from pipelines.trained_lifter import lifter_to_bytes
from poses.identity import stable_id
from poses.protocols import evaluate as evaluate_poses
from poses.protocols import find_protocol
from poses.skeleton import Skeleton
from storage.object_store import ObjectStore, open_store
from storage.reader import Dataset

_KEPT_CHECKPOINTS = 2
BEST_FILE = "lifter.safetensors"


class TrainSettings(BaseModel):
    """Which lifter is trained, on what, for how long."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: tuple[PairsSource, ...] = Field(min_length=1)
    """Every batch holds rows of each source, in proportion to its `share`."""
    validation: tuple[PairsSource, ...] = Field(min_length=1)
    """Chooses the best weights; never a test part."""
    lifter: LifterSettings = SimpleBaselineSettings()
    trainer: LifterTrainerSettings = LifterTrainerSettings()
    batch_rows: int = Field(default=1024, ge=2)
    steps: int = Field(default=3200, ge=1)
    mirror_share: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of training rows that are mirrored, drawn anew in every batch."""
    steps_per_epoch: int | None = Field(default=None, ge=1)
    """For schedules by epoch; None: one pass over the first source."""
    validate_every: int = Field(default=200, ge=1)
    checkpoint_every: int = Field(default=400, ge=1)
    protocol: str = "frame_mean_with_root"
    metric: str = "mpjpe_mm"
    device: str = knob("cpu")


@dataclass(frozen=True)
class TrainResult:
    """What a training run left.

    Attributes:
        run_id: Of its plan.
        lifter_path: Of the best weights, inside the output.
        best_step: Step at which they were taken.
        best_score: Their validation metric.
        history: One entry per validation: step, train_loss (mean since the last one), learning_rate, the
            metric.
    """

    run_id: str
    lifter_path: str
    best_step: int
    best_score: float
    history: tuple[dict[str, float], ...]


@dataclass
class _Progressed:
    """What a resumed run must know beside the trainer's state."""

    losses: list[float] = field(default_factory=list)
    """Since the last validation."""
    best_step: int = -1
    best_score: float = float("inf")
    history: list[dict[str, float]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """JSON values; no score yet is null."""
        score = self.best_score if self.best_step >= 0 else None
        return {
            "losses": self.losses,
            "best_step": self.best_step,
            "best_score": score,
            "history": self.history,
        }

    @staticmethod
    def from_dict(values: dict[str, Any]) -> "_Progressed":
        score = values["best_score"] if values["best_score"] is not None else float("inf")
        return _Progressed(list(values["losses"]), values["best_step"], score, list(values["history"]))


def plan_train(settings: TrainSettings, seed: int) -> Plan:
    """The plan of a training run: one unit, and the digests of all files that it may read."""
    find_protocol(settings.protocol)
    inputs: dict[str, str] = {}
    for source in (*settings.data, *settings.validation):
        dataset = Dataset.open(source.url, source.version)
        inputs |= {f"{source.url}/{entry.path}": entry.sha256 for entry in dataset.pair_files}
    return make_plan("train", settings, seed, [Unit("train", "train")], inputs)


def run_train(settings: TrainSettings, context: RunContext) -> TrainResult:
    """Train a lifter in this process, or go on with it; the weights that validate best become
    `lifter.safetensors`.

    Raises:
        SettingsError: if the data selection is empty, or training and validation data do not fit together.
        PlanMismatchError: if the output holds another plan.
    """
    plan = plan_train(settings, context.seed)
    store = open_store(context.out_url)
    freeze_plan(store, plan, context.accept_other_plan)
    tables = [load_table([source]) for source in settings.data]
    validation = load_table(settings.validation)
    for table in tables:
        _check_skeletons(table.skeleton, validation.skeleton)
    run = _Training(settings, context, store, plan.run_id, tables, validation)
    run.resume()
    run.work()
    done = run.progressed
    return TrainResult(plan.run_id, BEST_FILE, done.best_step, done.best_score, tuple(done.history))


class _Training:
    """One training run: data order, steps, validation and checkpoints."""

    def __init__(
        self,
        settings: TrainSettings,
        context: RunContext,
        store: ObjectStore,
        run_id: str,
        tables: Sequence[PoseTable],
        validation: PoseTable,
    ) -> None:
        self._settings, self._context, self._store, self._run_id = settings, context, store, run_id
        self._validation = validation.in_time_order()
        lifter = build_lifter(settings.lifter, validation.skeleton, seed=context.seed).to(settings.device)
        self._trainer = LifterTrainer(settings.trainer, lifter, seed=context.seed)
        self._causal = bool(getattr(settings.lifter, "causal", False))
        self._windows = [Windows(table, lifter.receptive_field, self._causal) for table in tables]
        rows = _rows_of_each(settings)
        self._streams = [
            RowStream(len(table), count, context.seed, f"train.{number}", drop_short=True)
            for number, (table, count) in enumerate(zip(tables, rows, strict=True))
        ]
        self._mirror = torch.from_numpy(validation.skeleton.mirror_index.astype(np.int64))
        self.progressed = _Progressed()

    def resume(self) -> None:
        """Go on from the newest checkpoint, if there is one."""
        paths = self._checkpoint_paths()
        if not paths:
            return
        checkpoint = checkpoint_from_bytes(
            self._store.read_bytes(paths[-1]), f"{self._store.url}/{paths[-1]}"
        )
        self._trainer.load_state_dict(checkpoint.tensors, checkpoint.metadata["trainer"])
        self.progressed = _Progressed.from_dict(checkpoint.metadata["progress"])
        for stream in self._streams:
            stream.position = self._trainer.steps
        self._context.progress.log(f"{self._run_id}: goes on at step {self._trainer.steps}")

    def work(self) -> None:
        """Train to the last step."""
        settings, progress = self._settings, self._context.progress
        progress.start("train", settings.steps, "steps", self._trainer.steps)
        steps_per_epoch = settings.steps_per_epoch or self._streams[0].batches_per_pass
        while self._trainer.steps < settings.steps:
            self._trainer.begin_epoch(self._trainer.steps // steps_per_epoch)
            self.progressed.losses.append(self._trainer.step(*self._batch()))
            progress.advance("train")
            step, last = self._trainer.steps, self._trainer.steps == settings.steps
            if last or step % settings.validate_every == 0:
                self._validate()
            if last or step % settings.checkpoint_every == 0:
                self._save()
        progress.finish("train")

    def _batch(self) -> tuple[Tensor, Tensor]:
        """Inputs and targets of the next step, a function of (seed, step)."""
        rows = [stream.next() for stream in self._streams]
        pairs = list(zip(self._windows, rows, strict=True))
        inputs = torch.cat([windows.inputs(index) for windows, index in pairs])
        targets = torch.cat([windows.targets(index) for windows, index in pairs])
        if self._settings.mirror_share:
            key = stable_id("train.mirror", self._context.seed, self._trainer.steps)
            draw = np.random.Generator(np.random.PCG64(key)).random(len(inputs))
            chosen = torch.from_numpy(draw < self._settings.mirror_share)
            inputs[chosen] = inputs[chosen].index_select(-2, self._mirror) * torch.tensor([-1.0, 1.0])
            targets[chosen] = targets[chosen].index_select(-2, self._mirror) * torch.tensor([-1.0, 1.0, 1.0])
        return inputs.to(self._settings.device), targets.to(self._settings.device)

    def _validate(self) -> None:
        """Measure; keep the weights if they are the best so far."""
        done, table, step = self.progressed, self._validation, self._trainer.steps
        predicted = predict_with(self._trainer, table, self._causal)
        result = evaluate_poses(
            self._settings.protocol,
            predicted,
            torch.from_numpy(table.joints_root_m),
            table.skeleton,
            action=table.action,
        )
        score = result.metrics[self._settings.metric]
        loss = float(np.mean(done.losses)) if done.losses else 0.0
        done.losses = []
        rate = self._trainer.learning_rate
        done.history.append(
            {"step": step, "train_loss": loss, "learning_rate": rate, self._settings.metric: score}
        )
        if score < done.best_score:
            done.best_score, done.best_step = score, step
            self._keep_best()
        self._context.progress.log(
            f"step {step}: loss {loss:.6f}, validation {self._settings.metric} {score:.2f}"
        )

    def _keep_best(self) -> None:
        tensors, _ = self._trainer.state_dict()
        weights = unpack(tensors, "average") or unpack(tensors, "lifter")
        metadata = {
            "run_id": self._run_id,
            "step": self.progressed.best_step,
            "validation": {
                "protocol": self._settings.protocol,
                self._settings.metric: self.progressed.best_score,
            },
        }
        data = lifter_to_bytes(weights, self._settings.lifter, self._validation.skeleton, metadata)
        self._store.write_bytes(BEST_FILE, data)

    def _save(self) -> None:
        """Checkpoint everything that the next step depends on, then the metrics for readers; forget old checkpoints."""
        tensors, scalars = self._trainer.state_dict()
        metadata = {"trainer": scalars, "progress": self.progressed.to_dict()}
        path = f"runs/{self._run_id}/checkpoints/step-{self._trainer.steps:09d}.safetensors"
        self._store.write_bytes(path, checkpoint_to_bytes(tensors, metadata))
        lines = "".join(json.dumps(entry, sort_keys=True) + "\n" for entry in self.progressed.history)
        self._store.write_bytes(f"runs/{self._run_id}/metrics.jsonl", lines.encode())
        for old in self._checkpoint_paths()[:-_KEPT_CHECKPOINTS]:
            self._store.delete(old)

    def _checkpoint_paths(self) -> list[str]:
        paths = self._store.list(f"runs/{self._run_id}/checkpoints")
        return [path for path in paths if path.endswith(".safetensors")]


def _rows_of_each(settings: TrainSettings) -> list[int]:
    """Rows of a batch that come from each source: in proportion to the shares, at least one, summing to the batch."""
    shares = np.asarray([source.share for source in settings.data])
    if len(shares) > settings.batch_rows:
        raise SettingsError(
            f"batch_rows = {settings.batch_rows} is too few for {len(shares)} sources; give at least one row to each"
        )
    edges = np.rint(np.cumsum(shares) / shares.sum() * settings.batch_rows).astype(int)
    rows = np.diff(np.concatenate([[0], edges]))
    while rows.min() < 1:
        rows[rows.argmin()] += 1
        rows[rows.argmax()] -= 1
    return [int(count) for count in rows]


def _check_skeletons(train: Skeleton, validation: Skeleton) -> None:
    if train.joints != validation.joints:
        raise SettingsError(
            f"training data have skeleton {train.name!r}, validation data {validation.name!r}; "
            "import both with one skeleton"
        )
