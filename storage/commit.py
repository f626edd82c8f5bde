"""A commit makes one unit's result visible, once.

Data files have names made of their content, so writing them twice does no harm. The unit's commit is put only
if it is absent; whoever finds it taken reads it back: with its own writer id inside, an answer was lost and
the commit is its own; with another's, the unit is done and that commit counts.
"""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from storage.errors import CommitConflictError, ManifestError, StoreError
from storage.object_store import ObjectStore, read_if_there
from storage.paths import checked_data_path, name_part
from storage.statistics import Statistics

FileKind = Literal["pairs", "sequences", "quarantine"]

_READERS = 16
"""Commits read at the same time: one by one, 10,000 of them take minutes from an object store."""
_READ_AT_ONCE = 1_000
"""So many are in memory as objects, which take 30 KB each."""


def _path_in_dataset(path: str) -> str:
    try:
        return checked_data_path(path)
    except StoreError as error:
        raise ValueError(str(error)) from error


class FileEntry(BaseModel):
    """One data file (or Zarr group) of a dataset.

    `rows` counts pairs, frames (sequences) or quarantined rows; `sha256` is the file's, or for a group that
    of its sorted file list (`storage.digests.tree_digest`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Annotated[str, AfterValidator(_path_in_dataset)]
    kind: FileKind
    rows: Annotated[int, Field(ge=0)]
    bytes: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]

    @model_validator(mode="after")
    def _stands_in_its_folder(self) -> Self:
        if not self.path.startswith(f"{self.kind}/"):
            raise ValueError(f"path {self.path!r}: wanted a file of {self.kind} in the folder {self.kind}/")
        return self


class UnitCommit(BaseModel):
    """What one unit wrote, and what it could not use."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str
    unit_id: str
    writer_id: str
    files: tuple[FileEntry, ...]
    rows: int
    """Pairs written."""
    min_id: int | None = None
    max_id: int | None = None
    statistics: Statistics = Statistics()
    quarantined: int = 0
    rejected: dict[str, int] = {}
    """Reason -> rows that the stage left out on purpose."""

    @property
    def key(self) -> str:
        """`<run>/<unit>`, quoted as in paths; unique in a dataset."""
        return commit_key(self.run_id, self.unit_id)


def commit_key(run_id: str, unit_id: str) -> str:
    """What names a commit in a manifest."""
    return f"{name_part(run_id)}/{name_part(unit_id)}"


def commit_path(run_id: str, unit_id: str) -> str:
    """Where the commit of a unit stands."""
    return f"commits/{name_part(run_id)}/{name_part(unit_id)}.json"


def put_commit(store: ObjectStore, commit: UnitCommit) -> UnitCommit:
    """Makes the unit visible unless it is already; returns the commit that counts.

    Finding the name taken is no lost race by itself: the commit there may be this writer's own, whose answer
    was lost. The writer id inside tells; with another's, that commit counts, and what this writer wrote and
    it does not name is garbage.

    Raises:
        CommitConflictError: if the name is taken by something that is no commit of this unit.
    """
    path = commit_path(commit.run_id, commit.unit_id)
    if store.put_if_absent(path, canonical_json(commit)):
        return commit
    existing = read_commit(store, commit.run_id, commit.unit_id)
    if existing is None:
        raise CommitConflictError(
            f"{store.url}/{path}: the store says that it exists, but it cannot be read; wanted the commit"
            f" of unit {commit.unit_id!r}; was it deleted meanwhile? run the unit again"
        )
    return commit if existing.writer_id == commit.writer_id else existing


def read_commit(store: ObjectStore, run_id: str, unit_id: str) -> UnitCommit | None:
    """The commit of a unit, or None when the unit is not done.

    Raises:
        CommitConflictError: if the file holds the commit of another unit.
        ManifestError: if the file is no commit.
    """
    path = commit_path(run_id, unit_id)
    data = read_if_there(store, path)
    if data is None:
        return None
    commit = _parsed(store, path, data)
    if (commit.run_id, commit.unit_id) != (run_id, unit_id):
        raise CommitConflictError(
            f"{store.url}/{path}: wanted the commit of run {run_id!r}, unit {unit_id!r}, got that of run"
            f" {commit.run_id!r}, unit {commit.unit_id!r}; the file was moved or edited, delete it and run"
            " the unit again"
        )
    return commit


def list_commits(store: ObjectStore, run_id: str) -> list[UnitCommit]:
    """All commits of a run, in the order of their paths."""
    return read_commits(store, store.list(f"commits/{name_part(run_id)}"))


def iter_commits(store: ObjectStore, run_id: str) -> Iterator[UnitCommit]:
    """All commits of a run as `list_commits` gives them, some at a time."""
    paths = store.list(f"commits/{name_part(run_id)}")
    for start in range(0, len(paths), _READ_AT_ONCE):
        yield from read_commits(store, paths[start : start + _READ_AT_ONCE])


def read_commits(store: ObjectStore, paths: list[str]) -> list[UnitCommit]:
    """The commits at these paths, several read at a time; other files than .json are left out."""
    with ThreadPoolExecutor(_READERS) as pool:
        wanted = [path for path in paths if path.endswith(".json")]
        return list(pool.map(lambda path: parse_commit(store, path), wanted))


def parse_commit(store: ObjectStore, path: str) -> UnitCommit:
    """Reads one commit file. Raises ManifestError if it is none."""
    return _parsed(store, path, store.read_bytes(path))


def _parsed(store: ObjectStore, path: str, data: bytes) -> UnitCommit:
    try:
        return UnitCommit.model_validate_json(data)
    except ValidationError as error:
        raise ManifestError(
            f"{store.url}/{path}: not a commit that this posemill can read: {first_fault(error)}; delete it"
            " and run the unit again"
        ) from error


def canonical_json(model: BaseModel) -> bytes:
    """Fields in their order, one space of indent, a final newline: equal models give equal bytes.

    Keys are not sorted: the order of a skeleton's joints is the order of its arrays.
    """
    values: dict[str, Any] = model.model_dump(mode="json")
    return (json.dumps(values, indent=1, allow_nan=False) + "\n").encode()


def first_fault(error: ValidationError) -> str:
    """The first complaint of pydantic in one line."""
    fault = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in fault["loc"])
    return f"{where or 'file'}: {fault['msg']}"
