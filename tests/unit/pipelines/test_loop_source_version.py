from pathlib import Path

import pytest

from pipelines.closed_loop.job import plan_closed_loop
from pipelines.closed_loop.settings import ClosedLoopSettings
from storage.errors import DatasetError
from storage.manifest import publish_manifest
from storage.object_store import open_store
from tests.unit.storage.samples import SKELETON, commit_pairs, make_pairs


def test_a_loop_reads_the_version_that_is_named(tmp_path: Path) -> None:
    """A source that has grown since is another input; naming the old version is the old run again."""
    store = open_store(tmp_path)
    publish_manifest(store, "run", [commit_pairs(store, make_pairs(5, seed=1), "a")], SKELETON)
    at_first = plan_closed_loop(ClosedLoopSettings(), store.url, seed=1)
    publish_manifest(store, "run", [commit_pairs(store, make_pairs(5, seed=2), "b")], SKELETON)
    assert plan_closed_loop(ClosedLoopSettings(), store.url, seed=1).run_id != at_first.run_id
    assert plan_closed_loop(ClosedLoopSettings(source_version=1), store.url, seed=1).run_id == at_first.run_id
    with pytest.raises(DatasetError, match="no version 9"):
        plan_closed_loop(ClosedLoopSettings(source_version=9), store.url, seed=1)
