"""A small real dataset on disk, for loops whose members read what they learn from."""

from pathlib import Path

from augment.motion.settings import MotionSettings
from pipelines.context import RunContext
from pipelines.import_motion import ImportSettings, run_import
from pipelines.in_process import InProcessExecutor
from pipelines.parts import RigSettings, SplitSettings
from pipelines.stages.clip_views import ViewSettings


def make_small_dataset(folder: Path) -> str:
    """About 300 pairs of six generated people, in the parts source_train and source_valid."""
    settings = ImportSettings(
        motion=MotionSettings(n_clips=6, n_subjects=6, shortest_clip_s=2.0, longest_clip_s=2.5),
        view=ViewSettings(frame_step=4),
        split=SplitSettings(shares={"source_train": 0.6, "source_valid": 0.4}),
        rigs=RigSettings(by_part={"*": ("h36m_like",)}),
        keep_sequences=False,
    )
    run_import(settings, RunContext(str(folder), InProcessExecutor(), seed=1))
    return str(folder)
