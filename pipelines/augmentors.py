"""Which augmentor a job uses: settings by name, and how each is built on a worker."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field

import augment.feedback_loop.trained as feedback_file
import augment.poseaug.trained as poseaug_file
from augment.contract import Augmentor
from augment.detector_noise import DetectorNoiseAugmentor, DetectorNoiseSettings
from augment.errors import AugmentError
from augment.feedback_loop.augmentor import FeedbackAugmentor
from augment.mirror import MirrorAugmentor
from augment.placement import BoxSettings, PlacementAugmentor
from augment.poseaug.augmentor import Normalisation, PoseAugAugmentor
from augment.random_augmentation import RandomAugmentationSettings, RandomAugmentor
from pipelines.knobs import knob
from pipelines.trained_lifter import read_checkpoint

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class RandomAugmentorSettings(BaseModel):
    """Random augmentation, `narrow` or `wide`; `settings` replaces the preset's numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["narrow", "wide"]
    settings: RandomAugmentationSettings | None = None


class MirrorAugmentorSettings(BaseModel):
    """Every row's mirror image."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["mirror"]


class NoiseAugmentorSettings(BaseModel):
    """The same 3D, with the 2D that a detector might have given."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["detector_noise"]
    settings: DetectorNoiseSettings = DetectorNoiseSettings()


class PlacementAugmentorSettings(BaseModel):
    """The same poses at other places before the same cameras."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["placement"]
    boxes: BoxSettings = BoxSettings()


class TrainedAugmentorSettings(BaseModel):
    """An augmentor that a loop trained, from the file that it wrote.

    `trained` takes whatever the file holds; `poseaug` and `default` (posemill's own loop) insist on their
    kind.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["trained", "poseaug", "default"]
    checkpoint: str = knob(...)
    """Path or URL; the file's digest identifies the run."""
    normalisation: Normalisation = "frozen"
    """Of a PoseAug generator."""
    record_scores: bool = False
    """Of a PoseAug generator: add the discriminators' scores as columns."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of a PoseAug generator's matrix products."""


AugmentorSettings = Annotated[
    RandomAugmentorSettings
    | MirrorAugmentorSettings
    | NoiseAugmentorSettings
    | PlacementAugmentorSettings
    | TrainedAugmentorSettings,
    Field(discriminator="kind"),
]
"""Settings of any augmentor; `kind` says which."""


def build_augmentor(settings: Any, seed: int, device: str = "cpu") -> Augmentor:
    """The augmentor of the settings, ready to work.

    Args:
        settings: `AugmentorSettings`.
        seed: Run seed.
        device: Where a trained augmentor computes.

    Raises:
        CheckpointError: if the checkpoint cannot be read.
        AugmentError: if it is of another kind.
    """
    return _BUILDERS[settings.kind](settings, seed, device)


def checkpoints_of(settings: Any) -> dict[str, str]:
    """Paths of the checkpoints that an augmentor is made of, by name."""
    return {"augmentor": settings.checkpoint} if isinstance(settings, TrainedAugmentorSettings) else {}


def takes_windows(settings: Any) -> bool:
    """Whether an augmentor can make windows of motion from windows (`augment.contract.WindowAugmentor`)."""
    return not isinstance(settings, NoiseAugmentorSettings)


def depends_on_batch(settings: Any) -> bool:
    """Whether a row's result depends on the rows beside it, as with the published code's batch statistics."""
    return isinstance(settings, TrainedAugmentorSettings) and settings.normalisation == "batch"


def _random(settings: RandomAugmentorSettings, seed: int, device: str) -> Augmentor:
    del device  # a handful of operations per row: the CPU does it while the disk writes
    chosen = settings.settings or RandomAugmentationSettings.preset(settings.kind)
    return RandomAugmentor(chosen, seed, settings.kind)


def _mirror(settings: MirrorAugmentorSettings, seed: int, device: str) -> Augmentor:
    del settings, device
    return MirrorAugmentor(seed)


def _noise(settings: NoiseAugmentorSettings, seed: int, device: str) -> Augmentor:
    del device
    return DetectorNoiseAugmentor(settings.settings, seed)


def _placement(settings: PlacementAugmentorSettings, seed: int, device: str) -> Augmentor:
    del device
    return PlacementAugmentor(settings.boxes, seed)


def _trained(settings: TrainedAugmentorSettings, seed: int, device: str) -> Augmentor:
    checkpoint = read_checkpoint(settings.checkpoint)
    found = checkpoint.metadata.get("kind")
    if found not in _FILE_KINDS[settings.kind]:
        raise AugmentError(
            f"{settings.checkpoint}: wanted an augmentor file for kind {settings.kind!r} "
            f"({' or '.join(_FILE_KINDS[settings.kind])}), the file holds {found or 'something else'!r}; "
            "give the augmentor.safetensors of a loop, or set `kind` to trained"
        )
    if found == feedback_file.KIND:
        trained = feedback_file.import_feedback(checkpoint, device, settings.checkpoint)
        return FeedbackAugmentor(trained, seed)
    networks = poseaug_file.import_augmentor(checkpoint, device, settings.checkpoint)
    return PoseAugAugmentor(
        networks, seed, settings.normalisation, settings.record_scores, _DTYPES[settings.dtype]
    )


_FILE_KINDS: Mapping[str, tuple[str, ...]] = {
    "trained": (poseaug_file.KIND, feedback_file.KIND),
    "poseaug": (poseaug_file.KIND,),
    "default": (feedback_file.KIND,),
}
"""What a file may hold, by the `kind` of the settings."""

_BUILDERS: Mapping[str, Callable[[Any, int, str], Augmentor]] = {
    "narrow": _random,
    "wide": _random,
    "mirror": _mirror,
    "detector_noise": _noise,
    "placement": _placement,
    "trained": _trained,
    "poseaug": _trained,
    "default": _trained,
}
