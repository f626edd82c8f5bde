"""Settings of the job `train_images`."""

from pydantic import BaseModel, ConfigDict, Field, model_validator

from estimators.images.crop_augmentation import CropAugmentationSettings
from estimators.images.crops import CropSettings
from estimators.images.drawn_people import DrawingSettings
from estimators.images.graph_pose import GraphPoseSettings
from estimators.images.trainer import LEAST_ROWS, GraphPoseTrainerSettings
from pipelines.early_stopping import EarlyStopping
from pipelines.executor import BadRowPolicy
from pipelines.knobs import knob
from pipelines.pose_table import PairsSource
from poses.protocols import find_protocol
from storage.images import ImageLimits

DRAWN = "drawn"
IMAGE_NETWORK = "graph_pose"
"""The kind that its checkpoints name."""


class PicturesSettings(BaseModel):
    """Where the pictures of pairs come from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: str | None = None
    """The folder or URL that the column `image` of the pairs is relative to; None is the dataset's own folder. `drawn`
    needs no images: people are drawn from the pairs (synthetic; see `estimators.images.drawn_people`)."""
    drawing: DrawingSettings = DrawingSettings()
    limits: ImageLimits = ImageLimits()
    readers: int = knob(4, ge=1)
    """Threads that read and decode images."""


class ImagePairsSource(PairsSource, PicturesSettings):
    """Pairs and their pictures."""

    at_most: int | None = Field(default=None, ge=1)
    """Take no more rows than this, spread over the source; velocities are not measured then."""


class TrainImagesSettings(BaseModel):
    """Which network is trained on which crops, for how long."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: tuple[ImagePairsSource, ...] = Field(min_length=1)
    """Every batch holds rows of each source, in proportion to its `share`."""
    validation: tuple[ImagePairsSource, ...] = Field(min_length=1)
    """Chooses the best weights; a test part is refused unless `choose_on_test` is set."""
    choose_on_test: bool = False
    network: GraphPoseSettings = GraphPoseSettings()
    backbone_weights: str | None = None
    """A ResNet's state dict (torch, safetensors) to begin from, such as ImageNet's; nothing in the file is run."""
    crop: CropSettings = CropSettings()
    augmentation: CropAugmentationSettings = CropAugmentationSettings()
    trainer: GraphPoseTrainerSettings = GraphPoseTrainerSettings()
    batch_rows: int = Field(default=64, ge=LEAST_ROWS)
    steps: int = Field(default=20_000, ge=1)
    steps_per_epoch: int | None = Field(default=None, ge=1)
    """For schedules by epoch; None: one pass over the first source."""
    validate_every: int = Field(default=1_000, ge=1)
    checkpoint_every: int = Field(default=1_000, ge=1)
    early_stopping: EarlyStopping | None = None
    protocol: str = "frame_mean_with_root"
    metric: str = "mpjpe_mm"
    bad_rows: BadRowPolicy = BadRowPolicy()
    """Rows whose image cannot be read, or that no crop can be made of: left out, told and counted, or the run's end."""
    device: str = knob("cpu")

    @model_validator(mode="after")
    def _fit(self) -> "TrainImagesSettings":
        find_protocol(self.protocol).check_metric(self.metric)
        return self
