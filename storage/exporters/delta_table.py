"""A Delta Lake table of its own: selected pairs as Parquet files with a log.

`posemill register DATASET --delta` shows a whole dataset to Delta readers without copying it. This format
copies: for a selection, for a table that leaves the dataset's storage, and for readers that do not know
Arrow's tensor type (Polars' `scan_delta`): arrays are plain lists of numbers here.
"""

from poses.batch import PoseBatch
from storage.delta import DeltaState, delta_actions, log_path, log_text
from storage.exporters.parquet_lists import ROW_GROUP_ROWS, ListsFile
from storage.exporters.selection import PairsSelection
from storage.exporters.settings import ExportSettings
from storage.exporters.target import ExportTarget

SHARD_ROWS = 262_144


def write_delta(selection: PairsSelection, target: ExportTarget, settings: ExportSettings) -> None:
    """`NAME-00000.parquet` and so on, and `_delta_log/` with one version."""
    shard_rows = settings.shard_rows or SHARD_ROWS
    for number, shard in enumerate(selection.shards(shard_rows)):
        _write_file(shard, selection, target, f"{settings.name}-{number:05d}.parquet")
    version = selection.dataset.manifest.version
    actions = delta_actions(target.store, "", DeltaState(), target.files, [], version)
    with target.file(log_path(0)) as sink:
        sink.write(log_text(actions))


def _write_file(pairs: PoseBatch, selection: PairsSelection, target: ExportTarget, path: str) -> None:
    file = ListsFile(target.begin(path), selection, "flat")
    try:
        for start in range(0, len(pairs), ROW_GROUP_ROWS):
            file.write(pairs.take(slice(start, start + ROW_GROUP_ROWS)))
    except BaseException:
        file.discard()
        raise
    file.finish()
