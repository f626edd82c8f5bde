"""How the units of each job are retried: which settings, which stage, which rows. A dict in plain sight."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydantic import BaseModel

from pipelines.context import RunContext
from pipelines.executor import StageFactory, WorkerResources
from pipelines.import_motion import ImportSettings, import_stage_factory, input_digests
from pipelines.mass_augment import (
    AugmentSettings,
    augment_resources,
    augment_stage_factory,
    weight_digests,
)
from pipelines.plan import Unit
from pipelines.stages.clip_table import refuse_repeated_clips
from storage.object_store import ObjectStore
from storage.quarantine import QuarantinedRow

Payload = Mapping[str, Any]


@dataclass(frozen=True)
class RetriedJob:
    """What a retry must know of a job.

    Attributes:
        model: Of its settings.
        factory: (settings, context, run id of the retry) -> what makes the stage.
        payload: (payload of the unit, the rows of it that are retried) -> payload of the retry's unit.
        weights: (settings) -> digests of today's checkpoints.
        inputs: (settings, the retry's units) -> digests of what they read beside the quarantine.
        resources: (settings) -> what one worker needs.
        before_publish: (store, run id) last check before the new version.
    """

    model: type[BaseModel]
    factory: Callable[[Any, RunContext, str], StageFactory]
    payload: Callable[[Payload, Sequence[QuarantinedRow]], dict[str, Any]]
    weights: Callable[[Any], dict[str, str]]
    inputs: Callable[[Any, Sequence[Unit]], dict[str, str]]
    resources: Callable[[Any], WorkerResources]
    before_publish: Callable[[ObjectStore, str], None]


def _import_payload(payload: Payload, rows: Sequence[QuarantinedRow]) -> dict[str, Any]:
    """The files, or (embedded source) the clips, of the rows."""
    numbers = [int(row.unit_row or 0) for row in rows]
    if "files" in payload:
        return {"files": [payload["files"][number] for number in numbers]}
    if "clips" in payload:
        return {"clips": [payload["clips"][number] for number in numbers]}
    return {"clips": [payload["first_clip"] + number for number in numbers]}


def _augment_payload(payload: Payload, rows: Sequence[QuarantinedRow]) -> dict[str, Any]:
    """The copies; the rows themselves stand in the quarantine, whole."""
    del rows
    return {"first_copy": payload["first_copy"], "n_copies": payload["n_copies"]}


def _import_inputs(settings: ImportSettings, units: Sequence[Unit]) -> dict[str, str]:
    return input_digests(settings, [file for unit in units for file in unit.payload.get("files", ())])


RETRIED_JOBS: Mapping[str, RetriedJob] = {
    "import": RetriedJob(
        model=ImportSettings,
        factory=import_stage_factory,
        payload=_import_payload,
        weights=lambda settings: {},
        inputs=_import_inputs,
        resources=lambda settings: WorkerResources(),
        before_publish=refuse_repeated_clips,
    ),
    "augment": RetriedJob(
        model=AugmentSettings,
        factory=partial(augment_stage_factory, source_version=None),
        payload=_augment_payload,
        weights=weight_digests,
        inputs=lambda settings, units: {},
        resources=augment_resources,
        before_publish=lambda store, run_id: None,
    ),
}
"""By the job that a plan names."""
