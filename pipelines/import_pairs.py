"""The job `import_pairs`: an export (COCO, VideoPose3D, WebDataset, Hugging Face, Delta) becomes a dataset again."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from pydantic import BaseModel, ConfigDict

from pipelines.context import RunContext
from pipelines.errors import UnitError
from pipelines.executor import BadRow
from pipelines.knobs import knob
from pipelines.plan import Plan, Unit, make_plan
from pipelines.run_units import UnitsResult, run_units
from storage.commit import UnitCommit, read_commit
from storage.errors import ImporterError
from storage.importers.exported import open_export
from storage.object_store import open_store
from storage.writer import UnitWriter


class ImportPairsSettings(BaseModel):
    """Which export is read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str = knob(...)
    """Folder or URL of the export. Its files' digests identify the run, so it may be moved."""


def plan_import_pairs(settings: ImportPairsSettings, seed: int) -> Plan:
    """The plan: one unit per file of the export (per three files, for VideoPose3D); reads its index only.

    Raises:
        ImporterError: if there is no finished export, or its index cannot be trusted.
    """
    folder = open_export(settings.source)
    units = [
        Unit(f"export-{number:06d}", "import_pairs", {"files": [file.path for file in files]}, rows=0)
        for number, files in enumerate(folder.shards())
    ]
    inputs = {file.path: file.sha256 for file in folder.index.files}
    return make_plan("import_pairs", settings, seed, units, inputs)


def run_import_pairs(settings: ImportPairsSettings, context: RunContext) -> UnitsResult:
    """Read an export into the dataset at `context.out_url`.

    Raises:
        PlanMismatchError: if the output holds another plan.
        PoolError: if a file is damaged or hostile.
    """
    plan = plan_import_pairs(settings, context.seed)
    stage = ImportPairsStageSettings(settings.source, context.out_url, plan.run_id)
    skeleton = open_export(settings.source).skeleton
    return run_units(plan, partial(ImportPairsStage, stage), skeleton, context)


@dataclass(frozen=True)
class ImportPairsStageSettings:
    """What every unit of a run has in common."""

    source: str
    out_url: str
    run_id: str


class ImportPairsStage:
    """Reads files of an export. A damaged file fails its unit as a whole: no row of it can be trusted."""

    def __init__(self, settings: ImportPairsStageSettings) -> None:
        self._settings = settings

    def setup(self) -> None:
        """Open both ends."""
        self._store = open_store(self._settings.out_url)
        self._export = open_export(self._settings.source)

    def run(self, unit: Unit, bad_rows: Sequence[BadRow] = ()) -> UnitCommit:
        """Read, write and commit."""
        del bad_rows  # units have no rows to be searched
        done = read_commit(self._store, self._settings.run_id, unit.unit_id)
        if done is not None:
            return done
        with UnitWriter(self._store, self._settings.run_id, unit.unit_id, self._export.skeleton) as writer:
            try:
                for pairs in self._export.only(unit.payload["files"]).iter_batches():
                    writer.add_pairs(pairs)
            except ImporterError as error:
                raise UnitError(str(error)) from error
            return writer.commit()
