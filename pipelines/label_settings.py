"""Settings of the job `label` (pipelines.label)."""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipelines.executor import BadRowPolicy
from pipelines.knobs import knob


class LabelSettings(BaseModel):
    """What is labelled, by what, and which labels are kept."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str = knob(...)
    """Dataset with the 2D keypoints. Its files' digests identify the run, so it may be moved."""
    source_version: int | None = knob(None)
    """Of its manifest; None takes the latest."""
    parts: tuple[str, ...] | None = None
    """Parts to label; None takes every row."""
    lifter: str = knob(...)
    """`lifter.safetensors` of a train job or a loop, or an imported one. Its digest identifies the run."""
    trajectory: str | None = knob(None)
    """`trajectory.safetensors` of a semi-supervised training places the roots; None puts each pose where its image fits
    its keypoints best."""
    critic: str | None = knob(None)
    """`critic.safetensors` of a `train_unpaired` job: camera, reprojection error and plausibility as columns."""
    flip: bool = True
    """Average with the mirrored prediction of the mirrored input."""
    max_reprojection_px: float | None = Field(default=None, gt=0)
    """Refuse labels whose image is further from their keypoints than this, in the mean over joints."""
    max_implausibility: float | None = None
    """Refuse labels that the critic finds further from typical real poses than this, in standard deviations."""
    rows_per_unit: int = Field(default=65_536, ge=1)
    frames_at_once: int = knob(65_536, ge=1)
    """Input frames that the lifter gets at once: memory against speed."""
    bad_rows: BadRowPolicy = BadRowPolicy()
    device: str = knob("cpu")
    """Where the networks compute: "cpu" or "cuda"."""
    gpus_per_worker: float = knob(1.0, gt=0)
    """On a CUDA device: share of a GPU that one worker gets."""

    @model_validator(mode="after")
    def _implausibility_wants_a_critic(self) -> Self:
        if self.max_implausibility is not None and self.critic is None:
            raise ValueError(
                "max_implausibility: there is no critic to say it; give `critic`, or leave it out"
            )
        return self
