"""The default loop's augmentor as tensors and JSON: what mass generation needs of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from augment.errors import AugmentError
from augment.feedback_loop.learner import FeedbackLearner
from augment.feedback_loop.settings import FeedbackLoopSettings
from augment.poseaug.trained import TrainedAugmentor, export_augmentor, import_augmentor
from augment.wide_base.factors import FactorOdds
from augment.wide_base.library import PoseLibrary
from estimators.checkpoints import Checkpoint, pack, unpack
from poses.skeleton import Skeleton

KIND = "feedback"


@dataclass(frozen=True)
class TrainedFeedback:
    """Everything that a trained loop knows about making poses.

    Attributes:
        settings: That it was trained with.
        skeleton: Of its poses.
        library: Limbs and bodies of its source.
        odds: Where the feedback left the odds of the base's factors.
        residual: The learned augmentor; None where the loop ran without.
    """

    settings: FeedbackLoopSettings
    skeleton: Skeleton
    library: PoseLibrary
    odds: FactorOdds
    residual: TrainedAugmentor | None


def export_feedback(learner: FeedbackLearner) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and metadata for a checkpoint, from which `import_feedback` builds the augmentor again."""
    parts: dict[str, Mapping[str, Tensor]] = {
        "library": learner.library.tensors(),
        "odds": learner.odds.odds.odds,
    }
    metadata: dict[str, Any] = {
        "kind": KIND,
        "settings": learner.settings.model_dump(mode="json"),
        "skeleton": learner.skeleton.to_dict(),
    }
    if learner.residual is not None:
        parts["residual"], metadata["residual"] = export_augmentor(learner.residual)
    return pack(**parts), metadata


def import_feedback(checkpoint: Checkpoint, device: str = "cpu", where: str = "augmentor") -> TrainedFeedback:
    """Build an exported augmentor.

    Raises:
        AugmentError: if the checkpoint is of something else.
        CheckpointError: if tensors and settings do not fit.
    """
    metadata = checkpoint.metadata
    if metadata.get("kind") != KIND:
        raise AugmentError(
            f"{where}: wanted a checkpoint of kind {KIND!r}, got {metadata.get('kind')!r}; "
            "give the augmentor file that a loop with the feedback augmentor wrote"
        )
    residual = None
    if "residual" in metadata:
        own = Checkpoint(unpack(checkpoint.tensors, "residual"), metadata["residual"])
        residual = import_augmentor(own, device, f"{where}, residual")
    return TrainedFeedback(
        settings=FeedbackLoopSettings.model_validate(metadata["settings"]),
        skeleton=Skeleton.from_dict(metadata["skeleton"]),
        library=PoseLibrary.from_tensors(unpack(checkpoint.tensors, "library")),
        odds=FactorOdds(unpack(checkpoint.tensors, "odds")),
        residual=residual,
    )
