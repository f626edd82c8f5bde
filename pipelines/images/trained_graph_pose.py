"""A trained image network as a file: weights, the settings to build it again, its crops, its skeleton, its origin."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from estimators.checkpoints import Checkpoint, checkpoint_to_bytes, load_module_state
from estimators.errors import CheckpointError
from estimators.images.crops import CropSettings
from estimators.images.graph_pose import GraphPoseNetwork, GraphPoseSettings
from pipelines.images.settings import IMAGE_NETWORK
from pipelines.trained_lifter import read_checkpoint
from poses.skeleton import Skeleton

_MEAN_POSE = "mean_pose_root_m"


@dataclass(frozen=True)
class TrainedGraphPose:
    """A network ready to estimate.

    Attributes:
        network: In evaluation mode.
        crop: How its crops are cut.
        mean_pose_root_m: (J, 3) float32 mean of the poses that it was trained on: the estimate that sees no image.
        metadata: What `train_images` wrote beside the weights.
    """

    network: GraphPoseNetwork
    crop: CropSettings
    mean_pose_root_m: np.ndarray
    metadata: Mapping[str, Any]

    def check_skeleton(self, skeleton: Skeleton) -> None:
        """Raise CheckpointError unless data of this skeleton fit."""
        own = self.network.skeleton
        if own.joints != skeleton.joints:
            raise CheckpointError(
                f"the image network was trained on skeleton {own.name!r} ({', '.join(own.joints)}), the data have "
                f"{skeleton.name!r} ({', '.join(skeleton.joints)}); import the data with the network's skeleton"
            )


def build_network(settings: GraphPoseSettings, skeleton: Skeleton, seed: int) -> GraphPoseNetwork:
    """A network with fresh weights; the global random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GraphPoseNetwork(settings, skeleton)


def graph_pose_to_bytes(
    network: GraphPoseNetwork, crop: CropSettings, mean_pose_root_m: np.ndarray, metadata: Mapping[str, Any]
) -> bytes:
    """The file of a network; `metadata` holds JSON values that are told again on loading."""
    weights: dict[str, Tensor] = {name: value.detach().cpu() for name, value in network.state_dict().items()}
    document = {
        **metadata,
        "kind": IMAGE_NETWORK,
        "network": network.settings.model_dump(mode="json"),
        "crop": crop.model_dump(mode="json"),
        _MEAN_POSE: [[float(value) for value in joint] for joint in mean_pose_root_m],
        "skeleton": network.skeleton.to_dict(),
    }
    return checkpoint_to_bytes(weights, document)


def load_trained_graph_pose(url: str, device: str = "cpu") -> TrainedGraphPose:
    """Read a network's file, on disk or in a store.

    Raises:
        CheckpointError: if there is no such file, or it holds no image network.
    """
    return graph_pose_of(read_checkpoint(url), url, device)


def graph_pose_of(checkpoint: Checkpoint, where: str, device: str = "cpu") -> TrainedGraphPose:
    """The network in a checkpoint.

    Raises:
        CheckpointError: if it holds none, or is damaged.
    """
    document = checkpoint.metadata
    if document.get("kind") != IMAGE_NETWORK:
        raise CheckpointError(
            f"{where}: holds {document.get('kind', 'something else')!r}, wanted an image network; give the "
            "`graph_pose.safetensors` of a train_images job"
        )
    try:
        skeleton = Skeleton.from_dict(document["skeleton"])
        settings = GraphPoseSettings.model_validate(document["network"])
        crop = CropSettings.model_validate(document["crop"])
        mean_pose = np.asarray(document[_MEAN_POSE], np.float32).reshape(skeleton.n_joints, 3)
    except (KeyError, TypeError, ValueError, ValidationError) as error:
        raise CheckpointError(
            f"{where}: its settings cannot be read ({error}); the file is damaged"
        ) from error
    network = build_network(settings, skeleton, seed=0)
    load_module_state(network, checkpoint.tensors, where)
    return TrainedGraphPose(network.to(device).eval(), crop, mean_pose, document)
