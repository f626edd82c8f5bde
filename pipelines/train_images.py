"""The job `train_images`: SemGCN's image variant on crops, the best on validation kept, resumed to the same numbers.

It leaves `graph_pose.safetensors`, which the job `evaluate` takes like a lifter's file. The images themselves are no
part of the run's identity (there may be millions): only the pairs that name them are.
"""

import hashlib
from dataclasses import dataclass

from estimators.errors import CheckpointError
from pipelines.context import RunContext
from pipelines.images.settings import TrainImagesSettings
from pipelines.images.training_run import BEST_FILE, ImageTrainingRun
from pipelines.plan import Plan, Unit, freeze_plan, make_plan
from pipelines.step_watch import watched_steps
from storage.errors import StoreError
from storage.object_store import open_store
from storage.reader import Dataset


@dataclass(frozen=True)
class TrainImagesResult:
    """What the job left.

    Attributes:
        run_id: Of its plan.
        network_path: Of the best weights, inside the output.
        best_step: Step at which they were taken.
        best_score: Their validation metric.
        history: One entry per validation: step, learning_rate, mean losses since the last one, the metric, the 2D
            error in pixels and the mean pose's error.
        selected_on: `validation`, or `test` where the user insisted.
        stopped_early: Whether validation had stopped getting better before the last step.
        bad_rows: How many rows had no usable image; `runs/RUN/bad_rows.jsonl` lists them.
    """

    run_id: str
    network_path: str
    best_step: int
    best_score: float
    history: tuple[dict[str, float], ...]
    selected_on: str
    stopped_early: bool
    bad_rows: int


def plan_train_images(settings: TrainImagesSettings, seed: int) -> Plan:
    """The plan: one unit, the digests of all pairs files, and that of the backbone's weights."""
    return _plan(settings, seed, _backbone_weights(settings))


def run_train_images(settings: TrainImagesSettings, context: RunContext) -> TrainImagesResult:
    """Train the network, or go on with it; the weights that validate best become `graph_pose.safetensors`.

    Raises:
        SettingsError: if a selection is empty, the column `image` is missing, skeletons differ, or validation is a
            test split.
        CheckpointError: if the backbone's weights cannot be read or do not fit.
        PlanMismatchError: if the output holds another plan.
        BadRowError, TooManyBadRowsError: as the bad-row policy says.
        JobStoppedError: if it was asked to stop; it leaves a checkpoint first.
    """
    weights = _backbone_weights(settings)
    plan = _plan(settings, context.seed, weights)
    freeze_plan(open_store(context.out_url), plan, context.accept_other_plan)
    with watched_steps(context, plan.run_id, plan.job, settings.steps, "steps") as watched:
        run = ImageTrainingRun(settings, watched, plan.run_id, weights)
        run.resume()
        with context.stop.heeding():
            run.work()
    done = run.progressed
    return TrainImagesResult(
        plan.run_id,
        BEST_FILE,
        done.best_step,
        done.best_score,
        tuple(done.history),
        run.selected_on,
        run.steps < settings.steps,
        len(run.bad),
    )


def _plan(settings: TrainImagesSettings, seed: int, weights: bytes | None) -> Plan:
    inputs: dict[str, str] = {}
    for source in (*settings.data, *settings.validation):
        dataset = Dataset.open(source.url, source.version)
        inputs |= {f"{source.url}/{entry.path}": entry.sha256 for entry in dataset.pair_files}
    digests = {} if weights is None else {str(settings.backbone_weights): hashlib.sha256(weights).hexdigest()}
    return make_plan("train_images", settings, seed, [Unit("train", "train")], inputs, digests)


def _backbone_weights(settings: TrainImagesSettings) -> bytes | None:
    url = settings.backbone_weights
    if url is None:
        return None
    folder, _, name = url.rpartition("/")
    try:
        return open_store(folder or ("/" if url.startswith("/") else ".")).read_bytes(name)
    except (OSError, StoreError) as error:
        raise CheckpointError(
            f"backbone_weights: {url}: cannot be read ({error}); give the path of a ResNet's state dict"
        ) from error
