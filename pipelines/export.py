"""The export job: files of an export as units, in this process or on Ray, going on where an earlier attempt ended.

Formats whose files stand on their own (`storage.exporters.sharded.SHARDED`) are done unit by unit; the others are one
stream through one process, and begin anew. A unit's file is put into the folder where the export is made, then its
record beside it: what has a record is done. Lists and cards come last, and only then the export appears.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from pipelines.errors import PoolError
from pipelines.executor import BadRow, Executor
from pipelines.knobs import code_version
from pipelines.plan import Unit
from pipelines.progress import Progress, SilentProgress
from storage.commit import UnitCommit, canonical_json
from storage.exporters.export import Exported, check_settings, export_dataset, nothing_selected, publish
from storage.exporters.index import ExportedFile
from storage.exporters.selection import PairsSelection
from storage.exporters.settings import ExportSettings
from storage.exporters.sharded import SHARDED, Shard
from storage.exporters.target import WORK_FOLDER, ExportedFiles, ExportTarget
from storage.object_store import ObjectStore, open_store, read_if_there
from storage.reader import Dataset

JOB = "export"


@dataclass
class ExportStage:
    """Makes one file per unit.

    Attributes:
        dataset_url, version: What is exported.
        to: The format.
        settings: Of the export.
        work_url: The folder where the export is made.
    """

    dataset_url: str
    version: int
    to: str
    settings: ExportSettings
    work_url: str
    _selection: PairsSelection = field(init=False, repr=False)
    _store: ObjectStore = field(init=False, repr=False)

    def setup(self) -> None:
        """Open the dataset and the folder."""
        self._selection = _selection(Dataset.open(self.dataset_url, self.version), self.settings)
        self._store = open_store(self.work_url)

    def run(self, unit: Unit, bad_rows: Sequence[BadRow] = ()) -> UnitCommit:
        """Read the shard's rows, write its file, and its record last."""
        with self._store.scratch() as scratch:
            files = ExportedFiles(self._store, scratch)
            SHARDED[self.to].write(self._selection, Shard.model_validate(unit.payload["shard"]), files)
        [file] = files.files
        self._store.write_bytes(_record_path(unit.unit_id), canonical_json(file))
        return UnitCommit(run_id=JOB, unit_id=unit.unit_id, writer_id=JOB, files=(), rows=file.rows)


def run_export(
    dataset: Dataset,
    to: str,
    out_url: str | Path,
    settings: ExportSettings,
    executor: Executor,
    progress: Progress | None = None,
) -> Exported:
    """Export the selected pairs of one version.

    Args:
        dataset: The version. Workers on other machines must reach it, and `out_url`, by the same URL.
        to: A name out of `storage.exporters.registry.FORMATS`.
        out_url: A new or empty folder, or a URL; or one where the same export was begun and did not end.
        settings: What to take and how to cut it.
        executor: Who makes the files.
        progress: Is told of pairs.

    Raises:
        ExportError: as `export_dataset` does.
        PoolError: if files could not be made; the others are kept, and the same export goes on with those.
    """
    progress = progress or SilentProgress()
    task = f"export to {to}"
    if to not in SHARDED:
        progress.start(task, dataset.n_pairs, "pairs")
        done = export_dataset(dataset, to, out_url, settings, lambda rows: progress.advance(task, rows))
        progress.finish(task)
        return done
    check_settings(to, settings)
    selection = _selection(dataset, settings)
    shards = list(SHARDED[to].plan(selection, settings))
    if not shards:
        raise nothing_selected(selection, settings)
    with ExportTarget(out_url, _plan_id(dataset, to, settings)) as target:
        units = [
            Unit(f"f{number:06d}", JOB, {"shard": shard.model_dump(mode="json")})
            for number, shard in enumerate(shards)
        ]
        done_before = {unit.unit_id: _record(target.store, unit) for unit in units}
        left = [unit for unit in units if done_before[unit.unit_id] is None]
        rows_before = sum(file.rows for file in done_before.values() if file is not None)
        progress.start(task, sum(shard.rows for shard in shards), "pairs", rows_before)
        if rows_before:
            progress.log(f"{target.url}: {len(units) - len(left)} of {len(units)} files were made before")
        stage = partial(
            ExportStage, dataset.store.url, dataset.manifest.version, to, settings, target.work_url
        )
        report = executor.run(
            stage, left, lambda commit: progress.advance(task, commit.rows), name=JOB, progress=progress
        )
        if report.failed:
            raise PoolError(
                f"{target.url}: {len(report.failed)} of {len(units)} files could not be made: "
                f"{report.failed[0].failure}; the others are kept, and the same export goes on with these"
            )
        target.files.extend(_made(target.store, unit) for unit in units)
        SHARDED[to].join(selection, shards, target, settings)
        progress.finish(task)
        return publish(to, selection, settings, target)


def _selection(dataset: Dataset, settings: ExportSettings) -> PairsSelection:
    return PairsSelection(dataset, settings.parts, settings.rigs)


def _plan_id(dataset: Dataset, to: str, settings: ExportSettings) -> str:
    """What decides the bytes: another id begins the export anew."""
    parts = [dataset.store.url, str(dataset.manifest.version), dataset.manifest.writer_id, to, code_version()]
    return hashlib.sha256("\n".join([*parts, settings.model_dump_json()]).encode()).hexdigest()


def _record_path(unit_id: str) -> str:
    return f"{WORK_FOLDER}/{unit_id}.json"


def _record(store: ObjectStore, unit: Unit) -> ExportedFile | None:
    """What an earlier attempt made of a unit."""
    data = read_if_there(store, _record_path(unit.unit_id))
    return None if data is None else ExportedFile.model_validate_json(data)


def _made(store: ObjectStore, unit: Unit) -> ExportedFile:
    file = _record(store, unit)
    if file is None:
        raise PoolError(f"{store.url}: the record of {unit.unit_id} is gone; run the export again")
    return file
