"""A trained augmentor as tensors and JSON: what mass generation needs, without optimisers and pools."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from augment.errors import AugmentError
from augment.poseaug.discriminators import BodyPartDiscriminator, ProjectionDiscriminator
from augment.poseaug.generator import PoseAugGenerator
from augment.poseaug.learner import PoseAugLearner
from augment.poseaug.settings import PoseAugSettings
from estimators.checkpoints import Checkpoint, load_module_state, pack, unpack
from poses.skeleton import Skeleton

KIND = "poseaug"


@dataclass(frozen=True)
class TrainedAugmentor:
    """Networks of a trained augmentor, in evaluation mode.

    Args:
        settings: That it was trained with.
        skeleton: Of its poses.
        generator: Makes poses.
        body_part_discriminator: Scores their bone angles.
        projection_discriminator: Scores their projections.
        iteration: Generator updates that it has seen; its version.
    """

    settings: PoseAugSettings
    skeleton: Skeleton
    generator: PoseAugGenerator
    body_part_discriminator: BodyPartDiscriminator
    projection_discriminator: ProjectionDiscriminator
    iteration: int


def export_augmentor(learner: PoseAugLearner) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and metadata for a checkpoint, from which `import_augmentor` builds the networks again."""
    tensors = pack(
        generator=learner.generator.state_dict(),
        body_part_discriminator=learner.body_part_discriminator.state_dict(),
        projection_discriminator=learner.projection_discriminator.state_dict(),
    )
    metadata = {
        "kind": KIND,
        "settings": learner.settings.model_dump(mode="json"),
        "skeleton": learner.skeleton.to_dict(),
        "iteration": learner.iteration,
    }
    return {name: value.detach().cpu().clone() for name, value in tensors.items()}, metadata


def import_augmentor(
    checkpoint: Checkpoint, device: str = "cpu", where: str = "augmentor"
) -> TrainedAugmentor:
    """Build the networks of an exported augmentor.

    Raises:
        AugmentError: if the checkpoint is of something else.
        CheckpointError: if tensors and settings do not fit.
    """
    metadata: Mapping[str, Any] = checkpoint.metadata
    if metadata.get("kind") != KIND:
        raise AugmentError(
            f"{where}: wanted a checkpoint of kind {KIND!r}, got {metadata.get('kind')!r}; "
            "give the augmentor file that the loop wrote"
        )
    settings = PoseAugSettings.model_validate(metadata["settings"])
    skeleton = Skeleton.from_dict(metadata["skeleton"])
    safe = not settings.compat.unsafe_norms
    networks = {
        "generator": PoseAugGenerator(settings.generator, skeleton, safe),
        "body_part_discriminator": BodyPartDiscriminator(settings.discriminators, skeleton, safe),
        "projection_discriminator": ProjectionDiscriminator(settings.discriminators, skeleton),
    }
    for name, network in networks.items():
        load_module_state(network, unpack(checkpoint.tensors, name), f"{where}, {name}")
        network.to(device).eval().requires_grad_(False)
    return TrainedAugmentor(
        settings=settings, skeleton=skeleton, iteration=int(metadata["iteration"]), **networks
    )
