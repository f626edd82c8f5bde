"""Settings of semi-supervised training inside the job `train`."""

from pydantic import BaseModel, ConfigDict, Field

from estimators.lifters.temporal.videopose import VideoPoseSettings
from estimators.lifters.training.semi_supervised import SemiSupervisedSettings
from pipelines.pose_table import PairsSource


class SemiSupervisedTraining(BaseModel):
    """Keypoints without 3D that teach too, by VideoPose3D's method."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    unlabelled: tuple[PairsSource, ...] = Field(min_length=1)
    """Only their 2D and their cameras are read."""
    unlabelled_rows: int | None = Field(default=None, ge=1)
    """Of every batch, beside the labelled `batch_rows`; None: as many."""
    method: SemiSupervisedSettings = SemiSupervisedSettings()
    """Takes the place of `trainer`."""
    trajectory: VideoPoseSettings | None = None
    """Shape of the network for the root's place; None: that of the lifter, which is a VideoPose then."""
