"""The job `label`: pseudo-labels for 2D keypoints, by a trained lifter, with RepNet as camera and critic.

The source is any posemill dataset: detections of a video corpus, or pairs whose 3D is not to be used. Labels are
written as pairs, a dataset like any other: `train` mixes them with real pairs, `augment` makes more of them, `verify`
checks that their 3D is as far from their 2D as they say.
"""

from collections.abc import Sequence
from functools import partial

from pipelines.context import RunContext
from pipelines.errors import SettingsError
from pipelines.evaluate_trajectory import check_trajectory
from pipelines.executor import resources_on
from pipelines.keypoints import check_keypoints_fit
from pipelines.knobs import file_digest
from pipelines.label_settings import LabelSettings
from pipelines.plan import Plan, Unit, make_plan
from pipelines.run_units import UnitsResult, lineage_of, run_units
from pipelines.stages.label_stage import LabelStage, label_unit_id
from pipelines.stages.pose_critic import PoseCritic
from pipelines.train_semi import load_trained_trajectory
from pipelines.trained_lifter import load_trained_lifter
from storage.commit import UnitCommit
from storage.manifest import Manifest, publish_manifest
from storage.object_store import ObjectStore
from storage.reader import Dataset


def plan_label(settings: LabelSettings, seed: int) -> tuple[Plan, Dataset]:
    """The plan of a labelling, and the version of the source that it reads.

    Raises:
        CheckpointError: if a network's file cannot be read.
        DatasetError: if the source is no dataset.
        PlanError: if it has no pairs.
    """
    source = Dataset.open(settings.source, settings.source_version)
    units = [
        Unit(
            label_unit_id(entry.path, start),
            "label",
            {
                "file": entry.path,
                "start_row": start,
                "stop_row": min(start + settings.rows_per_unit, entry.rows),
            },
            rows=min(settings.rows_per_unit, entry.rows - start),
        )
        for entry in source.pair_files
        for start in range(0, entry.rows, settings.rows_per_unit)
    ]
    inputs = {entry.path: entry.sha256 for entry in source.pair_files}
    files = {"lifter": settings.lifter, "trajectory": settings.trajectory, "critic": settings.critic}
    weights = {name: file_digest(path) for name, path in files.items() if path is not None}
    return make_plan("label", settings, seed, units, inputs, weights), source


def run_label(settings: LabelSettings, context: RunContext) -> UnitsResult:
    """Label a dataset into the one at `context.out_url`.

    Raises:
        CheckpointError: if a network's file cannot be read or holds something else.
        LifterInputError: if the source's keypoints are of other joints than the lifter sees.
        SettingsError: if the lifter and the trajectory model or the critic do not belong together.
        PlanMismatchError: if the output holds another plan.
        PoolError: if units were given up.
    """
    lifter = load_trained_lifter(settings.lifter).module
    plan, source = plan_label(settings, context.seed)
    check_keypoints_fit(lifter, source.keypoints_of, settings.source)
    if settings.trajectory is not None:
        check_trajectory(load_trained_trajectory(settings.trajectory), lifter, settings.trajectory)
    if settings.critic is not None:
        if source.keypoints_of.joints != lifter.skeleton.joints:
            raise SettingsError(
                f"critic: RepNet wants 2D and 3D of the same joints, but the keypoints are of "
                f"{source.keypoints_of.name!r} and the labels of {lifter.skeleton.name!r}; leave `critic` out"
            )
        PoseCritic(settings.critic).check_skeleton(lifter.skeleton)

    def publish(store: ObjectStore, commits: Sequence[UnitCommit]) -> Manifest:
        keypoints = source.keypoints_of
        return publish_manifest(
            store,
            plan.run_id,
            commits,
            lifter.skeleton,
            lineage=lineage_of(plan),
            keypoint_skeleton=keypoints,
        )

    return run_units(
        plan,
        partial(LabelStage, settings, context.out_url, plan.run_id, context.seed, source.manifest.version),
        lifter.skeleton,
        context,
        resources=resources_on(settings.device, settings.gpus_per_worker),
        bad_rows=settings.bad_rows,
        publish=publish,
    )
