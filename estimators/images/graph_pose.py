"""SemGCN's image variant (Zhao et al. 2019, section 4): 2D and 3D joints of a person from a crop.

A ResNet sees the crop; integral regression of its last stage gives the 2D joints; the features of all four stages are
pooled there and stand beside the two coordinates as the graph network's inputs, C1 + C2 + C3 + C4 + 2 of them (3,842
for ResNet-50). This variant was never released: sizes are its author's words (spec 1.1), the head that of integral
regression, the weighting of the two losses ours. `loss` trains 2D and 3D together; 2D joints can also be given, by
another detector or as ground truth, and are then taken as they are.

Coordinates are the crop's (see `integral`), from -1 to 1.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from estimators.errors import LifterInputError
from estimators.images.integral import HEAD_CHANNELS, IntegralHead
from estimators.images.joint_features import features_at_joints
from estimators.images.resnet import ResNet, ResNetSettings, normalise_image
from estimators.lifters.graphs.convolution import GRAPHS
from estimators.lifters.graphs.semgcn import SemGCNSettings, graph_layers
from estimators.lifters.training.losses import LossName, loss_per_sample
from poses.skeleton import Skeleton

LEAST_STRIDE = 32


class GraphPoseSettings(BaseModel):
    """Shape and loss of the network."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: ResNetSettings = ResNetSettings()
    graph: SemGCNSettings = SemGCNSettings(non_local=True)
    head_channels: int = Field(default=HEAD_CHANNELS, ge=1)
    window_cells: float = Field(
        default=1.0, gt=0.0, description="side of the pooled window, in cells of each map"
    )
    loss: LossName = Field(
        default="joints_bones", description="of the 3D joints; see estimators.lifters.training.losses"
    )
    keypoint_weight: float = Field(
        default=1.0, ge=0.0, description="of the mean absolute 2D error, in crop coordinates"
    )

    @property
    def inputs(self) -> int:
        """Channels of a joint before the graph network."""
        return sum(self.backbone.channels) + 2


@dataclass(frozen=True)
class GraphPoses:
    """What the network says of B crops.

    Attributes:
        keypoints_crop: (B, J, 2) crop coordinates: those it found, or was given.
        joints_m: (B, J, 3) metres, camera axes, every joint as predicted.
        root_index: Of the skeleton.
    """

    keypoints_crop: Float[Tensor, "B J 2"]
    joints_m: Float[Tensor, "B J 3"]
    root_index: int

    @property
    def joints_root_m(self) -> Float[Tensor, "B J 3"]:
        """Joints relative to the predicted root, which is exactly zero."""
        return self.joints_m - self.joints_m[:, self.root_index : self.root_index + 1]


class GraphPoseNetwork(nn.Module):
    """Crop in, 2D and 3D joints out; see the module's text."""

    def __init__(self, settings: GraphPoseSettings, skeleton: Skeleton) -> None:
        super().__init__()
        self.settings, self.skeleton = settings, skeleton
        self.backbone = ResNet(settings.backbone)
        self.head = IntegralHead(settings.backbone.channels[-1], skeleton.n_joints, settings.head_channels)
        self.gconv_input, self.gconv_layers = graph_layers(settings.inputs, settings.graph, skeleton)
        self.gconv_output = GRAPHS[settings.graph.graph](settings.graph.channels, 3, skeleton)

    def forward(self, crops: Tensor, keypoints_crop: Tensor | None = None) -> GraphPoses:
        """Estimate poses.

        Args:
            crops: (B, 3, H, W) RGB in [0, 1], sides multiples of 32.
            keypoints_crop: (B, J, 2) where to look instead of where the network finds the joints.

        Raises:
            LifterInputError: on crops of a wrong shape or range, or keypoints of another skeleton or in pixels.
        """
        self._check(crops, keypoints_crop)
        maps = self.backbone(normalise_image(crops))
        places: Tensor = self.head(maps[-1]) if keypoints_crop is None else keypoints_crop
        features = features_at_joints(maps, places, self.settings.window_cells)
        inputs = torch.cat([places, features], dim=-1)
        joints_m = self.gconv_output(self.gconv_layers(self.gconv_input(inputs)))
        return GraphPoses(places, joints_m, self.skeleton.root_index)

    def loss(
        self, crops: Tensor, keypoints_crop: Tensor, joints_root_m: Tensor, joints_weight: float = 1.0
    ) -> tuple[Tensor, dict[str, float]]:
        """Training loss of a batch, and its parts.

        Args:
            crops: As for `forward`.
            keypoints_crop: (B, J, 2) true 2D joints; NaN where unknown, which leaves them out.
            joints_root_m: (B, J, 3) true joints, the root at zero.
            joints_weight: Of the 3D loss; 0 while only places are learned.
        """
        poses = self(crops)
        known = torch.isfinite(keypoints_crop).all(-1, keepdim=True)
        error = torch.where(known, poses.keypoints_crop - keypoints_crop.nan_to_num(), 0.0).abs()
        in_2d = error.sum() / (2 * known.sum()).clamp_min(1)
        in_3d = loss_per_sample(self.settings.loss, poses.joints_m, joints_root_m, self.skeleton).mean()
        total = joints_weight * in_3d + self.settings.keypoint_weight * in_2d
        return total, {"joints": float(in_3d.detach()), "keypoints": float(in_2d.detach())}

    def _check(self, crops: Tensor, keypoints_crop: Tensor | None) -> None:
        shape = list(crops.shape)
        if crops.ndim != 4 or shape[1] != 3 or shape[2] % LEAST_STRIDE or shape[3] % LEAST_STRIDE:
            raise LifterInputError(
                f"image network wants (B, 3, H, W) RGB crops, H and W multiples of {LEAST_STRIDE}, got shape {shape}; "
                "cut and resize the crops first"
            )
        values = crops.detach()
        if values.numel() and not bool(((values >= 0.0) & (values <= 1.0)).all()):
            raise LifterInputError(
                f"image network wants RGB values in [0, 1], got {float(values.min()):.4g} to "
                f"{float(values.max()):.4g}; divide bytes by 255, and leave the normalisation to the network"
            )
        if keypoints_crop is None:
            return
        wanted = [shape[0], self.skeleton.n_joints, 2]
        if list(keypoints_crop.shape) != wanted or not bool((keypoints_crop.detach().abs() <= 2.0).all()):
            raise LifterInputError(
                f"image network wants {wanted} keypoints of {self.skeleton.name!r} in crop coordinates from -1 to 1, "
                f"got shape {list(keypoints_crop.shape)}, or values beyond 2; convert pixels by 2 x / width - 1"
            )
