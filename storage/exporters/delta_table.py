"""A Delta Lake table of its own: selected pairs as Parquet files with a log.

`posemill register DATASET --delta` shows a whole dataset to Delta readers without copying it. This format
copies: for a selection, for a table that leaves the dataset's storage, and for readers that do not know
Arrow's tensor type (Polars' `scan_delta`): arrays are plain lists of numbers here.
"""

from storage.delta import DeltaState, delta_actions, log_path, log_text
from storage.exporters.parquet_lists import write_lists_file
from storage.exporters.selection import PairsSelection
from storage.exporters.settings import ExportSettings
from storage.exporters.target import ExportTarget

SHARD_ROWS = 262_144


def write_delta(selection: PairsSelection, target: ExportTarget, settings: ExportSettings) -> None:
    """`NAME-00000.parquet` and so on, and `_delta_log/` with one version."""
    shard_rows = settings.shard_rows or SHARD_ROWS
    for number, shard in enumerate(selection.shards(shard_rows)):
        file = target.begin(f"{settings.name}-{number:05d}.parquet")
        write_lists_file(file, selection, "flat", shard)
    version = selection.dataset.manifest.version
    actions = delta_actions(target.store, "", DeltaState(), target.files, [], version)
    with target.file(log_path(0)) as sink:
        sink.write(log_text(actions))
