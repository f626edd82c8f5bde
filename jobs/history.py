"""`posemill gc` and `posemill diff`: the past of a dataset, in words."""

import json
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from jobs.locate import joined
from jobs.redaction import redacted, redacted_text
from jobs.report.formatting import bytes_text
from pipelines.errors import PlanError
from pipelines.status import run_status
from storage.difference import FileChange, RunChange, ValueChange, VersionDifference, difference
from storage.errors import DatasetError
from storage.garbage import Garbage, GarbageReport, GarbageSettings, collect_garbage, find_garbage
from storage.object_store import ObjectStore, open_store

_PARTS = re.compile(r"(datasets/[^/]+/)?(?:manifests|commits|runs)/.+")
_SAFE_LEASE_H = 1.0
_SHOWN = 20
_SIGNS = {"added": "+", "removed": "-", "changed": "~"}


def clean_datasets(url: str, lease_h: float, dry_run: bool) -> list[GarbageReport]:
    """Finds the garbage of a dataset, or of all datasets of a run, and removes it unless it is a dry run.

    Raises:
        DatasetError: if there is no dataset, or a job is at work and the lease is shorter than an hour.
    """
    settings = GarbageSettings(lease_h=lease_h)
    reports: list[GarbageReport] = []
    for root in _dataset_roots(url):
        store = open_store(root)
        if dry_run:
            reports.append(find_garbage(store, settings, datetime.now(UTC).timestamp()))
        else:
            _refuse_short_lease(root, lease_h)
            reports.append(collect_garbage(store, settings))
    return reports


def _dataset_roots(url: str) -> list[str]:
    """The dataset at a URL and those below its `datasets/`, published or not."""
    store = open_store(url)
    top = any(_has_files(store, folder) for folder in ("manifests", "commits"))
    below = {
        found.group(1) for found in map(_PARTS.fullmatch, store.list("datasets")) if found and found.group(1)
    }
    roots = [*([url] if top else []), *(joined(url, name.rstrip("/")) for name in sorted(below))]
    if not roots and _has_files(store, "runs"):
        return [url]
    if not roots:
        raise DatasetError(
            f"{url}: there is no dataset (no manifests/ or commits/ here or below datasets/); give the folder that a"
            " run wrote, or one of its datasets"
        )
    return roots


def _has_files(store: ObjectStore, folder: str) -> bool:
    return bool(store.list(folder))


def _refuse_short_lease(url: str, lease_h: float) -> None:
    """The files of a job at work are not named yet, and only the lease protects them. One that is silent may be at a
    long unit."""
    if lease_h >= _SAFE_LEASE_H:
        return
    try:
        running = [run.run_id for run in run_status(url) if run.condition in ("running", "silent")]
    except PlanError:
        return
    if running:
        raise DatasetError(
            f"{url}: {running[0]} is at work here, or fell silent, and --lease {lease_h:g} h could be shorter than"
            f" one of its units;"
            f" wait for its end, or give --lease {_SAFE_LEASE_H:g} or more"
        )


def garbage_lines(report: GarbageReport) -> list[str]:
    """What was found, for a reader."""
    url, count = redacted_text(report.url), len(report.garbage)
    verb = "removed" if report.removed else "would be removed"
    things = "1 thing" if count == 1 else f"{count:,} things"
    found = [
        f"{url}: {things} that no version and no commit names, older than {report.lease_h:g} h,"
        f" {bytes_text(report.bytes)} in all: {verb}"
    ]
    if not count:
        found = [
            f"{url}: nothing to remove: versions and commits name everything older than {report.lease_h:g} h"
        ]
    found += _limited([_garbage_line(item) for item in report.garbage])
    if report.young:
        size = bytes_text(sum(item.bytes for item in report.young))
        found.append(f"  {len(report.young)} younger ones stay, {size}: a job may be about to commit them")
    if report.unknown:
        found.append(
            f"  {len(report.unknown)} files that are not posemill's stay, such as {report.unknown[0]}"
        )
    return found


def _garbage_line(item: Garbage) -> str:
    written = datetime.fromtimestamp(item.written_unix_s, UTC).strftime("%Y-%m-%d %H:%M UTC")
    files = f"{item.files} files, " if item.files > 1 else ""
    return f"  {item.kind:<9}  {item.path}  {files}{bytes_text(item.bytes)}, {written}"


def garbage_json(reports: Sequence[GarbageReport]) -> list[dict[str, Any]]:
    """The same for a program."""
    return [{**report.model_dump(mode="json"), "bytes": report.bytes} for report in reports]


def diff_versions(url: str, before: int, after: int) -> VersionDifference:
    """What changed between two versions of a dataset; values of secret-looking keys are `***`.

    Raises:
        DatasetError: if there is no dataset, several (a run's folder), or not these versions.
    """
    roots = _dataset_roots(url)
    if len(roots) > 1:
        raise DatasetError(
            f"{url}: wanted one dataset, found {len(roots)}: {', '.join(roots)}; give one of them"
        )
    found = difference(open_store(roots[0]), before, after)
    return found.model_copy(update={"runs": tuple(map(_run_without_secrets, found.runs))})


def difference_json(found: VersionDifference) -> dict[str, Any]:
    """The difference for a program."""
    return {**redacted(found.model_dump(mode="json")), "same": found.is_empty}


def difference_lines(found: VersionDifference) -> list[str]:
    """The difference for a reader."""
    head = f"{redacted_text(found.url)}: v{found.before:06d} -> v{found.after:06d}"
    if found.is_empty:
        return [f"{head}: no difference"]
    return [head, *_indented(_sections(found))]


def _sections(found: VersionDifference) -> Iterator[str]:
    for kind, (was, is_now) in found.rows.items():
        if was != is_now:
            yield f"{kind:<12} {was:,} -> {is_now:,} ({is_now - was:+,})"
    if found.bytes[0] != found.bytes[1]:
        yield f"{'size':<12} {bytes_text(found.bytes[0])} -> {bytes_text(found.bytes[1])}"
    for change, keys in found.units.items():
        if keys:
            yield f"{'units':<12} {len(keys):,} {change}"
    yield from _limited([_file_line(file) for file in found.files])
    if found.runs:
        yield "lineage"
        for run in found.runs:
            yield from _indented(_run_lines(run))
    for title, changes in (("counters", found.counters), ("statistics", found.statistics)):
        if changes:
            yield title
            yield from _limited(list(_indented(map(_value_line, changes))))


def _run_lines(run: RunChange) -> Iterator[str]:
    other = f", against {run.compared_with}" if run.compared_with not in (None, run.run_id) else ""
    yield f"{_SIGNS[run.change]} {run.run_id}{other}"
    yield from _limited(list(_indented(map(_value_line, run.values))))


def _run_without_secrets(run: RunChange) -> RunChange:
    return run.model_copy(update={"values": tuple(map(_without_secrets, run.values))})


def _without_secrets(change: ValueChange) -> ValueChange:
    """Both sides as they may be shown under this name, of which any part may tell of a secret."""
    sides = {"before": change.before, "after": change.after}
    for part in change.name.split("."):
        sides = {side: redacted({part: value})[part] for side, value in sides.items()}
    return change.model_copy(update=sides)


def _file_line(file: FileChange) -> str:
    size = bytes_text(abs(file.bytes))
    return f"{_SIGNS[file.change]} {file.path}  {file.rows:+,} rows, {'-' if file.bytes < 0 else ''}{size}"


def _value_line(change: ValueChange) -> str:
    if change.change == "changed":
        return f"~ {change.name}: {_shown(change.before)} -> {_shown(change.after)}"
    value = change.after if change.change == "added" else change.before
    return f"{_SIGNS[change.change]} {change.name}: {_shown(value)}"


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = redacted_text(json.dumps(value, default=str))
    return text if len(text) <= 70 else f"{text[:67]}..."


def _indented(lines: Any) -> Iterator[str]:
    return (f"  {line}" for line in lines)


def _limited(lines: list[str]) -> list[str]:
    """The first lines, and how many more there are."""
    more = len(lines) - _SHOWN
    return lines if more <= 0 else [*lines[:_SHOWN], f"  and {more:,} more (all with --json)"]
