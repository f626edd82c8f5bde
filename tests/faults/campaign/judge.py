"""Is everything as if nothing had happened? What is wrong, in words; an empty list when nothing is."""

from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from poses.batch import PoseBatch
from storage.errors import DatasetError
from storage.garbage import GarbageSettings, collect_garbage
from storage.manifest import manifest_versions, read_manifest
from storage.object_store import ObjectStore, open_store
from storage.reader import Dataset
from storage.verify import verify_dataset

_DATA = ("pairs", "sequences", "quarantine")
Names = Sequence[tuple[str, int | None]]


def same_dataset(url: str | Path, reference: Path) -> list[str]:
    """Whether a dataset is that of the undisturbed run: same rows, same files, same quarantine, no garbage left."""
    problems = same_rows(url, reference)
    got, wanted = Dataset.open(url).manifest, Dataset.open(reference).manifest
    for name in ("files", "rows", "commits", "run_ids", "quarantined", "rejected", "statistics", "version"):
        if getattr(got, name) != getattr(wanted, name):
            problems.append(
                f"{name} of the manifest: {getattr(got, name)} instead of {getattr(wanted, name)}"
            )
    store = open_store(url)
    if store.read_bytes("README.md") != open_store(reference).read_bytes("README.md"):
        problems.append("the dataset's card is not that of its version")
    return problems + swept(store)


def same_rows(
    url: str | Path, reference: Path, without: Iterable[int] = (), quarantine: Names | None = None
) -> list[str]:
    """Whether a dataset is sound and has exactly the rows of the undisturbed run, each with the same content.

    Args:
        without: Source ids of rows that must be missing.
        quarantine: Source and row of what must be in quarantine; by default what is in that of the reference.
    """
    got, wanted = Dataset.open(url), Dataset.open(reference)
    problems = [f"verify: {finding}" for finding in verify_dataset(got).findings[:3]]
    expected = _in_order(wanted.read_pairs())
    gone = np.isin(expected.source_id, np.asarray(list(without), np.int64))
    problems += _differences(_in_order(got.read_pairs()), expected.take(~gone))
    problems += _clip_differences(got, wanted, set(expected.clip[gone]))
    named = sorted((row.source, str(row.row)) for row in got.quarantined_rows())
    if quarantine is None:
        quarantine = [(row.source, row.row) for row in wanted.quarantined_rows()]
    if named != sorted((source, str(row)) for source, row in quarantine):
        problems.append(f"in quarantine: {named} instead of {quarantine}")
    return problems


def sound_or_absent(url: str | Path) -> list[str]:
    """Whether a reader sees a whole version or none: right after a crash, before anybody has cleaned up."""
    try:
        dataset = Dataset.open(url)
    except DatasetError:
        return []
    return [f"after the crash: {finding}" for finding in verify_dataset(dataset).findings[:3]]


def swept(store: ObjectStore) -> list[str]:
    """Whether `gc` takes away all that was left in the making, and no file of the dataset. On S3 it is not tried here:
    times there are whole seconds."""
    if "://" in store.url:
        return []
    collect_garbage(store, GarbageSettings(lease_h=0))
    left = {file.path for file in store.files("", hidden=True)}
    versions = [read_manifest(store, version) for version in manifest_versions(store)]
    named = {file.path for manifest in versions for file in manifest.files}
    gone = [path for path in named if not any(one == path or one.startswith(f"{path}/") for one in left)]
    problems = [f"gc took {gone[:3]}"] if gone else []
    data = {"/".join(path.split("/")[:2]) for path in left if path.split("/")[0] in _DATA}
    problems += [f"gc leaves {path}" for path in sorted(left) if _is_temporary(path)][:3]
    return problems + [f"gc leaves {path}, which no version names" for path in sorted(data - named)][:3]


def _is_temporary(path: str) -> bool:
    return path.endswith(".tmp") or path.startswith(".scratch")


def _in_order(pairs: PoseBatch) -> PoseBatch:
    return pairs.take(np.argsort(pairs.sample_id, kind="stable"))


def _differences(got: PoseBatch, wanted: PoseBatch) -> list[str]:
    """What differs between two batches in order of their ids; the first words about it."""
    mine, theirs = got.sample_id, wanted.sample_id
    if not np.array_equal(mine, theirs):
        lost, extra = np.setdiff1d(theirs, mine), np.setdiff1d(mine, theirs)
        twice = len(mine) - len(np.unique(mine))
        return [f"rows: {len(lost)} lost, {len(extra)} too many, {twice} twice, of {len(theirs)}"]
    problems = [
        f"column {one.name} differs"
        for one in fields(PoseBatch)
        if one.name not in ("skeleton", "extra", "keypoint_skeleton")
        and not _same(getattr(got, one.name), getattr(wanted, one.name))
    ]
    if set(got.extra) != set(wanted.extra):
        return [*problems, f"extra columns {sorted(got.extra)} instead of {sorted(wanted.extra)}"]
    return problems + [
        f"column {name} differs" for name in wanted.extra if not _same(got.extra[name], wanted.extra[name])
    ]


def _same(got: Any, wanted: Any) -> bool:
    """Whether two columns have the same bits (or texts)."""
    if got.dtype != wanted.dtype or got.shape != wanted.shape:
        return False
    return got.tolist() == wanted.tolist() if got.dtype == object else got.tobytes() == wanted.tobytes()


def _clip_differences(got: Dataset, wanted: Dataset, gone: set[str]) -> list[str]:
    mine, theirs = _clips(got), _clips(wanted)
    theirs = {key: joints for key, joints in theirs.items() if key not in gone}
    return [] if mine == theirs else [f"clips: {sorted(mine)} instead of {sorted(theirs)}, or other joints"]


def _clips(dataset: Dataset) -> dict[str, bytes]:
    """Joints of every clip by key; a clip that stands there twice is under a key of its own."""
    found: dict[str, bytes] = {}
    for number, clip in enumerate(dataset.clips()):
        key = clip.key if clip.key not in found else f"{clip.key} again ({number})"
        found[key] = clip.joints_world_m.tobytes()
    return found
