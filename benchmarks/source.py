"""What the benchmarks work on: pairs of generated people, as many as wanted, each a little different."""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from augment.motion.settings import MotionSettings
from pipelines.context import RunContext
from pipelines.import_motion import ImportSettings, run_import
from pipelines.in_process import InProcessExecutor
from pipelines.parts import RigSettings, SplitSettings
from pipelines.stages.clip_views import ViewSettings
from poses.batch import PoseBatch
from poses.cameras import project_px
from storage.manifest import publish_manifest
from storage.object_store import open_store
from storage.reader import Dataset
from storage.writer import UnitWriter

CLIPS = 16
JITTER_M = 0.002
"""Makes repeated poses differ, so that a compressor cannot find them again."""


def source_pairs(rows: int) -> PoseBatch:
    """Pairs of the embedded source under the H36M-like cameras, repeated with jitter up to so many rows."""
    settings = ImportSettings(
        motion=MotionSettings(n_clips=CLIPS, n_subjects=8),
        view=ViewSettings(frame_step=2),
        split=SplitSettings(shares={"source_train": 1.0}),
        rigs=RigSettings(by_part={"*": ("h36m_like",)}),
        keep_sequences=False,
    )
    with tempfile.TemporaryDirectory() as folder:
        run_import(settings, RunContext(folder, InProcessExecutor(), seed=1))
        pairs = Dataset.open(folder).read_pairs()
        pairs = pairs.take(np.arange(rows) % len(pairs))
    jitter = np.random.default_rng(0).normal(0.0, JITTER_M, pairs.joints_camera_m.shape)
    joints_camera_m = (pairs.joints_camera_m + jitter).astype(np.float32)
    ids = np.arange(1, rows + 1, dtype=np.int64)
    return replace(
        pairs,
        sample_id=ids,
        source_id=ids,
        joints_camera_m=joints_camera_m,
        keypoints_px=project_px(joints_camera_m, pairs.camera_px).astype(np.float32),
    )


def write_dataset(folder: Path, pairs: PoseBatch) -> None:
    """Write the pairs as a dataset of one unit, and publish it."""
    store = open_store(folder)
    with UnitWriter(store, "benchmark", "pairs", pairs.skeleton) as writer:
        writer.add_pairs(pairs)
        commit = writer.commit()
    publish_manifest(store, "benchmark", [commit], pairs.skeleton)


def size_bytes(pairs: PoseBatch) -> int:
    """Bytes of the rows as numbers; names count as nothing."""
    arrays = [value for value in vars(pairs).values() if isinstance(value, np.ndarray)]
    return sum(array.nbytes for array in [*arrays, *pairs.extra.values()] if array.dtype != object)
