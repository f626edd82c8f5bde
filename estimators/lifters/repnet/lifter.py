"""RepNet's generator and camera network behind the lifter contract.

The generator gives a pose in the body's frame, the camera network the matrix K that images it (`camera.py`).
As a lifter the pose is turned into camera axes by the rotation nearest to K and moved to its root. Its size
is that of the 3D poses it was trained on (aligned to a torso of one size as a rule), for nothing in
normalised 2D tells it: compare it by PA-MPJPE or N-MPJPE. Parameters (width 1000, 16 joints): generator
7,088,048, camera alone 4,010,006.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from estimators.lifters.contract import Lifter
from estimators.lifters.repnet.camera import camera_parts
from estimators.lifters.repnet.dense_path import DensePath, LayerShape, residual_block
from estimators.lifters.repnet.flat_pose import NormalisedKeypoints, normalise_keypoints, unflatten_joints
from estimators.lifters.repnet.settings import RepNetSettings
from poses.skeleton import Skeleton

CAMERA_NUMBERS = 6
"""K's 2 x 3 entries, row by row."""


@dataclass(frozen=True)
class RepNetEstimate:
    """What RepNet makes of 2D poses.

    Args:
        joints_body_m: Poses in the body's frame, about their centre.
        camera: K, normalised image from body frame.
        keypoints: The normalised input.
    """

    joints_body_m: Float[Tensor, "B J 3"]
    camera: Float[Tensor, "B 2 3"]
    keypoints: NormalisedKeypoints


class WeakPerspectiveCamera(nn.Module):
    """The camera network: features (or 2D) to the six numbers of K."""

    def __init__(self, path: DensePath) -> None:
        super().__init__()
        self.path = path

    def forward(self, features: Float[Tensor, "B D"]) -> Float[Tensor, "B 6"]:
        """(B, D) -> (B, 6), K row by row."""
        return self.path(features)


class RepNetLifter(Lifter):
    """Generator, camera network and what they share; see the module's text."""

    def __init__(self, settings: RepNetSettings, skeleton: Skeleton) -> None:
        super().__init__(skeleton, receptive_field=1)
        self.settings = settings
        inputs, slope = 2 * skeleton.n_joints, settings.leaky_slope
        self.shared: DensePath | None = None
        if settings.shared_block:
            self.shared = DensePath(_entered(inputs, settings.width, 1), slope)
        self.pose = DensePath(_pose_shapes(settings, inputs, 3 * skeleton.n_joints), slope)
        self.camera = WeakPerspectiveCamera(DensePath(_camera_shapes(settings, inputs), slope))

    def lift(self, keypoints_screen: Tensor) -> Tensor:
        """(..., J, 2) screen -> (..., J, 3) root-relative, camera axes, in the size of the training poses."""
        flat = keypoints_screen.reshape(-1, *keypoints_screen.shape[-2:])
        estimate = self.estimate(flat)
        root = self.skeleton.root_index
        from_root = estimate.joints_body_m - estimate.joints_body_m[:, root : root + 1]
        joints_root_m = from_root @ camera_parts(estimate.camera).rotation.transpose(1, 2)
        return joints_root_m.view(*keypoints_screen.shape[:-1], 3)

    def estimate(
        self, keypoints: Float[Tensor, "B J 2"], availability: Float[Tensor, "B J"] | None = None
    ) -> RepNetEstimate:
        """Pose in the body's frame and camera of 2D poses in any units; `availability` 0 marks missing joints."""
        normalised = normalise_keypoints(keypoints, availability)
        pose, camera = self.network(normalised.flat)
        return RepNetEstimate(unflatten_joints(pose, 3), camera.view(-1, 2, 3), normalised)

    def network(
        self, keypoints_flat: Float[Tensor, "B D"]
    ) -> tuple[Float[Tensor, "B P"], Float[Tensor, "B 6"]]:
        """Normalised 2D (B, 2 J) -> pose (B, 3 J) and K (B, 6), coordinate by coordinate."""
        features = keypoints_flat if self.shared is None else self.shared(keypoints_flat)
        return self.pose(features), self.camera(features)

    def to_published_state(self) -> dict[str, Tensor]:
        """Kernels (in, out) and biases by Keras name, in creation order and the published joint order."""
        from estimators.lifters.repnet.published import lifter_to_published

        return lifter_to_published(self)

    def from_published_state(self, state: Mapping[str, Tensor | np.ndarray]) -> None:
        """Load the generator's nine and the camera's five Keras layers; a critic's, if there, are left alone."""
        from estimators.lifters.repnet.published import lifter_from_published

        lifter_from_published(self, state)


def build_repnet(settings: RepNetSettings, skeleton: Skeleton, seed: int) -> RepNetLifter:
    """A RepNet with fresh weights of a seed; the global random state stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return RepNetLifter(settings, skeleton)


def _entered(inputs: int, width: int, blocks: int) -> list[LayerShape]:
    """A first layer and residual blocks."""
    shapes = [LayerShape(inputs, width)]
    for _ in range(blocks):
        shapes += residual_block(width, len(shapes))
    return shapes


def _blocks(width: int, blocks: int) -> list[LayerShape]:
    """Residual blocks on features."""
    shapes: list[LayerShape] = []
    for _ in range(blocks):
        shapes += residual_block(width, len(shapes))
    return shapes


def _pose_shapes(settings: RepNetSettings, inputs: int, outputs: int) -> list[LayerShape]:
    width, blocks = settings.width, settings.pose_blocks
    shapes = _blocks(width, blocks) if settings.shared_block else _entered(inputs, width, blocks)
    if settings.extra_pose_layer:
        shapes.append(LayerShape(width, width))
    return [*shapes, LayerShape(width, outputs, is_activated=False)]


def _camera_shapes(settings: RepNetSettings, inputs: int) -> list[LayerShape]:
    width, blocks = settings.width, settings.camera_blocks
    shapes = _blocks(width, blocks) if settings.shared_block else _entered(inputs, width, blocks)
    return [*shapes, LayerShape(width, CAMERA_NUMBERS, is_activated=False)]
