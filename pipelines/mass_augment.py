"""The job `augment`: any number of augmented copies of a dataset's pairs, of poses on their own or of windows."""

from collections.abc import Iterator
from functools import partial
from typing import Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipelines.augmentors import (
    AugmentorSettings,
    build_augmentor,
    checkpoints_of,
    depends_on_batch,
    takes_windows,
)
from pipelines.context import RunContext
from pipelines.executor import BadRowPolicy, StageFactory, WorkerResources, resources_on
from pipelines.file_windows import file_windows
from pipelines.keypoints import require_own_keypoints
from pipelines.knobs import file_digest, knob
from pipelines.plan import Plan, Unit, make_plan
from pipelines.run_units import UnitsResult, run_units
from pipelines.stages.augment_stage import AugmentStage, AugmentStageSettings, unit_id_of, window_unit_id_of
from pipelines.stages.pose_critic import PoseCritic
from storage.reader import Dataset

MAX_WINDOW_FRAMES = 1024
"""What a frozen PoseAug generator does at once; longer than any lifter's receptive field."""


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
    window_frames: int = Field(default=1, ge=1, le=MAX_WINDOW_FRAMES)
    """Consecutive frames that are augmented as one motion, for temporal lifters: every draw is made once per window,
    and each window of each copy becomes a clip of its own. 1 makes poses on their own."""
    window_stride: int | None = Field(default=None, ge=1)
    """Frames from the start of one window to that of the next; None takes `window_frames`, so that no frame is
    doubled. The frames at the end of a run that fill no window are left out and counted."""
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

    @model_validator(mode="after")
    def _windows_are_possible(self) -> Self:
        if self.window_frames > 1 and not takes_windows(self.augmentor):
            raise ValueError(
                f"window_frames = {self.window_frames}: augmentor {self.augmentor.kind!r} draws each frame for itself; "
                "leave window_frames at 1 (it moves no body, so clips stay motions), or choose another augmentor"
            )
        if self.window_frames == 1 and self.window_stride is not None:
            raise ValueError(
                "window_stride: there are no windows, because window_frames is 1; set both or neither"
            )
        return self

    @property
    def stride(self) -> int:
        """Frames from the start of one window to that of the next."""
        return self.window_stride or self.window_frames


def plan_augment(settings: AugmentSettings, seed: int) -> tuple[Plan, Dataset]:
    """The plan of a mass augmentation, and the version of the source that it reads.

    Raises:
        DatasetError: if the source is no dataset.
        PlanError: if it has no pairs.
        SettingsError: if windows of some parts are wanted and it has no parts.
        ShardError: if windows are wanted and a file is damaged.
    """
    source = Dataset.open(settings.source, settings.source_version)
    require_own_keypoints(source, "an augmentor, which projects its poses,")
    units = list(
        _pose_units(settings, source) if settings.window_frames == 1 else _window_units(settings, source)
    )
    inputs = {entry.path: entry.sha256 for entry in source.pair_files}
    if depends_on_batch(settings.augmentor):
        inputs["rows at once"] = str(settings.micro_rows)
    return make_plan("augment", settings, seed, units, inputs, weight_digests(settings)), source


def _copies(settings: AugmentSettings) -> Iterator[tuple[int, int]]:
    """First copy and number of copies of every unit of the same rows."""
    end = settings.first_copy + settings.copies
    for copy in range(settings.first_copy, end, settings.copies_per_unit):
        yield copy, min(settings.copies_per_unit, end - copy)


def _pose_units(settings: AugmentSettings, source: Dataset) -> Iterator[Unit]:
    """Ranges of rows of a file."""
    for entry in source.pair_files:
        for start in range(0, entry.rows, settings.rows_per_unit):
            stop = min(start + settings.rows_per_unit, entry.rows)
            for copy, n_copies in _copies(settings):
                rows = {"file": entry.path, "start_row": start, "stop_row": stop}
                copies = {"first_copy": copy, "n_copies": n_copies}
                yield Unit(unit_id_of(entry.path, start, copy), "augment", rows | copies, rows=stop - start)


def _window_units(settings: AugmentSettings, source: Dataset) -> Iterator[Unit]:
    """Ranges of windows of a file. The first of a file counts the rows that are in no window."""
    frames, stride = settings.window_frames, settings.stride
    at_once = max(settings.rows_per_unit // frames, 1)
    for entry in source.pair_files:
        windows = file_windows(source, entry.path, settings.parts, frames, stride)
        if not len(windows) and not windows.left_over:
            continue
        for first in range(0, max(len(windows), 1), at_once):
            stop = min(first + at_once, len(windows))
            for copy, n_copies in _copies(settings):
                rows = {"file": entry.path, "first_window": first, "stop_window": stop}
                left_over = {"left_over": windows.left_over if first == 0 else 0}
                copies = {"first_copy": copy, "n_copies": n_copies}
                unit_id = window_unit_id_of(entry.path, first, copy)
                yield Unit(unit_id, "augment", rows | left_over | copies, rows=stop - first)


def rows_to_augment(settings: AugmentSettings, plan: Plan, source: Dataset) -> dict[str, int]:
    """Rows that each unit has to make, by its id: those of the wanted parts or windows in its range, times copies."""
    if settings.window_frames > 1:
        return {
            unit.unit_id: unit.rows * settings.window_frames * unit.payload["n_copies"] for unit in plan.units
        }
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
        window_frames=settings.window_frames,
        window_stride=settings.stride,
    )
    return partial(AugmentStage, stage)


def augment_resources(settings: AugmentSettings) -> WorkerResources:
    """What one worker needs."""
    return resources_on(settings.device, settings.gpus_per_worker)


def weight_digests(settings: AugmentSettings) -> dict[str, str]:
    """Digest of every checkpoint that the augmentor is made of, and of the critic."""
    paths = checkpoints_of(settings.augmentor) | (
        {} if settings.critic is None else {"critic": settings.critic}
    )
    return {name: file_digest(path) for name, path in paths.items()}
