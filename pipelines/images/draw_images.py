"""The job `draw_images`: pairs of a dataset with drawn pictures of them, as a dataset with image files beside it.

Synthetic pictures (see `estimators.images.drawn_people`), for trying out everything that takes images, and an example
of how images stand beside pairs: the files lie below the dataset's folder, and the column `image` of every pair names
its own. A unit is a range of rows of a pairs file; its pictures are written before the commit that names them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
from pydantic import ConfigDict, Field

from estimators.images.drawn_people import DrawingSettings, draw_people, whole_image
from pipelines.context import RunContext
from pipelines.executor import BadRow
from pipelines.images.image_table import IMAGE_COLUMN
from pipelines.keypoints import require_own_keypoints
from pipelines.knobs import knob
from pipelines.plan import Plan, Unit, make_plan
from pipelines.pose_table import PairsSource, chosen_rows, nothing_chosen
from pipelines.run_units import UnitsResult, run_units
from poses.batch import PoseBatch
from poses.cameras import CAMERA_FIELDS
from storage.commit import UnitCommit, read_commit
from storage.images import encode_image
from storage.object_store import open_store
from storage.quarantine import QuarantinedRow
from storage.reader import Dataset
from storage.writer import UnitWriter

JOB = "draw_images"
FOLDER = "images"
_FOLDERS = 1000
_SIZE = [CAMERA_FIELDS.index("width"), CAMERA_FIELDS.index("height")]
_FOCAL = [CAMERA_FIELDS.index("fx"), CAMERA_FIELDS.index("fy")]


class DrawImagesSettings(PairsSource):
    """Which pairs are drawn, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    drawing: DrawingSettings = DrawingSettings()
    every: int = Field(default=1, ge=1)
    """Draw each so many-th of the chosen rows of a file."""
    scale: float = Field(default=0.25, gt=0.0, le=1.0)
    """Size of the pictures as a share of the camera's; readers of images allow for it."""
    format: Literal["png", "jpeg"] = "jpeg"
    rows_per_unit: int = Field(default=2000, ge=1)
    on_bad_row: Literal["quarantine", "skip"] = knob("quarantine")


@dataclass(frozen=True)
class DrawStageSettings:
    """What every unit of a run has in common."""

    settings: DrawImagesSettings
    version: int
    out_url: str
    run_id: str


def plan_draw_images(settings: DrawImagesSettings, seed: int) -> Plan:
    """The plan: ranges of the chosen rows of every pairs file.

    Raises:
        SettingsError: if nothing is chosen, or the keypoints are of other joints than the poses.
    """
    source = Dataset.open(settings.url, settings.version)
    require_own_keypoints(source, "the job draw_images")
    units: list[Unit] = []
    for entry in source.pair_files:
        count = len(_rows_of(source, settings, entry.path))
        for start in range(0, count, settings.rows_per_unit):
            stop = min(start + settings.rows_per_unit, count)
            name = f"{entry.path.rpartition('/')[2].removesuffix('.parquet')}-{start:08d}"
            units.append(Unit(name, JOB, {"file": entry.path, "start": start, "stop": stop}, rows=0))
    if not units:
        raise nothing_chosen(source, settings)
    return make_plan(JOB, settings, seed, units, {entry.path: entry.sha256 for entry in source.pair_files})


def run_draw_images(settings: DrawImagesSettings, context: RunContext) -> UnitsResult:
    """Draw, or go on with it.

    Raises:
        SettingsError: as `plan_draw_images`.
        PlanMismatchError: if the output holds another plan.
        PoolError: if units were given up.
    """
    plan = plan_draw_images(settings, context.seed)
    source = Dataset.open(settings.url, settings.version)
    stage = DrawStageSettings(settings, source.manifest.version, context.out_url, plan.run_id)
    return run_units(plan, partial(DrawStage, stage), source.skeleton, context)


class DrawStage:
    """Draws units."""

    def __init__(self, stage: DrawStageSettings) -> None:
        self._stage = stage

    def setup(self) -> None:
        """Open both ends."""
        self._store = open_store(self._stage.out_url)
        self._source = Dataset.open(self._stage.settings.url, self._stage.version)

    def run(self, unit: Unit, bad_rows: Sequence[BadRow] = ()) -> UnitCommit:
        """Read, draw, write pictures, write pairs, commit."""
        del bad_rows  # what cannot be drawn is seen beforehand
        stage = self._stage
        done = read_commit(self._store, stage.run_id, unit.unit_id)
        if done is not None:
            return done
        path = unit.payload["file"]
        rows = _rows_of(self._source, stage.settings, path)[unit.payload["start"] : unit.payload["stop"]]
        pairs = self._source.read_rows(path, int(rows[0]), int(rows[-1]) + 1).take(rows - rows[0])
        with UnitWriter(self._store, stage.run_id, unit.unit_id, self._source.skeleton) as writer:
            pairs = self._drawable(pairs, rows, path, writer)
            if len(pairs):
                writer.add_pairs(self._drawn(pairs))
            return writer.commit()

    def _drawable(self, pairs: PoseBatch, rows: np.ndarray, path: str, writer: UnitWriter) -> PoseBatch:
        """The rows that have numbers to be drawn from; the writer is told of the others."""
        sizes = pairs.camera_px[:, [*_SIZE, *_FOCAL]]
        finite = np.isfinite(pairs.joints_camera_m).all((1, 2)) & np.isfinite(pairs.camera_px).all(1)
        good = np.asarray(finite & (sizes > 0).all(1))
        bad = np.flatnonzero(~good)
        reason = "3D joints or camera are no finite numbers; nothing can be drawn"
        if self._stage.settings.on_bad_row == "skip":
            writer.reject("bad row: not finite", len(bad))
        else:
            writer.quarantine(
                [QuarantinedRow(path, int(rows[row]), reason, JOB, unit_row=int(row)) for row in bad]
            )
        return pairs.take(good)

    def _drawn(self, pairs: PoseBatch) -> PoseBatch:
        """The pairs with the paths of their pictures, which are written."""
        kind, drawing = self._stage.settings.format, self._stage.settings.drawing
        names = [f"{FOLDER}/{one % _FOLDERS:03d}/{one:019d}.{kind}" for one in pairs.sample_id.tolist()]
        sizes = np.maximum(np.rint(pairs.camera_px[:, _SIZE] * self._stage.settings.scale).astype(int), 1)
        squares = whole_image(pairs.camera_px)
        for row, ((width, height), name) in enumerate(zip(sizes.tolist(), names, strict=True)):
            one = slice(row, row + 1)
            picture = draw_people(
                pairs.joints_camera_m[one],
                pairs.camera_px[one],
                squares.take(one),
                pairs.sample_id[one],
                pairs.skeleton,
                drawing,
                max(width, height),
            )[0, :height, :width]
            self._store.write_bytes(name, encode_image(picture, kind))
        return replace(pairs, extra={**pairs.extra, IMAGE_COLUMN: np.asarray(names, object)})


def _rows_of(source: Dataset, settings: DrawImagesSettings, path: str) -> np.ndarray:
    """Numbers of the chosen rows of a pairs file."""
    return np.flatnonzero(chosen_rows(source, settings, path))[:: settings.every]
