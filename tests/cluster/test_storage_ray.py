"""Ray Data reads a dataset's pairs; tensor columns arrive as arrays."""

from pathlib import Path

import numpy as np
import pytest

from storage.manifest import publish_manifest
from storage.object_store import open_store
from storage.reader import Dataset
from tests.unit.storage.samples import SKELETON, commit_pairs, make_pairs

ray = pytest.importorskip("ray")


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore")
def test_ray_data_gets_arrays(tmp_path: Path) -> None:
    store, batch = open_store(tmp_path), make_pairs(100)
    publish_manifest(store, "run", [commit_pairs(store, batch)], SKELETON)
    commit_pairs(store, make_pairs(5, seed=3), "unpublished")
    started = not ray.is_initialized()
    if started:
        ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        rows = Dataset.open(tmp_path).to_ray(columns=["sample_id", "joints_camera_m"]).take_batch(100)
    finally:
        if started:
            ray.shutdown()
    order = np.argsort(rows["sample_id"])
    assert rows["joints_camera_m"].dtype == np.float32
    np.testing.assert_array_equal(rows["joints_camera_m"][order], batch.joints_camera_m)
