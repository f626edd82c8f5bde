"""Finds and removes what no version of a dataset needs: files of attempts that died or lost their race.

Garbage is a data file (or sequence folder) that no manifest and no commit names, and a temporary file or
folder of a writer, older than a lease. A running job writes its files before the commit that names them, so
the lease must be longer than the longest unit; all times are the store's own. The files are listed before the
commits are read: what is committed in between is seen. Right before a removal its times are looked at again, since
another attempt may just have written the same bytes under the same name, and afterwards the commits are read
once more.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from storage.commit import UnitCommit, commit_path, read_commits
from storage.delta import LOG_FOLDER, TABLE_FOLDER
from storage.digests import NAME_DIGITS
from storage.errors import CommitConflictError, DatasetError
from storage.manifest import manifest_versions, read_manifest
from storage.object_store import ObjectStore, StoredFile
from storage.paths import is_hidden

_MADE_BY_WRITER = re.compile(
    rf"(?:pairs|quarantine)/[0-9a-f]{{{NAME_DIGITS}}}\.parquet|sequences/[0-9a-f]{{{NAME_DIGITS}}}\.zarr"
)
_DATA_FOLDERS = ("pairs/", "sequences/", "quarantine/")
_TEMPORARY = re.compile(r"(?:.*/)?\.[^/]*\.[0-9a-f]{32}\.tmp")
_SCRATCH = re.compile(r"(\.scratch/[^/]+)/.*")
_OLD_PROBE = re.compile(r"\.probe/[0-9a-f]{32}")

_READ_AT_ONCE = 1_000

GarbageKind = Literal["unnamed", "temporary", "upload"]


class GarbageSettings(BaseModel):
    """What counts as garbage."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    lease_h: float = Field(default=24.0, ge=0)
    """Hours that a file may stand there before a commit names it."""


class Garbage(BaseModel):
    """One file or folder to remove.

    Args:
        path: Below the dataset.
        kind: "unnamed" data, a writer's "temporary" file or folder, or an unfinished "upload".
        files: In it.
        bytes: Of all of them; those of an upload are not known.
        written_unix_s: When the youngest of them was written.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    kind: GarbageKind
    files: int
    bytes: int
    written_unix_s: float


class GarbageReport(BaseModel):
    """What was found, and whether it was removed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    lease_h: float
    removed: bool
    garbage: tuple[Garbage, ...]
    young: tuple[Garbage, ...]
    """Like garbage, but younger than the lease: a job may be about to name it."""
    unknown: tuple[str, ...]
    """Files in the data folders that no writer of posemill names so; left alone."""

    @property
    def bytes(self) -> int:
        """Of all garbage."""
        return sum(item.bytes for item in self.garbage)


@dataclass(frozen=True)
class _Named:
    """The data files that versions and commits name, and the paths of those commits."""

    paths: frozenset[str]
    commits: frozenset[str]


def find_garbage(store: ObjectStore, settings: GarbageSettings, now_unix_s: float) -> GarbageReport:
    """What could be removed; removes nothing.

    Args:
        store: The dataset's root.
        settings: The lease.
        now_unix_s: On the store's clock.

    Raises:
        DatasetError: if there is no dataset here.
        ManifestError: if a version or commit cannot be read: what it names would not be known.
    """
    return _find(store, settings, now_unix_s)[0]


def collect_garbage(store: ObjectStore, settings: GarbageSettings | None = None) -> GarbageReport:
    """Removes the garbage of a dataset; safe beside running jobs whose units take less than the lease.

    Raises:
        DatasetError, ManifestError: as `find_garbage`.
        CommitConflictError: if a commit that came meanwhile names a removed file; says what to run again.
    """
    report, named = _find(store, settings or GarbageSettings(), store.now_unix_s())
    removed = tuple(item for item in report.garbage if _remove(store, item))
    _check_new_commits(store, named, {item.path for item in removed})
    return report.model_copy(update={"removed": True, "garbage": removed})


def _find(store: ObjectStore, settings: GarbageSettings, now_unix_s: float) -> tuple[GarbageReport, _Named]:
    items, unknown = _candidates(store)  # before the commits are read, never after
    named = _named(store)
    unnamed = [item for item in items if item.path not in named.paths]
    oldest_kept_s = now_unix_s - settings.lease_h * 3600
    old = {item.path for item in unnamed if item.written_unix_s < oldest_kept_s}
    report = GarbageReport(
        url=store.url,
        lease_h=settings.lease_h,
        removed=False,
        garbage=tuple(item for item in unnamed if item.path in old),
        young=tuple(item for item in unnamed if item.path not in old),
        unknown=tuple(path for path in unknown if path not in named.paths),
    )
    return report, named


def _named(store: ObjectStore) -> _Named:
    """Everything that any version or any commit names, of runs alive and dead."""
    commit_paths = store.list("commits")
    versions = manifest_versions(store)
    if not versions and not commit_paths and not store.list("runs"):
        raise DatasetError(
            f"{store.url}: no dataset here: wanted manifests/, commits/ or runs/; nothing is removed. Check the"
            " path"
        )
    paths = {file.path for commit in _commits(store, commit_paths) for file in commit.files}
    for version in versions:
        paths |= {file.path for file in read_manifest(store, version).files}
    return _Named(frozenset(paths), frozenset(commit_paths))


def _commits(store: ObjectStore, paths: Sequence[str]) -> Iterator[UnitCommit]:
    """The commits at these paths, some at a time: those of a long run do not fit into memory as objects."""
    for start in range(0, len(paths), _READ_AT_ONCE):
        yield from read_commits(store, list(paths[start : start + _READ_AT_ONCE]))


def _candidates(store: ObjectStore) -> tuple[list[Garbage], list[str]]:
    """All data and temporary files as things to remove, and the files that are neither ours nor named."""
    groups: dict[tuple[str, GarbageKind], list[StoredFile]] = {}
    unknown: list[str] = []
    for file in store.files("", hidden=True):
        thing = _thing_of(file.path)
        if thing is not None:
            groups.setdefault(thing, []).append(file)
        elif (
            file.path.startswith(_DATA_FOLDERS) and not is_hidden(file.path) and not _is_delta_log(file.path)
        ):
            unknown.append(file.path)
    found = [_garbage(path, kind, files) for (path, kind), files in groups.items()]
    found += [_garbage(upload.path, "upload", [upload]) for upload in store.unfinished_uploads()]
    return sorted(found, key=lambda item: (item.path, item.kind)), unknown


def _is_delta_log(path: str) -> bool:
    """Whether the file belongs to the Delta table that `posemill register --delta` keeps beside the pairs."""
    return path.startswith(f"{TABLE_FOLDER}/{LOG_FOLDER}/")


def _thing_of(path: str) -> tuple[str, GarbageKind] | None:
    """The file or folder that lives and dies as one, or None when this file is no concern of ours."""
    scratch = _SCRATCH.fullmatch(path)
    if scratch:
        return scratch.group(1), "temporary"
    if _TEMPORARY.fullmatch(path) or _OLD_PROBE.fullmatch(path):
        return path, "temporary"
    top = "/".join(path.split("/")[:2])
    return (top, "unnamed") if _MADE_BY_WRITER.fullmatch(top) else None


def _garbage(path: str, kind: GarbageKind, files: Sequence[StoredFile]) -> Garbage:
    return Garbage(
        path=path,
        kind=kind,
        files=len(files),
        bytes=sum(file.size_bytes for file in files),
        written_unix_s=max(file.modified_unix_s or 0.0 for file in files),
    )


def _remove(store: ObjectStore, item: Garbage) -> bool:
    """Removes one thing unless it was written again meanwhile; whether it did."""
    if item.kind == "upload":
        store.abandon_uploads(item.path, item.written_unix_s)
        return True
    folder, _, _ = item.path.rpartition("/")
    is_folder = item.path.endswith(".zarr") or item.path.startswith(".scratch/")
    now = [
        file
        for file in store.files(item.path if is_folder else folder, hidden=True)
        if file.path == item.path or file.path.startswith(f"{item.path}/")
    ]
    if not now or _garbage(item.path, item.kind, now) != item:
        return False
    if is_folder:
        store.delete_tree(item.path)
    else:
        store.delete(item.path)
    return True


def _check_new_commits(store: ObjectStore, before: _Named, removed: Iterable[str]) -> None:
    """Raises when a commit that came since names what was removed: the lease was shorter than a unit."""
    gone = set(removed)
    if not gone:
        return
    new = [path for path in store.list("commits") if path not in before.commits]
    hit = [commit for commit in _commits(store, new) if any(file.path in gone for file in commit.files)]
    if hit:
        raise CommitConflictError(
            f"{store.url}: while garbage was removed, {len(hit)} units were committed that name removed files,"
            f" first {hit[0].unit_id!r}: the lease is shorter than these units take. Delete"
            f" {commit_path(hit[0].run_id, hit[0].unit_id)} (and the others), run the job again, and give"
            " gc a longer --lease"
        )
