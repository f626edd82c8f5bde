"""Immutable versions of a dataset. Readers trust manifests only: a file that none names does not exist.

Version N+1 holds everything of its parent N and the commits that were not in it yet. Two publishers race for
the next number by put-if-absent; the loser reads the winner's version and tries the number after it.
"""

import re
import uuid
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from poses.batch import other_keypoints
from poses.errors import SkeletonError
from poses.skeleton import Skeleton
from storage.card import CARD_PATH, dataset_card, write_card
from storage.commit import FileEntry, UnitCommit, canonical_json, first_fault
from storage.errors import CommitConflictError, DatasetError, ManifestError
from storage.object_store import ObjectStore, read_if_there
from storage.packed_commits import PackedCommits
from storage.paths import manifest_path
from storage.statistics import Statistics

SCHEMA_VERSION = 2
"""Newest layout on disk that can be read: folders, manifest, Parquet columns, Zarr arrays. Layout 1 is written wherever
it can say everything, so that older readers open it; 2 has keypoints with a skeleton of their own."""

MAX_PUBLISH_ATTEMPTS = 200

_CARD_ROUNDS = 5
"""One to write the card and one to see that it is still right; more if others publish meanwhile."""

_MANIFEST_NAME = re.compile(r"manifests/v(\d{6,})\.json")


def layout_version(other_keypoints: bool) -> int:
    """Version of the layout of data with or without keypoints of a skeleton of their own."""
    return 2 if other_keypoints else 1


class Manifest(BaseModel):
    """One version of a dataset: its files and what is known of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = Field(ge=1)
    parent: int | None
    schema_version: int
    writer_id: str
    skeleton: dict[str, Any]
    keypoint_skeleton: dict[str, Any] | None = None
    """Of the 2D keypoints, where they have other joints than the poses; left out of the file where they have not."""
    files: tuple[FileEntry, ...]
    rows: int = Field(ge=0)
    """Pairs in all files."""
    statistics: Statistics
    run_ids: tuple[str, ...]
    commits: tuple[str, ...]
    """`<run>/<unit>` of every commit in this version, sorted."""
    quarantined: int = 0
    rejected: dict[str, int] = {}
    lineage: dict[str, dict[str, Any]] = {}
    """Run id -> what the run was made of (job, inputs, code version), as its publisher told."""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.parent is not None and not 1 <= self.parent < self.version:
            raise ValueError(f"parent {self.parent}: wanted a version before {self.version}")
        named = Counter(file.path for file in self.files)
        twice = next((path for path, count in named.items() if count > 1), None)
        if twice is not None:
            raise ValueError(f"files: {twice} stands there twice; its rows would be read twice")
        if layout_version(self.keypoint_skeleton is not None) > self.schema_version:
            raise ValueError(f"keypoint_skeleton: layout {self.schema_version} has none")
        return self

    @model_serializer(mode="wrap")
    def _as_old_where_it_can_be(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = plain(self)
        if self.keypoint_skeleton is None:
            values.pop("keypoint_skeleton", None)
        return values

    def files_of(self, kind: str) -> tuple[FileEntry, ...]:
        """The files of one kind, in manifest order."""
        return tuple(file for file in self.files if file.kind == kind)


def manifest_versions(store: ObjectStore) -> list[int]:
    """Every published version, ascending; empty when nothing was published."""
    matches = (_MANIFEST_NAME.fullmatch(path) for path in store.list("manifests"))
    return sorted(int(match.group(1)) for match in matches if match)


def read_manifest(store: ObjectStore, version: int | None = None) -> Manifest:
    """A version of the dataset; the latest without a number.

    Raises:
        DatasetError: if there is no dataset here, or not this version of it.
        ManifestError: if the manifest cannot be read, is from a newer posemill, or has paths out of the
            dataset.
    """
    if version is not None and version > 0:
        data = read_if_there(store, manifest_path(version))
        if data is not None:
            return _parsed(store, version, data)
    versions = manifest_versions(store)
    if not versions:
        raise DatasetError(
            f"{store.url}: wanted a posemill dataset (manifests/v000001.json), found no manifest; check the"
            " path, or run the job that makes the dataset to its end"
        )
    if version is not None:
        raise DatasetError(f"{store.url}: no version {version}; its versions are {_spans(versions)}")
    return _parse_manifest(store, versions[-1])


def manifest_skeleton(store: ObjectStore, manifest: Manifest) -> Skeleton:
    """The skeleton that a manifest holds."""
    return _skeleton_of(store, manifest, manifest.skeleton, "skeleton")


def manifest_keypoint_skeleton(store: ObjectStore, manifest: Manifest) -> Skeleton | None:
    """The skeleton of the keypoints, where a manifest holds one that has other joints."""
    if manifest.keypoint_skeleton is None:
        return None
    named = _skeleton_of(store, manifest, manifest.keypoint_skeleton, "keypoint_skeleton")
    return other_keypoints(manifest_skeleton(store, manifest), named)


def _skeleton_of(store: ObjectStore, manifest: Manifest, values: Mapping[str, Any], field: str) -> Skeleton:
    try:
        return Skeleton.from_dict(values)
    except SkeletonError as error:
        raise ManifestError(
            f"{store.url}/{manifest_path(manifest.version)}: its {field} is ill-formed: {error}"
        ) from error


def publish_manifest(
    store: ObjectStore,
    run_id: str,
    commits: Iterable[UnitCommit],
    skeleton: Skeleton,
    lineage: Mapping[str, Any] | None = None,
    replaces: Collection[str] = (),
    keypoint_skeleton: Skeleton | None = None,
) -> Manifest:
    """Publishes the next version: the latest one plus the commits that are not in it yet.

    Publishing again is harmless: when every commit is in already, the latest version is returned as it is.

    Args:
        store: The dataset's root.
        run_id: The run that the commits belong to.
        commits: Commits to make part of the dataset, in any order.
        skeleton: The dataset's skeleton; must be the parent's.
        lineage: What the run was made of (JSON values without secrets); kept under the run's id.
        replaces: Quarantine files whose rows the commits settle or hold anew; the next version has them no
            more (older versions still do).
        keypoint_skeleton: Of the keypoints, where they have other joints; must be the parent's.

    Raises:
        DatasetError: if the dataset has another skeleton.
        CommitConflictError: if other publishers keep winning, or one of them has replaced those files.
    """
    wanted = PackedCommits(commits).by_key()
    writer_id = uuid.uuid4().hex
    for _ in range(MAX_PUBLISH_ATTEMPTS):
        versions = manifest_versions(store)
        parent = _parse_manifest(store, versions[-1]) if versions else None
        if parent is not None:
            _check_same_skeleton(store, parent, skeleton, keypoint_skeleton)
            present = set(parent.commits)
            if not wanted.by_key(without=present):
                renew_card(store, parent)
                return parent
        _check_replaced(store, parent, replaces)
        manifest = _next_manifest(
            parent, run_id, wanted, (skeleton, keypoint_skeleton), dict(lineage or {}), writer_id, replaces
        )
        path = manifest_path(manifest.version)
        if (
            store.put_if_absent(path, canonical_json(manifest))
            or _parse_manifest(store, manifest.version).writer_id == writer_id
        ):
            renew_card(store, manifest)
            return manifest
    raise CommitConflictError(
        f"{store.url}: another writer won {MAX_PUBLISH_ATTEMPTS} times in a row; let one process publish"
        " this dataset"
    )


def renew_card(store: ObjectStore, known: Manifest | None = None) -> None:
    """Makes the dataset's card that of the latest version.

    A publisher may die between its manifest and the card, or be overtaken there by the next one; whoever publishes,
    or finds everything published, puts that right.

    Args:
        store: The dataset's root.
        known: A version that need not be read again if it is the latest.
    """
    for _ in range(_CARD_ROUNDS):
        versions = manifest_versions(store)
        if not versions:
            return
        if known is None or known.version != versions[-1]:
            known = _parse_manifest(store, versions[-1])
        if read_if_there(store, CARD_PATH) == dataset_card(known).encode():
            return
        write_card(store, known)


def _next_manifest(
    parent: Manifest | None,
    run_id: str,
    wanted: PackedCommits,
    skeletons: tuple[Skeleton, Skeleton | None],
    lineage: dict[str, Any],
    writer_id: str,
    replaces: Collection[str] = (),
) -> Manifest:
    """The parent's content less what is replaced, and the new commits; a file that two commits name counts once."""
    present = set(parent.commits) if parent else set()
    new = wanted.by_key(without=present)
    files = {file.path: file for file in (parent.files if parent else ())}
    settled = sum(files.pop(path).rows for path in replaces)
    rejected = Counter(parent.rejected if parent else {})
    runs = {run_id, *(parent.run_ids if parent else ())}
    quarantined = (parent.quarantined if parent else 0) - settled

    def statistics() -> Iterator[Statistics]:
        """One pass over the commits, which may be many: all that is taken of them is taken here."""
        nonlocal quarantined
        if parent is not None:
            yield parent.statistics
        for commit in new:
            files.update({file.path: file for file in commit.files})
            rejected.update(commit.rejected)
            runs.add(commit.run_id)
            quarantined += commit.quarantined
            yield commit.statistics

    whole = Statistics.merge_all(statistics())
    skeleton, keypoints = skeletons[0], other_keypoints(*skeletons)
    return Manifest(
        version=parent.version + 1 if parent else 1,
        parent=parent.version if parent else None,
        schema_version=layout_version(keypoints is not None),
        writer_id=writer_id,
        skeleton=skeleton.to_dict(),
        keypoint_skeleton=None if keypoints is None else keypoints.to_dict(),
        files=tuple(files[path] for path in sorted(files)),
        rows=sum(file.rows for file in files.values() if file.kind == "pairs"),
        statistics=whole,
        run_ids=tuple(sorted(runs)),
        commits=tuple(sorted({*present, *new.keys()})),
        quarantined=quarantined,
        rejected=dict(sorted(rejected.items())),
        lineage={**(parent.lineage if parent else {}), **({run_id: lineage} if lineage else {})},
    )


def _check_replaced(store: ObjectStore, parent: Manifest | None, replaces: Collection[str]) -> None:
    """Only quarantine files that the latest version still has may be replaced: whoever came first has settled them."""
    present = {file.path for file in parent.files_of("quarantine")} if parent else set()
    if gone := sorted(set(replaces) - present):
        raise CommitConflictError(
            f"{store.url}: wanted to replace the quarantine file {gone[0]}, which the latest version does not"
            " have; another retry has settled its rows meanwhile, nothing was published; run it again for"
            " what is left"
        )


def _parse_manifest(store: ObjectStore, version: int) -> Manifest:
    return _parsed(store, version, store.read_bytes(manifest_path(version)))


def _parsed(store: ObjectStore, version: int, data: bytes) -> Manifest:
    path = manifest_path(version)
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        raise ManifestError(
            f"{store.url}/{path}: not a manifest that this posemill can read: {first_fault(error)}; was it"
            " edited, or written by a newer posemill?"
        ) from error
    if manifest.schema_version > SCHEMA_VERSION or manifest.version != version:
        raise ManifestError(
            f"{store.url}/{path}: wanted version {version} in a layout up to {SCHEMA_VERSION}, got version"
            f" {manifest.version} in layout {manifest.schema_version}; update posemill, or restore the file"
        )
    return manifest


def _check_same_skeleton(
    store: ObjectStore, parent: Manifest, skeleton: Skeleton, keypoint_skeleton: Skeleton | None
) -> None:
    """One dataset has one skeleton: the same joints in the same order under the same parents."""
    theirs = manifest_skeleton(store, parent)
    if (theirs.joints, theirs.parents) != (skeleton.joints, skeleton.parents):
        raise DatasetError(
            f"{store.url}: the dataset's skeleton is {theirs.name!r} ({theirs.n_joints} joints), the new"
            " rows have"
            f" {skeleton.name!r} ({skeleton.n_joints} joints); map them to the dataset's skeleton or write"
            " another dataset"
        )
    had = manifest_keypoint_skeleton(store, parent) or theirs
    have = other_keypoints(skeleton, keypoint_skeleton) or skeleton
    if had.joints != have.joints:
        raise DatasetError(
            f"{store.url}: the dataset's keypoints are of {had.name!r}, the new rows' of {have.name!r}; map them"
            " (poses.skeleton.joint_map), or write another dataset"
        )


def _spans(versions: Sequence[int]) -> str:
    """`1` or `1 to 7`."""
    return str(versions[0]) if len(versions) == 1 else f"{versions[0]} to {versions[-1]}"
