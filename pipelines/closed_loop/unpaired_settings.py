"""Settings of RepNet as a member of the loop: unpaired 2D poses, and what they are for."""

from pydantic import BaseModel, ConfigDict, Field

from estimators.lifters.repnet.settings import (
    PresetName,
    RepNetSettings,
    RepNetTrainerSettings,
    repnet_preset,
)
from pipelines.pose_table import PairsSource


class UnpairedSettings(BaseModel):
    """RepNet in the loop: it learns from 2D poses without 3D, beside the estimator that learns from pairs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: tuple[PairsSource, ...] = Field(min_length=1)
    """Only their 2D is read: detections, pseudo-labels, another part. Confidence 0 means missing; shares count for
    nothing."""
    preset: PresetName = "default"
    network: RepNetSettings | None = None
    """Replaces the preset's."""
    trainer: RepNetTrainerSettings | None = None
    """Replaces the preset's."""
    batch_rows: int = Field(default=32, ge=1)
    """2D poses, and as many 3D poses, of a step of RepNet."""
    steps_per_batch: int = Field(default=1, ge=1)
    """RepNet's steps for every batch of pairs that the augmentors make."""
    augmented_share: float = Field(default=0.5, ge=0.0, le=1.0)
    """Share of the round's augmented poses among the 3D that the critic takes for real; the rest are the source's."""
    steps_per_epoch: int | None = Field(default=None, ge=1)
    """For schedules by epoch; None: one pass over the 2D poses."""
    weak_weight: float = Field(default=0.0, ge=0.0)
    """Weight of RepNet's word on the estimator's poses of unpaired 2D, in the estimator's loss; 0: they are apart."""
    weak_rows: int = Field(default=64, ge=2)
    """Unpaired 2D poses beside every batch of pairs; only those with all joints seen."""
    weak_after_rounds: int = Field(default=1, ge=0)
    """Rounds that RepNet learns before its word counts."""

    def chosen_network(self) -> RepNetSettings:
        """Of the settings, else of the preset."""
        return self.network or repnet_preset(self.preset).network

    def chosen_trainer(self) -> RepNetTrainerSettings:
        """Of the settings, else of the preset."""
        return self.trainer or repnet_preset(self.preset).trainer
