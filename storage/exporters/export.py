"""A dataset's pairs in another format: the exporters' one entry.

Memory is a few shards, whatever the size of the dataset; the export appears whole or not at all.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from storage.errors import ExportError
from storage.exporters.index import ExportIndex
from storage.exporters.registry import FORMATS
from storage.exporters.selection import PairsSelection, RowsRead
from storage.exporters.settings import ExportSettings
from storage.exporters.target import ExportTarget
from storage.reader import Dataset


@dataclass(frozen=True)
class Exported:
    """What was written."""

    url: str
    format: str
    rows: int
    files: int
    bytes: int
    dataset_version: int
    opens_with: str

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def export_dataset(
    dataset: Dataset,
    to: str,
    out_url: str | Path,
    settings: ExportSettings | None = None,
    on_rows: RowsRead | None = None,
) -> Exported:
    """Writes the selected pairs of one version.

    Args:
        dataset: The version.
        to: A name out of `registry.FORMATS`.
        out_url: A new or empty folder, or a URL with nothing below it.
        settings: What to take and how to cut it; everything without.
        on_rows: Is told how many of the dataset's pairs were read.

    Raises:
        ExportError: if there is no such format, something is at `out_url`, or nothing was selected.
        ShardError: if a file of the dataset is damaged; nothing is visible then.
        StoreError: if the storage fails; nothing is visible then.
    """
    settings = settings or ExportSettings()
    check_settings(to, settings)
    selection = PairsSelection(dataset, settings.parts, settings.rigs, on_rows)
    with ExportTarget(out_url) as target:
        FORMATS[to].write(selection, target, settings)
        if not any(file.rows for file in target.files):
            raise nothing_selected(selection, settings)
        return publish(to, selection, settings, target)


def check_settings(to: str, settings: ExportSettings) -> None:
    """Raise ExportError unless there is such a format and it can be made so."""
    if to not in FORMATS:
        raise ExportError(f"there is no format {to!r}; there are {', '.join(FORMATS)}")
    if settings.pickled and to != "videopose3d":
        raise ExportError(f"{to}: only videopose3d has pickled files; leave --pickled out")


def nothing_selected(selection: PairsSelection, settings: ExportSettings) -> ExportError:
    """The error of an export without pairs; the selection has read what there is."""
    return ExportError(
        f"{selection.dataset.store.url}: no pairs in parts {', '.join(settings.parts)} under rigs"
        f" {', '.join(settings.rigs)}; {selection.what_there_is()}"
    )


def publish(to: str, selection: PairsSelection, settings: ExportSettings, target: ExportTarget) -> Exported:
    """Make the finished files an export that can be seen."""
    rows = sum(file.rows for file in target.files)
    target.publish(_index(to, selection, settings, target, rows))
    return Exported(
        url=target.url,
        format=to,
        rows=rows,
        files=len(target.files),
        bytes=sum(file.bytes for file in target.files),
        dataset_version=selection.dataset.manifest.version,
        opens_with=FORMATS[to].opens_with.replace("NAME", settings.name),
    )


def _index(
    to: str, selection: PairsSelection, settings: ExportSettings, target: ExportTarget, rows: int
) -> ExportIndex:
    manifest = selection.dataset.manifest
    return ExportIndex(
        format=to,
        rows=rows,
        dataset_version=manifest.version,
        run_ids=manifest.run_ids,
        parts=settings.parts,
        rigs=settings.rigs,
        skeleton=selection.skeleton.to_dict(),
        columns=selection.columns,
        files=tuple(target.files),
    )
