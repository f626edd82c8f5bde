"""A new run on top of what a dataset holds: its rows must be new ones."""

from collections.abc import Iterator, Sequence

import numpy as np

from pipelines.errors import PlanError
from poses.skeleton import Skeleton
from storage.commit import FileEntry, UnitCommit
from storage.manifest import manifest_versions, read_manifest
from storage.object_store import ObjectStore
from storage.pairs_reader import PairsReader

_SHOWN = 3


def refuse_repeated_rows(
    store: ObjectStore, run_id: str, commits: Sequence[UnitCommit], skeleton: Skeleton
) -> None:
    """Raise PlanError if rows of the commits stand in the published dataset already, under the same ids.

    Costs a read of the id column of what other runs published, and nothing for a dataset of one run. Files of equal
    bytes have one name and count once, so they are no repetition.
    """
    if not manifest_versions(store):
        return
    manifest = read_manifest(store)
    if set(manifest.run_ids) <= {run_id} or {commit.key for commit in commits} <= set(manifest.commits):
        return
    made = {file.path: file for commit in commits for file in commit.files if file.kind == "pairs"}
    new = np.concatenate([np.empty(0, np.int64), *_ids(store, list(made.values()), skeleton)])
    for entry in manifest.files_of("pairs"):
        if entry.path in made:
            continue
        for ids in _ids(store, [entry], skeleton):
            again = ids[np.isin(ids, new)]
            if len(again):
                named = ", ".join(map(str, again[:_SHOWN].tolist()))
                raise PlanError(
                    f"{store.url}: {run_id} makes rows that are in the dataset already, such as sample_id {named} of "
                    f"{entry.path}; a run on top must add new rows: take other inputs or other copies (first_copy), "
                    "or write to another output. Nothing was published"
                )


def _ids(store: ObjectStore, files: Sequence[FileEntry], skeleton: Skeleton) -> Iterator[np.ndarray]:
    """Sample ids, row group by row group."""
    for entry in files:
        reader = PairsReader(store, entry, skeleton)
        for group in range(reader.n_groups):
            yield reader.read_group(group, ["sample_id"])["sample_id"]
