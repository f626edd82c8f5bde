"""What changed between two versions of a dataset: files, rows, statistics and what the runs were made of."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from storage.commit import FileEntry
from storage.manifest import Manifest, read_manifest
from storage.object_store import ObjectStore
from storage.statistics import ValueRange
from storage.summary import summarise_range

Change = Literal["added", "removed", "changed"]

_ABSENT = object()


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ValueChange(_Frozen):
    """One value by its dotted name; None beside `change` means that it is not there."""

    name: str
    change: Change
    before: Any = None
    after: Any = None


class FileChange(_Frozen):
    """One data file."""

    path: str
    kind: str
    change: Change
    rows: int
    """Rows that it adds, or takes away (negative)."""
    bytes: int


class RunChange(_Frozen):
    """What one run in the lineage was made of, against the run of the same job that it can be compared with.

    Args:
        run_id: The run.
        job: Its verb; "" where nothing was told.
        change: Whether its lineage was added, removed or changed.
        compared_with: The run of the other version that `values` tells the difference to; None without one,
            then `values` is everything.
        values: Recipe keys, inputs, weights and code version that differ.
    """

    run_id: str
    job: str
    change: Change
    compared_with: str | None
    values: tuple[ValueChange, ...]


class VersionDifference(_Frozen):
    """Everything that differs from version `before` to version `after`."""

    url: str
    before: int
    after: int
    files: tuple[FileChange, ...]
    rows: dict[str, tuple[int, int]]
    """Kind of file -> rows before and after."""
    bytes: tuple[int, int]
    units: dict[str, tuple[str, ...]]
    """"added" and "removed": `<run>/<unit>` of the commits."""
    counters: tuple[ValueChange, ...]
    """Quarantined rows, rejected rows by reason, skeleton, layout."""
    statistics: tuple[ValueChange, ...]
    """Ranges (`head_height_m.mean`) and counted names (`action.walk`)."""
    runs: tuple[RunChange, ...]

    @property
    def is_empty(self) -> bool:
        """Whether the two versions are alike."""
        changed = (
            self.files,
            self.units["added"],
            self.units["removed"],
            self.counters,
            self.statistics,
            self.runs,
        )
        return not any(changed)


def difference(store: ObjectStore, before: int, after: int) -> VersionDifference:
    """The difference between two versions, from their manifests alone; in either order.

    Raises:
        DatasetError: if there is no dataset here, or not these versions.
        ManifestError: if one of them cannot be read.
    """
    return difference_of(store.url, read_manifest(store, before), read_manifest(store, after))


def difference_of(url: str, before: Manifest, after: Manifest) -> VersionDifference:
    """The difference between two manifests."""
    kinds = ("pairs", "sequences", "quarantine")
    return VersionDifference(
        url=url,
        before=before.version,
        after=after.version,
        files=tuple(_file_changes(before.files, after.files)),
        rows={kind: (_rows(before, kind), _rows(after, kind)) for kind in kinds},
        bytes=(_bytes(before), _bytes(after)),
        units={
            "added": tuple(sorted(set(after.commits) - set(before.commits))),
            "removed": tuple(sorted(set(before.commits) - set(after.commits))),
        },
        counters=tuple(_value_changes("", _counters(before), _counters(after))),
        statistics=tuple(_value_changes("", _statistics(before), _statistics(after))),
        runs=tuple(_run_changes(before.lineage, after.lineage)),
    )


def _rows(manifest: Manifest, kind: str) -> int:
    return sum(file.rows for file in manifest.files_of(kind))


def _bytes(manifest: Manifest) -> int:
    return sum(file.bytes for file in manifest.files)


def _file_changes(before: Sequence[FileEntry], after: Sequence[FileEntry]) -> Iterator[FileChange]:
    old, new = {file.path: file for file in before}, {file.path: file for file in after}
    for path in sorted({*old, *new}):
        was, is_now = old.get(path), new.get(path)
        if was == is_now:
            continue
        some = is_now or was
        if some is None:
            continue
        change: Change = "added" if was is None else "removed" if is_now is None else "changed"
        yield FileChange(
            path=path,
            kind=some.kind,
            change=change,
            rows=(is_now.rows if is_now else 0) - (was.rows if was else 0),
            bytes=(is_now.bytes if is_now else 0) - (was.bytes if was else 0),
        )


def _counters(manifest: Manifest) -> dict[str, Any]:
    return {
        "quarantined": manifest.quarantined,
        "rejected": dict(manifest.rejected),
        "skeleton": manifest.skeleton.get("name"),
        "keypoint_skeleton": (manifest.keypoint_skeleton or manifest.skeleton).get("name"),
        "schema_version": manifest.schema_version,
    }


def _statistics(manifest: Manifest) -> dict[str, Any]:
    ranges: Mapping[str, ValueRange] = manifest.statistics.ranges
    return {
        **{name: summarise_range(values) for name, values in ranges.items()},
        **{name: dict(counts) for name, counts in manifest.statistics.counts.items()},
    }


def _run_changes(
    before: Mapping[str, Mapping[str, Any]], after: Mapping[str, Mapping[str, Any]]
) -> Iterator[RunChange]:
    """Runs whose lineage differs; one that came or went is compared with another run of its job."""
    for run_id in sorted({*before, *after}):
        was, is_now = before.get(run_id), after.get(run_id)
        if was is not None and is_now is not None:
            values = tuple(_value_changes("", was, is_now))
            if values:
                yield RunChange(
                    run_id=run_id, job=_job(is_now), change="changed", compared_with=run_id, values=values
                )
        elif is_now is not None:
            other = _like(is_now, before)
            values = tuple(_value_changes("", before.get(other or "", {}), is_now))
            yield RunChange(
                run_id=run_id, job=_job(is_now), change="added", compared_with=other, values=values
            )
        elif was is not None:
            other = _like(was, after)
            values = tuple(_value_changes("", was, after.get(other or "", {})))
            yield RunChange(
                run_id=run_id, job=_job(was), change="removed", compared_with=other, values=values
            )


def _job(lineage: Mapping[str, Any]) -> str:
    return str(lineage.get("job", ""))


def _like(lineage: Mapping[str, Any], others: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The run of the same job with the fewest differences; the first of several."""
    same_job = [run_id for run_id in sorted(others) if _job(others[run_id]) == _job(lineage)]
    return min(
        same_job, key=lambda run_id: len(list(_value_changes("", others[run_id], lineage))), default=None
    )


def _value_changes(name: str, before: Any, after: Any) -> Iterator[ValueChange]:
    """Leaves that differ, by dotted name; an empty mapping is a leaf."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in sorted({*before, *after}, key=str):
            inner = f"{name}.{key}" if name else str(key)
            yield from _value_changes(inner, before.get(key, _ABSENT), after.get(key, _ABSENT))
        return
    if before is _ABSENT or after is _ABSENT:
        present = after if before is _ABSENT else before
        if isinstance(present, Mapping) and present:
            for key in sorted(present, key=str):
                sides = (_ABSENT, present[key]) if before is _ABSENT else (present[key], _ABSENT)
                yield from _value_changes(f"{name}.{key}", *sides)
        elif before is _ABSENT:
            yield ValueChange(name=name, change="added", after=after)
        else:
            yield ValueChange(name=name, change="removed", before=before)
    elif json.dumps(before, sort_keys=True, default=str) != json.dumps(after, sort_keys=True, default=str):
        yield ValueChange(name=name, change="changed", before=before, after=after)
