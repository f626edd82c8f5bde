"""The job `label`: pseudo-labels for 2D keypoints, by a trained lifter, with RepNet as camera and critic.

The source is any posemill dataset: detections of a video corpus, or pairs whose 3D is not to be used. Labels are
written as pairs, a dataset like any other: `train` mixes them with real pairs, `augment` makes more of them, `verify`
checks that their 3D is as far from their 2D as they say.
"""

from collections.abc import Sequence
from functools import partial
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipelines.context import RunContext
from pipelines.errors import SettingsError
from pipelines.evaluate_trajectory import check_trajectory
from pipelines.executor import BadRowPolicy, StageFactory, WorkerResources
from pipelines.keypoints import check_keypoints_fit
from pipelines.knobs import file_digest, knob
from pipelines.plan import Plan, Unit, make_plan
from pipelines.run_units import UnitsResult, lineage_of, run_units
from pipelines.stages.label_stage import LabelStage, LabelStageSettings, label_unit_id
from pipelines.stages.pose_critic import PoseCritic
from pipelines.train_semi import load_trained_trajectory
from pipelines.trained_lifter import load_trained_lifter
from storage.commit import UnitCommit
from storage.manifest import Manifest, publish_manifest
from storage.object_store import ObjectStore
from storage.reader import Dataset


class LabelSettings(BaseModel):
    """What is labelled, by what, and which labels are kept."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str = knob(...)
    """Dataset with the 2D keypoints. Its files' digests identify the run, so it may be moved."""
    source_version: int | None = knob(None)
    """Of its manifest; None takes the latest."""
    parts: tuple[str, ...] | None = None
    """Parts to label; None takes every row."""
    lifter: str = knob(...)
    """`lifter.safetensors` of a train job or a loop, or an imported one. Its digest identifies the run."""
    trajectory: str | None = knob(None)
    """`trajectory.safetensors` of a semi-supervised training places the roots; None puts each pose where its image fits
    its keypoints best."""
    critic: str | None = knob(None)
    """`critic.safetensors` of a `train_unpaired` job: camera, reprojection error and plausibility as columns."""
    flip: bool = True
    """Average with the mirrored prediction of the mirrored input."""
    max_reprojection_px: float | None = Field(default=None, gt=0)
    """Refuse labels whose image is further from their keypoints than this, in the mean over joints."""
    max_implausibility: float | None = None
    """Refuse labels that the critic finds further from typical real poses than this, in standard deviations."""
    rows_per_unit: int = Field(default=65_536, ge=1)
    frames_at_once: int = knob(65_536, ge=1)
    """Input frames that the lifter gets at once: memory against speed."""
    bad_rows: BadRowPolicy = BadRowPolicy()
    device: str = knob("cpu")
    """Where the networks compute: "cpu" or "cuda"."""
    gpus_per_worker: float = knob(1.0, gt=0)
    """On a CUDA device: share of a GPU that one worker gets."""

    @model_validator(mode="after")
    def _implausibility_wants_a_critic(self) -> Self:
        if self.max_implausibility is not None and self.critic is None:
            raise ValueError(
                "max_implausibility: there is no critic to say it; give `critic`, or leave it out"
            )
        return self


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
        _stage_factory(settings, context, plan.run_id, source.manifest.version),
        lifter.skeleton,
        context,
        resources=_resources(settings),
        bad_rows=settings.bad_rows,
        publish=publish,
    )


def _stage_factory(
    settings: LabelSettings, context: RunContext, run_id: str, source_version: int
) -> StageFactory:
    stage = LabelStageSettings(
        source_url=settings.source,
        source_version=source_version,
        out_url=context.out_url,
        run_id=run_id,
        seed=context.seed,
        lifter=settings.lifter,
        trajectory=settings.trajectory,
        critic=settings.critic,
        flip=settings.flip,
        parts=settings.parts,
        max_reprojection_px=settings.max_reprojection_px,
        max_implausibility=settings.max_implausibility,
        frames_at_once=settings.frames_at_once,
        on_bad_row=settings.bad_rows.on_bad_row,
        device=settings.device,
    )
    return partial(LabelStage, stage)


def _resources(settings: LabelSettings) -> WorkerResources:
    return WorkerResources(num_gpus=settings.gpus_per_worker if settings.device.startswith("cuda") else 0.0)
