"""Small inputs for tests of jobs: few short clips of the embedded source, and no files but in tmp_path."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from augment.motion.settings import MotionSettings
from pipelines.context import RunContext
from pipelines.import_motion import ImportResult, ImportSettings, run_import
from pipelines.in_process import InProcessExecutor
from pipelines.parts import SplitSettings
from pipelines.progress import RecordingProgress
from poses.skeleton import load_skeleton
from storage.manifest import publish_manifest
from storage.object_store import open_store
from storage.reader import Dataset
from storage.writer import UnitWriter

SHARES = {"source_train": 0.5, "source_valid": 0.25, "target_subject": 0.25}


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


def small_import(n_clips: int = 6) -> ImportSettings:
    """Six clips of about a second by six people, who fall into all three parts."""
    return ImportSettings(
        motion=MotionSettings(n_clips=n_clips, n_subjects=6, shortest_clip_s=1.0, longest_clip_s=1.2),
        split=SplitSettings(shares=SHARES, salt="5"),
        clips_per_unit=3,
    )


def context(url: Path, seed: int = 0) -> RunContext:
    """In this process, with a progress that remembers."""
    return RunContext(str(url), InProcessExecutor(sleep=lambda _: None), seed, RecordingProgress())


def make_source(url: Path) -> ImportResult:
    """The small source dataset."""
    return run_import(small_import(), context(url))


def make_detections(url: Path, source: Path) -> Path:
    """The small source with COCO keypoints: joints of both where they project, the face where the head is."""
    coco, pairs = load_skeleton("coco_17"), Dataset.open(source).read_pairs()
    names = [name if name in pairs.skeleton.joints else "head" for name in coco.joints]
    columns = [pairs.skeleton.index(name) for name in names]
    pairs = replace(
        pairs,
        keypoints_px=np.ascontiguousarray(pairs.keypoints_px[:, columns]),
        keypoint_confidence=np.ascontiguousarray(pairs.keypoint_confidence[:, columns]),
        keypoint_skeleton=coco,
    )
    store = open_store(url)
    with UnitWriter(store, "detect", "all", pairs.skeleton, keypoint_skeleton=coco) as writer:
        writer.add_pairs(pairs)
        commit = writer.commit()
    publish_manifest(store, "detect", [commit], pairs.skeleton, keypoint_skeleton=coco)
    return url
