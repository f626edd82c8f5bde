"""One training run, in this process or as one of several replicas: steps, validation, checkpoints, its end.

A checkpoint holds everything that the next step depends on, and the next batch is a function of (seed, step), so a run
that was killed at any moment goes on to the same bits. Of replicas every one trains, and the first also validates,
writes and reports; what it decides about stopping is told to the others.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from estimators.data_parallel import Replicas, share_batch_norm
from estimators.lifters.contract import Lifter
from estimators.lifters.settings import build_lifter
from pipelines.chosen_on import chosen_on
from pipelines.context import RunContext
from pipelines.evaluate import predict_with
from pipelines.keypoints import check_keypoints_fit
from pipelines.lessons import Lesson, SupervisedLesson
from pipelines.pose_table import PoseTable, load_table
from pipelines.step_checkpoints import StepCheckpoints
from pipelines.train_settings import TrainSettings
from pipelines.trained_lifter import lifter_to_bytes
from poses.protocols import HIGHER_IS_BETTER, is_better
from poses.protocols import evaluate as evaluate_poses
from storage.object_store import open_store

BEST_FILE = "lifter.safetensors"
TASK = "train"


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
        selected_on: `validation`, or `test` where the user insisted.
        stopped_early: Whether validation had stopped getting better before the last step.
    """

    run_id: str
    lifter_path: str
    best_step: int
    best_score: float
    history: tuple[dict[str, float], ...]
    selected_on: str
    stopped_early: bool


@dataclass
class Progressed:
    """What a resumed run must know beside the trainer's state."""

    losses: list[float] = field(default_factory=list)
    """Since the last validation."""
    best_step: int = -1
    best_score: float = float("nan")
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

    def is_best(self, metric: str, score: float, step: int) -> bool:
        """Whether a score is better than all before it; remembers it if so."""
        worst = -float("inf") if metric in HIGHER_IS_BETTER else float("inf")
        better = is_better(metric, score, self.best_score if self.best_step >= 0 else worst)
        if better:
            self.best_score, self.best_step = score, step
        return better

    @staticmethod
    def from_dict(values: dict[str, Any]) -> "Progressed":
        """Inverse of `to_dict`."""
        score = values["best_score"] if values["best_score"] is not None else float("nan")
        return Progressed(list(values["losses"]), values["best_step"], score, list(values["history"]))


def train_here(
    settings: TrainSettings,
    run_id: str,
    context: RunContext,
    replicas: Replicas | None = None,
    on_validation: Callable[[dict[str, float]], None] | None = None,
) -> TrainResult:
    """Train in this process, which may be one of several replicas.

    Args:
        settings: Of the job.
        run_id: Of its plan.
        context: Where to write, and whom to tell; of replicas only the first does either.
        replicas: This process among those that train together; None if it is alone.
        on_validation: Is given every validation's entry, in every replica.

    Raises:
        SettingsError: if the selection is empty, training and validation data do not fit together, or validation is a
            test split.
        JobStoppedError: if it was asked to stop; the step that it was at is kept as a checkpoint.
    """
    validation = load_table(settings.validation, other_keypoints=True)
    selected_on = chosen_on(set(validation.part.tolist()), settings.choose_on_test, "train.validation")
    run = TrainingRun(settings, context, run_id, validation, selected_on, replicas)
    run.resume()
    if replicas is None:
        with context.stop.heeding():
            run.work(on_validation)
    else:
        run.work(on_validation)
    done = run.progressed
    return TrainResult(
        run_id,
        BEST_FILE,
        done.best_step,
        done.best_score,
        tuple(done.history),
        selected_on,
        run.steps < settings.steps,
    )


class TrainingRun:
    """Data order, steps, validation and checkpoints of one run."""

    def __init__(
        self,
        settings: TrainSettings,
        context: RunContext,
        run_id: str,
        validation: PoseTable,
        selected_on: str,
        replicas: Replicas | None,
    ) -> None:
        self._settings, self._context, self._run_id = settings, context, run_id
        self._store = open_store(context.out_url)
        self._checkpoints = StepCheckpoints(self._store, run_id)
        self._validation = validation.in_time_order()
        self._selected_on, self._replicas = selected_on, replicas
        self._is_first = replicas is None or replicas.rank == 0
        lifter = build_lifter(settings.lifter, validation.skeleton, seed=context.seed).to(settings.device)
        check_keypoints_fit(lifter, validation.keypoints_of, "validation")
        if replicas is not None and settings.batch_norm == "whole_batch":
            share_batch_norm(lifter)
        self._causal = lifter.causal
        self._lesson = self._lesson_for(lifter)
        self._trainer = self._lesson.trainer
        self.progressed = Progressed()
        self._stops_early = False

    def _lesson_for(self, lifter: Lifter) -> Lesson:
        """What every step does, as the settings say."""
        if self._settings.semi_supervised is None:
            return SupervisedLesson(self._settings, lifter, self._context.seed, self._replicas)
        from pipelines.train_semi import SemiSupervisedLesson

        return SemiSupervisedLesson(self._settings, lifter, self._context.seed)

    @property
    def steps(self) -> int:
        """Updates so far."""
        return self._trainer.steps

    def resume(self) -> None:
        """Go on from the newest checkpoint, if there is one."""
        checkpoint = self._checkpoints.newest()
        if checkpoint is None:
            return
        self._trainer.load_state_dict(checkpoint.tensors, checkpoint.metadata["trainer"])
        self.progressed = Progressed.from_dict(checkpoint.metadata["progress"])
        self._look_whether_to_stop()
        if not self._is_first:
            return
        self._context.progress.log(f"{self._run_id}: goes on at step {self.steps}")
        before, now = checkpoint.metadata["workers"], self._workers
        if before != now:
            self._context.progress.log(
                f"{self._run_id}: {before} worker(s) before, {now} now; from here on the numbers differ from those of "
                f"{before} by float rounding, and dropout draws other masks"
            )

    def work(self, on_validation: Callable[[dict[str, float]], None] | None = None) -> None:
        """Train to the last step, or until early stopping is due."""
        settings, progress = self._settings, self._context.progress
        if self._is_first:
            progress.start(TASK, settings.steps, "steps", self.steps)
        steps_per_epoch = settings.steps_per_epoch or self._lesson.batches_per_pass
        while self.steps < settings.steps and not self._stops_early:
            self._trainer.begin_epoch(self.steps // steps_per_epoch)
            self.progressed.losses.append(self._lesson.learn())
            if self._is_first:
                progress.advance(TASK)
            last = self.steps == settings.steps
            if last or self.steps % settings.validate_every == 0:
                self._validate()
                if on_validation is not None:
                    on_validation(self.progressed.history[-1])
            last = last or self._stops_early
            stopping = self._context.stop.requested and not last
            if self._is_first and (last or stopping or self.steps % settings.checkpoint_every == 0):
                self._save()
            if stopping:
                raise self._context.stop.error(f"step {self.steps} of {settings.steps} is kept")
        if self._is_first:
            if self.steps < settings.steps:
                progress.log(f"stops at step {self.steps}: best at step {self.progressed.best_step}")
            progress.finish(TASK)

    def _look_whether_to_stop(self) -> None:
        early, metric = self._settings.early_stopping, self._settings.metric
        if early is not None:
            self._stops_early = early.is_due([entry[metric] for entry in self.progressed.history], metric)

    def _validate(self) -> None:
        """Measure; keep the weights if they are the best so far."""
        done, metric = self.progressed, self._settings.metric
        score = self._score() if self._is_first else 0.0
        if self._replicas is not None:
            score = self._replicas.same_everywhere(score)
        loss = float(np.mean(done.losses)) if done.losses else 0.0
        done.losses = []
        entry = {"step": self.steps, "train_loss": loss, "learning_rate": self._trainer.learning_rate}
        done.history.append({**entry, metric: score})
        self._look_whether_to_stop()
        if done.is_best(metric, score, self.steps) and self._is_first:
            self._keep_best()
        if self._is_first:
            self._context.progress.log(
                f"step {self.steps}: loss {loss:.6f}, {self._selected_on} {metric} {score:.4g}"
            )

    def _score(self) -> float:
        table = self._validation
        result = evaluate_poses(
            self._settings.protocol,
            predict_with(self._trainer, table, self._causal),
            torch.from_numpy(table.joints_root_m),
            table.skeleton,
            action=table.action,
        )
        return float(result.metrics[self._settings.metric])

    @property
    def _workers(self) -> int:
        return 1 if self._replicas is None else self._replicas.count

    def _keep_best(self) -> None:
        settings = self._settings
        metadata = {
            "run_id": self._run_id,
            "step": self.progressed.best_step,
            "selected_on": self._selected_on,
            "validation": {
                "protocol": settings.protocol,
                "parts": sorted(set(self._validation.part.tolist())),
                settings.metric: self.progressed.best_score,
            },
            "trained_with": {"precision": settings.trainer.precision, "ema": settings.trainer.ema_decay},
        }
        weights = self._trainer.evaluation_state()
        data = lifter_to_bytes(weights, settings.lifter, self._validation.skeleton, metadata)
        self._store.write_bytes(BEST_FILE, data)
        for name, other in self._lesson.other_files(metadata).items():
            self._store.write_bytes(name, other)

    def _save(self) -> None:
        """Checkpoint everything that the next step depends on."""
        tensors, scalars = self._trainer.state_dict()
        metadata = {"trainer": scalars, "progress": self.progressed.to_dict(), "workers": self._workers}
        self._checkpoints.save(self.steps, tensors, metadata, metrics=self.progressed.history)
