"""Small inputs for tests of jobs: few short clips of the embedded source, and no files but in tmp_path."""

from pathlib import Path

from augment.motion.settings import MotionSettings
from pipelines.context import RunContext
from pipelines.import_motion import ImportResult, ImportSettings, run_import
from pipelines.in_process import InProcessExecutor
from pipelines.parts import SplitSettings
from pipelines.progress import RecordingProgress

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
