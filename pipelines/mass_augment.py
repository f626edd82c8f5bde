"""The job `augment`: any number of augmented copies of a dataset's pairs."""

from functools import partial

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from pipelines.augmentors import AugmentorSettings, build_augmentor, checkpoints_of, depends_on_batch
from pipelines.context import RunContext
from pipelines.executor import BadRowPolicy, StageFactory, WorkerResources
from pipelines.knobs import file_digest, knob
from pipelines.plan import Plan, Unit, make_plan
from pipelines.run_units import UnitsResult, run_units
from pipelines.stages.augment_stage import AugmentStage, AugmentStageSettings, unit_id_of
from pipelines.stages.pose_critic import PoseCritic
from storage.reader import Dataset


class AugmentSettings(BaseModel):
    """What is augmented, by what, and how often."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str = knob(...)
    """Dataset to read. Its files' digests identify the run, so it may be moved."""
    source_version: int | None = knob(None)
    """Of its manifest; None takes the latest."""
    parts: tuple[str, ...] | None = ("source_train",)
    """Parts to augment; None takes every row."""
    augmentor: AugmentorSettings
    copies: int = Field(default=1, ge=1)
    first_copy: int = Field(default=1, ge=1)
    """Number of the first copy; go on from where an earlier run ended to get other copies."""
    rows_per_unit: int = Field(default=65_536, ge=1)
    copies_per_unit: int = Field(default=4, ge=1)
    shuffle: bool = True
    """Write each unit's rows in a random order, so that readers may shuffle by block."""
    micro_rows: int = knob(8192, ge=1)
    """Rows that the augmentor gets at once. Changes speed and memory, and no byte of the result."""
    bad_rows: BadRowPolicy = BadRowPolicy()
    critic: str | None = knob(None)
    """`critic.safetensors` of a `train_unpaired` job: every pair gets its camera, reprojection error and plausibility
    as columns. The file's digest identifies the run."""
    device: str = knob("cpu")
    """Where a trained augmentor and the critic compute: "cpu" or "cuda"."""
    gpus_per_worker: float = knob(1.0, gt=0)
    """On a CUDA device: share of a GPU that one worker gets."""


def plan_augment(settings: AugmentSettings, seed: int) -> tuple[Plan, Dataset]:
    """The plan of a mass augmentation, and the version of the source that it reads.

    Raises:
        DatasetError: if the source is no dataset.
        PlanError: if it has no pairs.
    """
    source = Dataset.open(settings.source, settings.source_version)
    units = [
        Unit(
            unit_id_of(entry.path, start, copy),
            "augment",
            {
                "file": entry.path,
                "start_row": start,
                "stop_row": min(start + settings.rows_per_unit, entry.rows),
                "first_copy": copy,
                "n_copies": min(settings.copies_per_unit, settings.first_copy + settings.copies - copy),
            },
            rows=min(settings.rows_per_unit, entry.rows - start),
        )
        for entry in source.pair_files
        for start in range(0, entry.rows, settings.rows_per_unit)
        for copy in range(
            settings.first_copy, settings.first_copy + settings.copies, settings.copies_per_unit
        )
    ]
    inputs = {entry.path: entry.sha256 for entry in source.pair_files}
    if depends_on_batch(settings.augmentor):
        inputs["rows at once"] = str(settings.micro_rows)
    return make_plan("augment", settings, seed, units, inputs, weight_digests(settings)), source


def rows_to_augment(settings: AugmentSettings, plan: Plan, source: Dataset) -> dict[str, int]:
    """Rows that each unit has to make, by its id: the rows of the wanted parts in its range, times its copies."""
    ends: dict[str, np.ndarray] = {}
    if settings.parts is not None:
        for entry in source.pair_files:
            parts = source.read_rows(entry.path, 0, entry.rows, columns=["part"]).extra["part"].astype(str)
            ends[entry.path] = np.concatenate([[0], np.cumsum(np.isin(parts, list(settings.parts)))])
    rows = {}
    for unit in plan.units:
        file, start, stop = (unit.payload[key] for key in ("file", "start_row", "stop_row"))
        chosen = stop - start if settings.parts is None else int(ends[file][stop] - ends[file][start])
        rows[unit.unit_id] = chosen * unit.payload["n_copies"]
    return rows


def run_augment(settings: AugmentSettings, context: RunContext) -> UnitsResult:
    """Augment a dataset into the one at `context.out_url`.

    Raises:
        CheckpointError: if the augmentor's checkpoint cannot be read.
        PlanMismatchError: if the output holds another plan.
        PoolError: if units were given up.
    """
    build_augmentor(settings.augmentor, context.seed)  # a wrong checkpoint is told before anything starts
    plan, source = plan_augment(settings, context.seed)
    if settings.critic is not None:
        PoseCritic(settings.critic).check_skeleton(source.skeleton)
    return run_units(
        plan,
        augment_stage_factory(settings, context, plan.run_id, source.manifest.version),
        source.skeleton,
        context,
        resources=augment_resources(settings),
        bad_rows=settings.bad_rows,
    )


def augment_stage_factory(
    settings: AugmentSettings, context: RunContext, run_id: str, source_version: int | None
) -> StageFactory:
    """Makes the stage that does the units of a run on a worker; without a version it can only retry rows."""
    stage = AugmentStageSettings(
        source_url="" if source_version is None else settings.source,
        source_version=source_version or 0,
        out_url=context.out_url,
        run_id=run_id,
        seed=context.seed,
        augmentor=settings.augmentor,
        parts=settings.parts,
        shuffle=settings.shuffle,
        micro_rows=settings.micro_rows,
        on_bad_row=settings.bad_rows.on_bad_row,
        device=settings.device,
        critic=settings.critic,
    )
    return partial(AugmentStage, stage)


def augment_resources(settings: AugmentSettings) -> WorkerResources:
    """What one worker needs."""
    return WorkerResources(num_gpus=settings.gpus_per_worker if settings.device.startswith("cuda") else 0.0)


def weight_digests(settings: AugmentSettings) -> dict[str, str]:
    """Digest of every checkpoint that the augmentor is made of, and of the critic."""
    paths = checkpoints_of(settings.augmentor) | (
        {} if settings.critic is None else {"critic": settings.critic}
    )
    return {name: file_digest(path) for name, path in paths.items()}
