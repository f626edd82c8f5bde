"""The job `train`: one lifter on any posemill datasets, the best on validation kept, resumed to the same numbers.

With `workers` above 1 the same recipe is trained by so many processes of Ray Train (`pipelines.train_on_ray`), each on
its share of every batch: the same numbers up to float rounding, and other dropout masks.
"""

from pipelines.context import RunContext
from pipelines.plan import Plan, Unit, freeze_plan, make_plan
from pipelines.step_watch import watched_steps
from pipelines.train_settings import TrainSettings
from pipelines.training_run import TrainResult, train_here
from storage.object_store import open_store
from storage.reader import Dataset


def plan_train(settings: TrainSettings, seed: int) -> Plan:
    """The plan of a training run: one unit, and the digests of all files that it may read."""
    inputs: dict[str, str] = {}
    unlabelled = settings.semi_supervised.unlabelled if settings.semi_supervised else ()
    for source in (*settings.data, *settings.validation, *unlabelled):
        dataset = Dataset.open(source.url, source.version)
        inputs |= {f"{source.url}/{entry.path}": entry.sha256 for entry in dataset.pair_files}
    return make_plan("train", settings, seed, [Unit("train", "train")], inputs)


def run_train(settings: TrainSettings, context: RunContext) -> TrainResult:
    """Train a lifter, or go on with it; the weights that validate best become `lifter.safetensors`.

    Raises:
        SettingsError: if the data selection is empty, training and validation data do not fit together, or validation
            is a test split.
        PlanMismatchError: if the output holds another plan.
        PoolError: if workers are wanted and cannot be placed, or are lost too often.
        JobStoppedError: if it was asked to stop; one that trains in this process leaves a checkpoint first.
    """
    plan = plan_train(settings, context.seed)
    freeze_plan(open_store(context.out_url), plan, context.accept_other_plan)
    with watched_steps(context, plan.run_id, plan.job, settings.steps, "steps") as watched:
        if settings.workers > 1:
            from pipelines.train_on_ray import train_on_ray

            return train_on_ray(settings, plan.run_id, watched)
        return train_here(settings, plan.run_id, watched)
