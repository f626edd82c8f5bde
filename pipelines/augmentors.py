"""Which augmentor a job uses: settings by name, and how each is built on a worker."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field

from augment.contract import Augmentor
from augment.errors import AugmentError
from augment.poseaug.augmentor import Normalisation, PoseAugAugmentor
from augment.poseaug.trained import import_augmentor
from augment.random_augmentation import RandomAugmentationSettings, RandomAugmentor
from pipelines.trained_lifter import read_checkpoint

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class RandomAugmentorSettings(BaseModel):
    """Random augmentation, `narrow` or `wide`; `settings` replaces the preset's numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["narrow", "wide"]
    settings: RandomAugmentationSettings | None = None


class TrainedAugmentorSettings(BaseModel):
    """An augmentor that a loop trained, from the file that it wrote."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["poseaug"]
    checkpoint: str
    normalisation: Normalisation = "frozen"
    record_scores: bool = False
    dtype: Literal["float32", "bfloat16"] = "float32"


AugmentorSettings = Annotated[RandomAugmentorSettings | TrainedAugmentorSettings, Field(discriminator="kind")]
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


def _random(settings: RandomAugmentorSettings, seed: int, device: str) -> Augmentor:
    del device  # a handful of operations per row: the CPU does it while the disk writes
    chosen = settings.settings or RandomAugmentationSettings.preset(settings.kind)
    return RandomAugmentor(chosen, seed, settings.kind)


def _trained(settings: TrainedAugmentorSettings, seed: int, device: str) -> Augmentor:
    checkpoint = read_checkpoint(settings.checkpoint)
    if checkpoint.metadata.get("kind") != settings.kind:
        raise AugmentError(
            f"{settings.checkpoint}: wanted an augmentor of kind {settings.kind!r}, the file holds "
            f"{checkpoint.metadata.get('kind', 'something else')!r}; set `kind` to that, or give another file"
        )
    trained = import_augmentor(checkpoint, device, settings.checkpoint)
    return PoseAugAugmentor(
        trained, seed, settings.normalisation, settings.record_scores, _DTYPES[settings.dtype]
    )


_BUILDERS: Mapping[str, Callable[[Any, int, str], Augmentor]] = {
    "narrow": _random,
    "wide": _random,
    "poseaug": _trained,
}
