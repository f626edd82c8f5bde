"""Proves that a dataset is what its manifest says: digests, schema, and the geometry of every row.

Verification never stops at the first fault. It returns findings, each with the file, the row, what was wanted
and what was found, so that a damaged or wrong dataset can be judged as a whole.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from storage.commit import FileEntry
from storage.digests import stored_digest, stored_tree
from storage.errors import DatasetError, ShardError, StoreError
from storage.manifest import manifest_versions
from storage.pairs_reader import PairsReader
from storage.paths import manifest_path
from storage.quarantine import read_quarantine
from storage.reader import Dataset
from storage.row_checks import RowFault, clip_faults, pair_faults
from storage.sequences import read_clips


class VerifySettings(BaseModel):
    """How strictly to look."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    projection_tolerance_px: float = Field(default=0.5, gt=0)
    """Greatest distance between a keypoint and the projection of its joint."""

    max_rows_per_check: int = Field(default=20, ge=1)
    """Rows named per file and check; the rest is one finding with their number."""

    digests: bool = True
    """Recompute the sha256 of every file."""

    rows: bool = True
    """Read every row and look at its values."""


class Finding(BaseModel):
    """One thing that is wrong.

    Args:
        path: The file, relative to the dataset.
        row: Row or frame in the file; None when the whole file is meant.
        check: What was checked: store, digest, size, schema, rows, unreadable, duplicate, finite, projection,
            bones...
        message: Wanted and got.
        count: Rows that the finding stands for.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    row: int | None
    check: str
    message: str
    count: int = 1

    def __str__(self) -> str:
        where = self.path if self.row is None else f"{self.path}, row {self.row:,}"
        return f"{where}: {self.check}: {self.message}"


class VerificationReport(BaseModel):
    """What was looked at, and what was found."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    version: int
    files: int
    rows: int
    frames: int
    bytes: int
    findings: tuple[Finding, ...]

    @property
    def is_sound(self) -> bool:
        """Whether nothing was found."""
        return not self.findings


@dataclass(frozen=True)
class _Ids:
    """The sample ids of a row group, and where it starts in its file."""

    path: str
    first_row: int
    sample_id: np.ndarray

    def describe_duplicate(self, row: int) -> str:
        return f"sample_id {self.sample_id[row]} stands in the dataset more than once"


def verify_dataset(
    dataset: Dataset,
    settings: VerifySettings | None = None,
    on_file: Callable[[FileEntry], None] | None = None,
) -> VerificationReport:
    """Checks one version of a dataset in full.

    Args:
        dataset: The version to check.
        settings: Tolerances and what to look at.
        on_file: Called after every file, for progress.

    Returns:
        A report; its findings are in the order of the files. Damaged files are findings, not exceptions.
    """
    chosen = settings or VerifySettings()
    manifest = dataset.manifest
    findings = list(_manifest_findings(dataset))
    ids: list[_Ids] = []
    for entry in manifest.files:
        findings += _file_findings(dataset, entry, chosen, ids)
        if on_file is not None:
            on_file(entry)
    findings += _duplicate_findings(ids, chosen.max_rows_per_check)
    return VerificationReport(
        url=dataset.store.url,
        version=manifest.version,
        files=len(manifest.files),
        rows=manifest.rows,
        frames=sum(entry.rows for entry in manifest.files_of("sequences")),
        bytes=sum(entry.bytes for entry in manifest.files),
        findings=tuple(findings),
    )


def _finding(path: str, check: str, message: str, row: int | None = None) -> Finding:
    return Finding(path=path, row=row, check=check, message=message)


def _manifest_findings(dataset: Dataset) -> Iterator[Finding]:
    """What the manifest itself contradicts."""
    manifest = dataset.manifest
    path = manifest_path(manifest.version)
    total = sum(entry.rows for entry in dataset.pair_files)
    if total != manifest.rows:
        yield _finding(path, "rows", f"{manifest.rows:,} rows in all, {total:,} in its files")
    if manifest.parent is not None and manifest.parent not in manifest_versions(dataset.store):
        yield _finding(path, "store", f"its parent version {manifest.parent} is missing")
    present = set(dataset.store.list("commits"))
    for key in manifest.commits:
        if f"commits/{key}.json" not in present:
            yield _finding(path, "store", f"its commit commits/{key}.json is missing")


def _file_findings(
    dataset: Dataset, entry: FileEntry, settings: VerifySettings, ids: list[_Ids]
) -> list[Finding]:
    """Everything wrong with one file; its sample ids are added to `ids`."""
    findings: list[Finding] = []
    try:
        if settings.digests:
            findings += _digest_findings(dataset, entry)
        if settings.rows:
            findings += _row_findings(dataset, entry, settings, ids)
    except (ShardError, DatasetError, StoreError) as error:
        findings.append(_finding(entry.path, "unreadable", str(error)))
    return findings


def _digest_findings(dataset: Dataset, entry: FileEntry) -> Iterator[Finding]:
    store = dataset.store
    if not store.exists(entry.path):
        yield _finding(entry.path, "store", "the manifest has it, the store has not")
        return
    if entry.kind == "sequences":
        digest, size_bytes = stored_tree(store, entry.path)
    else:
        digest, size_bytes = stored_digest(store, entry.path), store.size_bytes(entry.path)
    if size_bytes != entry.bytes:
        yield _finding(entry.path, "size", f"wanted {entry.bytes:,} bytes, got {size_bytes:,}")
    if digest != entry.sha256:
        yield _finding(entry.path, "digest", f"wanted sha256 {entry.sha256}, got {digest}")


def _row_findings(
    dataset: Dataset, entry: FileEntry, settings: VerifySettings, ids: list[_Ids]
) -> Iterator[Finding]:
    if entry.kind == "pairs":
        yield from _pair_findings(dataset, entry, settings, ids)
    elif entry.kind == "sequences":
        yield from _sequence_findings(dataset, entry, settings)
    else:
        found = len(read_quarantine(dataset.store, entry.path))
        if found != entry.rows:
            yield _finding(entry.path, "rows", f"wanted {entry.rows:,} rows, got {found:,}")


def _pair_findings(
    dataset: Dataset, entry: FileEntry, settings: VerifySettings, ids: list[_Ids]
) -> Iterator[Finding]:
    reader = PairsReader(dataset.store, entry, dataset.skeleton, dataset.keypoint_skeleton)
    limiter = _Limiter(entry.path, settings.max_rows_per_check)
    for group in range(reader.n_groups):
        first = int(reader.group_starts[group])
        try:
            batch = dataset.batch_of(reader.read_group(group))
        except ShardError as error:
            yield _finding(entry.path, "unreadable", f"row group {group}: {error}", row=first)
            continue
        ids.append(_Ids(entry.path, first, batch.sample_id))
        for fault in pair_faults(batch, settings.projection_tolerance_px):
            yield from limiter.findings(fault, first)
    yield from limiter.rest()


def _sequence_findings(dataset: Dataset, entry: FileEntry, settings: VerifySettings) -> Iterator[Finding]:
    limiter = _Limiter(entry.path, settings.max_rows_per_check)
    frames = 0
    for clip in read_clips(dataset.store, entry, dataset.skeleton):
        for fault in clip_faults(clip):
            yield from limiter.findings(fault, frames)
        frames += len(clip)
    yield from limiter.rest()
    if frames != entry.rows:
        yield _finding(entry.path, "rows", f"wanted {entry.rows:,} frames, got {frames:,} in its clips")


class _Limiter:
    """Names the first rows of every check in a file, and counts the others."""

    def __init__(self, path: str, limit: int) -> None:
        self._path, self._limit = path, limit
        self._named: dict[str, int] = {}
        self._unnamed: dict[str, int] = {}

    def findings(self, fault: RowFault, first_row: int) -> Iterator[Finding]:
        named = self._named.get(fault.check, 0)
        portion = fault.rows[: max(self._limit - named, 0)].tolist()
        self._named[fault.check] = named + len(portion)
        self._unnamed[fault.check] = self._unnamed.get(fault.check, 0) + len(fault.rows) - len(portion)
        for row in portion:
            yield Finding(
                path=self._path, row=first_row + row, check=fault.check, message=fault.describe(row)
            )

    def rest(self) -> Iterator[Finding]:
        for check, count in self._unnamed.items():
            if count:
                message = f"{count:,} more rows of this file break the same rule"
                yield Finding(path=self._path, row=None, check=check, message=message, count=count)


def _duplicate_findings(blocks: Sequence[_Ids], limit: int) -> Iterator[Finding]:
    """Sample ids that occur more than once, in one file or in several; the first occurrence is not named."""
    if not blocks:
        return
    all_ids = np.concatenate([block.sample_id for block in blocks])
    order = np.argsort(all_ids, kind="stable")
    again = np.sort(order[1:][all_ids[order[1:]] == all_ids[order[:-1]]])
    block_starts = np.cumsum([0, *(len(block.sample_id) for block in blocks)])
    block_of = np.searchsorted(block_starts, again, side="right") - 1
    limiters: dict[str, _Limiter] = {}
    for number in np.unique(block_of).tolist():
        block = blocks[number]
        limiter = limiters.setdefault(block.path, _Limiter(block.path, limit))
        rows = again[block_of == number] - block_starts[number]
        yield from limiter.findings(RowFault("duplicate", rows, block.describe_duplicate), block.first_row)
    for limiter in limiters.values():
        yield from limiter.rest()
