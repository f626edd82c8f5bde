"""A trained lifter as a file: weights, the settings to build it again, its skeleton, and where it comes from."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from torch import Tensor

from estimators.checkpoints import Checkpoint, checkpoint_from_bytes, checkpoint_to_bytes, load_module_state
from estimators.errors import CheckpointError
from estimators.lifters.contract import Lifter
from estimators.lifters.settings import LifterSettings, build_lifter
from poses.skeleton import Skeleton
from storage.errors import StoreError
from storage.object_store import open_store

KIND = "lifter"


@dataclass(frozen=True)
class TrainedLifter:
    """A lifter ready to predict.

    Attributes:
        module: The network, in evaluation mode.
        settings: What it was built from.
        metadata: What `train` wrote beside the weights: step, score, run id.
    """

    module: Lifter
    settings: Any
    metadata: Mapping[str, Any]

    @property
    def causal(self) -> bool:
        """Whether it looks only backwards in time."""
        return bool(getattr(self.settings, "causal", False))

    def check_skeleton(self, skeleton: Skeleton) -> None:
        """Raise CheckpointError unless data of this skeleton fit."""
        own = self.module.skeleton
        if own.joints != skeleton.joints:
            raise CheckpointError(
                f"the lifter was trained on skeleton {own.name!r} ({', '.join(own.joints)}), the data have "
                f"{skeleton.name!r} ({', '.join(skeleton.joints)}); import the data with the lifter's skeleton"
            )


def lifter_to_bytes(
    weights: Mapping[str, Tensor], settings: Any, skeleton: Skeleton, metadata: Mapping[str, Any]
) -> bytes:
    """The file of a lifter.

    Args:
        weights: The module's state (or its average).
        settings: `LifterSettings`.
        skeleton: Its joints.
        metadata: JSON values that are told again on loading.
    """
    document = {
        **metadata,
        "kind": KIND,
        "lifter": settings.model_dump(mode="json"),
        "skeleton": skeleton.to_dict(),
    }
    return checkpoint_to_bytes(weights, document)


def load_trained_lifter(url: str, device: str = "cpu") -> TrainedLifter:
    """Read a lifter's file, on disk or in a store.

    Raises:
        CheckpointError: if there is no such file, or it holds no lifter.
    """
    return lifter_of(read_checkpoint(url), url, device)


def lifter_of(checkpoint: Checkpoint, url: str, device: str = "cpu") -> TrainedLifter:
    """The lifter in a checkpoint that was read from `url`.

    Raises:
        CheckpointError: if it holds none.
    """
    document = checkpoint.metadata
    if document.get("kind") != KIND:
        raise CheckpointError(
            f"{url}: holds {document.get('kind', 'something else')!r}, wanted a lifter; "
            "give the `lifter.safetensors` of a train job or a loop"
        )
    settings: Any = TypeAdapter(LifterSettings).validate_python(document["lifter"])
    module = build_lifter(settings, Skeleton.from_dict(document["skeleton"]), seed=0)
    load_module_state(module, checkpoint.tensors, url)
    module.to(device).eval()
    return TrainedLifter(module, settings, document)


def read_checkpoint(url: str) -> Checkpoint:
    """A posemill checkpoint by path or URL.

    Raises:
        CheckpointError: if it cannot be read.
    """
    folder, _, name = str(url).rpartition("/")
    try:
        data = open_store(folder or ".").read_bytes(name) if "://" in str(url) else Path(url).read_bytes()
    except (OSError, StoreError) as error:
        raise CheckpointError(
            f"{url}: cannot be read ({error}); give the path of a .safetensors file"
        ) from error
    return checkpoint_from_bytes(data, where=str(url))
