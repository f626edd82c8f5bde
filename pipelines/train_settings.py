"""Settings of the job `train`."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from estimators.lifters.settings import LifterSettings
from estimators.lifters.simple_baseline import SimpleBaselineSettings
from estimators.lifters.training.trainer import LifterTrainerSettings
from pipelines.early_stopping import EarlyStopping
from pipelines.knobs import knob
from pipelines.node_labels import LabelSelector
from pipelines.pose_table import PairsSource
from pipelines.semi_settings import SemiSupervisedTraining
from poses.protocols import find_protocol


class TrainSettings(BaseModel):
    """Which lifter is trained, on what, for how long."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: tuple[PairsSource, ...] = Field(min_length=1)
    """Every batch holds rows of each source, in proportion to its `share`. Parts of one dataset get shares of their own
    when the dataset is named once for each."""
    validation: tuple[PairsSource, ...] = Field(min_length=1)
    """Chooses the best weights; a test part is refused unless `choose_on_test` is set."""
    choose_on_test: bool = False
    """Choose on a test part all the same; the checkpoint and every table of it say so."""
    lifter: LifterSettings = SimpleBaselineSettings()
    trainer: LifterTrainerSettings = LifterTrainerSettings()
    batch_rows: int = Field(default=1024, ge=2)
    """Of all workers together."""
    steps: int = Field(default=3200, ge=1)
    early_stopping: EarlyStopping | None = None
    """Ends before the last step where validation stops getting better."""
    mirror_share: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of training rows that are mirrored, drawn anew in every batch."""
    steps_per_epoch: int | None = Field(default=None, ge=1)
    """For schedules by epoch; None: one pass over the first source."""
    validate_every: int = Field(default=200, ge=1)
    checkpoint_every: int = Field(default=400, ge=1)
    semi_supervised: SemiSupervisedTraining | None = None
    """Keypoints without 3D teach too (VideoPose3D); its `method` takes the place of `trainer` then."""
    targets: Literal["one_frame", "every_frame"] = "one_frame"
    """Temporal lifters: what a window is trained on, the frame that it is there for (VideoPose), or each of its frames,
    which the lifter gives in one pass (the dual-stream transformer)."""
    window_ends: Literal["repeat", "skip"] = "repeat"
    """Temporal lifters: frames near the ends of a clip are trained on with the end repeated, as in evaluation, or make
    no sample of their own: for augmented windows (`augment` with `window_frames`), which are all ends otherwise."""
    protocol: str = "frame_mean_with_root"
    metric: str = "mpjpe_mm"
    reader: Literal["memory", "mapped"] = "memory"
    """memory: every process holds all pairs; mapped: all processes of a machine share a memory-mapped copy on its disk,
    for datasets that are larger than memory. Windows of `mapped` do not reach across files."""
    batch_norm: Literal["whole_batch", "per_worker"] = "whole_batch"
    """With several workers: BatchNorm's statistics are those of the whole batch, so that the number of workers does not
    change the results, or of each worker's own rows, which saves an exchange per layer."""
    device: str = knob("cpu")
    cache_folder: str = knob("/tmp/posemill-cache")
    """Where `mapped` keeps its copy; on a fast local disk."""
    workers: int = knob(1, ge=1)
    """Above 1: so many processes on Ray train together; `batch_rows` must be a multiple."""
    cpus_per_worker: float = knob(1.0, ge=0.0)
    gpus_per_worker: float = knob(0.0, ge=0.0)
    worker_labels: LabelSelector = knob({})
    """Labels of the nodes for the workers, such as {ray.io/market-type: on-demand}; empty takes any."""
    max_failures: int = knob(3, ge=0)
    """How often lost workers are replaced; training goes on from the last checkpoint each time."""

    @model_validator(mode="after")
    def _fit(self) -> "TrainSettings":
        find_protocol(self.protocol).check_metric(self.metric)
        if self.semi_supervised is not None and (
            self.workers > 1
            or self.reader == "mapped"
            or self.targets == "every_frame"
            or self.window_ends == "skip"
        ):
            raise ValueError(
                "semi_supervised trains in one process, from memory, on one frame of a window, at clips' ends too; set "
                "workers to 1, reader to memory, targets to one_frame and window_ends to repeat"
            )
        if self.workers > 1 and self.batch_rows % self.workers:
            raise ValueError(
                f"batch_rows = {self.batch_rows} cannot be shared out evenly to workers = {self.workers}; "
                "choose a multiple"
            )
        return self
