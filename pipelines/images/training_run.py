"""One training run of an image network: steps, validation, checkpoints, its end; resumed to the same bits."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from estimators.images.backbone_weights import load_backbone
from estimators.images.trainer import GraphPoseTrainer
from pipelines.chosen_on import chosen_on
from pipelines.context import RunContext
from pipelines.images.bad_pictures import BadPictures
from pipelines.images.crop_rows import CropRows
from pipelines.images.evaluate_images import KEYPOINT_ERROR, MEAN_POSE, estimate, mean_pose, measured
from pipelines.images.image_batches import ImageBatches
from pipelines.images.image_table import ImageTable, check_one_skeleton
from pipelines.images.settings import ImagePairsSource, TrainImagesSettings
from pipelines.images.trained_graph_pose import build_network, graph_pose_to_bytes
from pipelines.step_checkpoints import StepCheckpoints
from pipelines.training_run import Progressed
from storage.object_store import open_store

BEST_FILE = "graph_pose.safetensors"
TASK = "train"


@dataclass
class _Validation:
    """The rows that choose the weights."""

    rows: list[CropRows]
    selected_on: str
    parts: list[str]
    mean_pose_root_m: np.ndarray
    """Of the training data."""


@dataclass
class _Sums:
    """Losses since the last validation."""

    values: dict[str, float] = field(default_factory=dict)
    steps: int = 0

    def add(self, losses: dict[str, float]) -> None:
        """One step's."""
        self.steps += 1
        for name, value in losses.items():
            self.values[name] = self.values.get(name, 0.0) + value

    def means(self) -> dict[str, float]:
        """Of every loss."""
        return {name: total / self.steps for name, total in self.values.items()}


class ImageTrainingRun:
    """Data order, steps, validation and checkpoints of one run.

    Args:
        settings: Of the job.
        context: Where to write, and whom to tell.
        run_id: Of its plan.
        backbone_weights: The file that the settings name.

    Raises:
        SettingsError: if a selection is empty, skeletons differ, or validation is a test split.
        CheckpointError: if the backbone's weights do not fit.
        BadRowError, TooManyBadRowsError: as the bad-row policy says.
    """

    def __init__(
        self, settings: TrainImagesSettings, context: RunContext, run_id: str, backbone_weights: bytes | None
    ) -> None:
        self._settings, self._context, self._run_id = settings, context, run_id
        self._store = open_store(context.out_url)
        self._checkpoints = StepCheckpoints(self._store, run_id)
        self.bad = BadPictures(settings.bad_rows, context.progress.log)
        margin = settings.crop.margin
        train = [self.bad.usable_rows(source, margin) for source in settings.data]
        valid = [self.bad.usable_rows(source, margin) for source in settings.validation]
        self._skeleton = check_one_skeleton([*train, *valid])
        parts = sorted({part for table in valid for part in table.part.tolist()})
        selected_on = chosen_on(parts, settings.choose_on_test, "train_images.validation")
        rows = self._crop_rows(valid, settings.validation)
        self._validation = _Validation(rows, selected_on, parts, mean_pose(train))
        network = build_network(settings.network, self._skeleton, context.seed)
        if backbone_weights is not None:
            report = load_backbone(network.backbone, backbone_weights, str(settings.backbone_weights))
            context.progress.log(report.words())
        self._trainer = GraphPoseTrainer(settings.trainer, network.to(settings.device), context.seed)
        shares = [source.share for source in settings.data]
        sources = self._crop_rows(train, settings.data)
        self._batches = ImageBatches(
            sources, shares, settings.batch_rows, settings.augmentation, context.seed, self.bad
        )
        self.progressed, self._sums, self._stops_early = Progressed(), _Sums(), False

    @property
    def steps(self) -> int:
        """Updates so far."""
        return self._trainer.steps

    @property
    def selected_on(self) -> str:
        """`validation`, or `test` where the user insisted."""
        return self._validation.selected_on

    def _crop_rows(self, tables: Sequence[ImageTable], sources: Sequence[ImagePairsSource]) -> list[CropRows]:
        pairs = zip(tables, sources, strict=True)
        return [CropRows(table, source, self._settings.crop) for table, source in pairs]

    def resume(self) -> None:
        """Go on from the newest checkpoint, if there is one."""
        checkpoint = self._checkpoints.newest()
        if checkpoint is None:
            return
        self._trainer.load_state_dict(checkpoint.tensors, checkpoint.metadata["trainer"])
        self.progressed = Progressed.from_dict(checkpoint.metadata["progress"])
        self._sums = _Sums(**checkpoint.metadata["sums"])
        self.bad.restore(checkpoint.metadata["bad_rows"])
        self._look_whether_to_stop()
        self._context.progress.log(f"{self._run_id}: goes on at step {self.steps}")

    def work(self) -> None:
        """Train to the last step, or until early stopping is due."""
        settings, progress = self._settings, self._context.progress
        progress.start(TASK, settings.steps, "steps", self.steps)
        steps_per_epoch = settings.steps_per_epoch or self._batches.batches_per_pass
        try:
            while self.steps < settings.steps and not self._stops_early:
                self._trainer.begin_epoch(self.steps // steps_per_epoch)
                self._step()
                progress.advance(TASK)
                last = self.steps == settings.steps
                if last or self.steps % settings.validate_every == 0:
                    self._validate()
                last = last or self._stops_early
                stopping = self._context.stop.requested and not last
                if last or stopping or self.steps % settings.checkpoint_every == 0:
                    self._save()
                if stopping:
                    raise self._context.stop.error(f"step {self.steps} of {settings.steps} is kept")
        finally:
            self._batches.close()
        if self.steps < settings.steps:
            progress.log(f"stops at step {self.steps}: best at step {self.progressed.best_step}")
        if len(self.bad):
            progress.log(f"{len(self.bad)} rows could not be used: runs/{self._run_id}/bad_rows.jsonl")
        progress.finish(TASK)

    def _step(self) -> None:
        batch, device = self._batches.batch(self.steps), self._settings.device
        arrays = (batch.images, batch.keypoints_crop, batch.joints_root_m)
        self._sums.add(self._trainer.step(*(array.to(device) for array in arrays)))

    def _look_whether_to_stop(self) -> None:
        early, metric = self._settings.early_stopping, self._settings.metric
        if early is not None:
            self._stops_early = early.is_due([entry[metric] for entry in self.progressed.history], metric)

    def _validate(self) -> None:
        """Measure; keep the weights if they are the best so far."""
        done, metric = self.progressed, self._settings.metric
        metrics = self._measured()
        losses, self._sums = self._sums.means(), _Sums()
        entry = {"step": self.steps, "learning_rate": self._trainer.learning_rate}
        entry |= {f"{name}_loss" if name != "loss" else "train_loss": value for name, value in losses.items()}
        entry |= {name: metrics[name] for name in (metric, KEYPOINT_ERROR, MEAN_POSE) if name in metrics}
        done.history.append(entry)
        self._look_whether_to_stop()
        if done.is_best(metric, metrics[metric], self.steps):
            self._keep_best()
        self._context.progress.log(
            f"step {self.steps}: loss {losses.get('loss', 0.0):.4f}, {self.selected_on} {metric} "
            f"{metrics[metric]:.4g}, 2D {metrics[KEYPOINT_ERROR]:.3g} px"
        )

    def _measured(self) -> dict[str, float]:
        """Metrics of the validation rows; those of several sources weigh by their poses."""
        total: dict[str, float] = {}
        poses = 0
        for rows in self._validation.rows:
            found = estimate(self._trainer.network, rows, self.bad)
            result = measured(found, self._settings.protocol, self._validation.mean_pose_root_m)
            poses += result.n_poses
            for name, value in result.metrics.items():
                total[name] = total.get(name, 0.0) + value * result.n_poses
        return {name: value / poses for name, value in total.items()}

    def _keep_best(self) -> None:
        settings = self._settings
        metadata = {
            "run_id": self._run_id,
            "step": self.progressed.best_step,
            "selected_on": self.selected_on,
            "validation": {
                "protocol": settings.protocol,
                "parts": self._validation.parts,
                settings.metric: self.progressed.best_score,
            },
            "pictures": sorted({str(source.images) for source in settings.data}),
        }
        data = graph_pose_to_bytes(
            self._trainer.network, settings.crop, self._validation.mean_pose_root_m, metadata
        )
        self._store.write_bytes(BEST_FILE, data)

    def _save(self) -> None:
        """Checkpoint everything that the next step depends on."""
        tensors, scalars = self._trainer.state_dict()
        metadata: dict[str, Any] = {
            "trainer": scalars,
            "progress": self.progressed.to_dict(),
            "sums": vars(self._sums),
            "bad_rows": self.bad.listed(),
        }
        bad_rows = {"bad_rows": self.bad.listed()} if len(self.bad) else {}
        self._checkpoints.save(self.steps, tensors, metadata, metrics=self.progressed.history, **bad_rows)
