"""Single-frame ST-GCN lifter as PoseAug uses it: graph convolutions on joints, on five body parts and on the body,
brought together again before a non-local block (Cai et al. 2019, "Exploiting Spatial-Temporal Relationships for 3D Pose
Estimation via Graph Convolutional Networks").

What the published wrapper does and this one keeps: a 17th joint is put between thorax and head, and every joint, the
root too, is predicted (`lift_for_loss`; `lift` subtracts the root). The BatchNorm of the input has eps 0.1, because the
published code gives its momentum as the second argument. Unlike it, a single pose works, and nothing asks for a GPU.
All 1x1 convolutions are Linear layers here; `to_published_state` gives them their (out, in, 1, 1) kernels.
"""

from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from estimators.dropout import SeededDropout
from estimators.errors import LifterInputError
from estimators.lifters.contract import Lifter
from estimators.lifters.graphs.convolution import mix
from estimators.lifters.graphs.published_state import load_published
from estimators.lifters.graphs.stgcn_graph import PARTITIONS, body_graph, inner_skeleton
from poses.skeleton import Skeleton

INPUT_EPS = 0.1
_DROPOUT_BLOCK, _DROPOUT_BODY, _DROPOUT_UP, _DROPOUT_OUTPUT = 0.05, 0.25, 0.1, 0.1


class STGCNSettings(BaseModel):
    """Shape of an ST-GCN lifter; the defaults are PoseAug's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["stgcn"] = "stgcn"
    channels: tuple[int, int, int] = Field(default=(128, 128, 256), description="of the blocks on joints")
    part_channels: int = Field(default=512, ge=1, description="of the blocks on parts and the whole body")
    dropout: float | None = Field(
        default=None, ge=0.0, lt=1.0, description="of all layers; if not given, each layer's published own"
    )


class PartitionedGraphConvolution(nn.Module):
    """One weight matrix for each partition of a fixed graph."""

    def __init__(self, inputs: int, outputs: int, graph: Tensor) -> None:
        super().__init__()
        self.conv = nn.Linear(inputs, PARTITIONS * outputs)
        mixing = graph.permute(2, 1, 0).flatten(1)
        self.register_buffer("_mixing", mixing.contiguous(), persistent=False)

    _mixing: Tensor

    def forward(self, features: Tensor) -> Tensor:
        """(B, V, in) -> (B, V, out)."""
        return mix(self._mixing.to(features.dtype), self.conv(features))


class GraphUnit(nn.Module):
    """Graph convolution, BatchNorm, ReLU, Linear, BatchNorm, a way around it, ReLU."""

    def __init__(self, inputs: int, outputs: int, graph: Tensor, dropout: float, around: bool = True) -> None:
        super().__init__()
        self.gcn = PartitionedGraphConvolution(inputs, outputs, graph)
        self.tcn = nn.Sequential(
            nn.BatchNorm1d(outputs),
            nn.ReLU(inplace=True),
            SeededDropout(dropout),
            nn.Linear(outputs, outputs),
            nn.BatchNorm1d(outputs),
            SeededDropout(dropout),
        )
        self.around = around
        if around and inputs != outputs:
            self.residual = nn.Sequential(nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs))

    def forward(self, features: Tensor) -> Tensor:
        """(B, V, in) -> (B, V, out)."""
        mixed = per_joint(self.tcn, self.gcn(features))
        if self.around:
            mixed = mixed + (per_joint(self.residual, features) if hasattr(self, "residual") else features)
        return torch.relu_(mixed)


class NonLocalMixture(nn.Module):
    """x + BatchNorm(W (softmax(theta phi^T) g)) over joints: the embedded Gaussian form, zero-weighted at first."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.g = nn.Linear(channels, half)
        self.W = nn.Sequential(nn.Linear(half, channels), nn.BatchNorm1d(channels))
        self.theta = nn.Linear(channels, half)
        self.phi = nn.Linear(channels, half)
        nn.init.zeros_(self.W.get_parameter("1.weight"))

    def forward(self, features: Tensor) -> Tensor:
        """(B, V, C) -> (B, V, C)."""
        score = torch.softmax(self.theta(features) @ self.phi(features).transpose(1, 2), dim=-1)
        return features + per_joint(self.W, score @ self.g(features))


class BodyNetwork(nn.Module):
    """The network inside the published wrapper, on its own joints; names are the released code's."""

    def __init__(self, settings: STGCNSettings, skeleton: Skeleton) -> None:
        super().__init__()
        graph = body_graph(skeleton)
        first, second, third = settings.channels
        wide, given = settings.part_channels, settings.dropout
        block, body, up, output = (
            own if given is None else given
            for own in (_DROPOUT_BLOCK, _DROPOUT_BODY, _DROPOUT_UP, _DROPOUT_OUTPUT)
        )
        self.data_bn = nn.BatchNorm1d(2 * skeleton.n_joints, eps=INPUT_EPS)
        self.st_gcn_networks = nn.Sequential(
            GraphUnit(2, first, graph.joints, block, around=False),
            GraphUnit(first, second, graph.joints, block),
            GraphUnit(second, third, graph.joints, block),
        )
        self.st_gcn_pool = nn.Sequential(
            GraphUnit(third, wide, graph.parts, block), GraphUnit(wide, wide, graph.parts, block)
        )
        self.conv4 = _linear_block(wide, wide, body)
        self.conv2 = _linear_block(2 * wide, third, up)
        self.non_local = NonLocalMixture(2 * third)
        self.fcn = nn.Sequential(SeededDropout(output), nn.Linear(2 * third, 3))
        self.members = [list(part) for part in graph.members]
        part_of = torch.empty(skeleton.n_joints, dtype=torch.int64)
        for part, members in enumerate(self.members):
            part_of[members] = part
        self.register_buffer("_part_of", part_of, persistent=False)

    _part_of: Tensor

    def forward(self, keypoints: Tensor) -> Tensor:
        """(B, V, 2) -> (B, V, 3)."""
        normed = self.data_bn(keypoints.flatten(1)).view(keypoints.shape)
        joints = self.st_gcn_networks(normed)
        pooled = torch.stack([joints[:, members].amax(1) for members in self.members], dim=1)
        parts = self.st_gcn_pool(pooled)
        body = self.conv4(parts.amax(1)).unsqueeze(1).expand_as(parts)
        given_back = per_joint(self.conv2, torch.cat([body, parts], dim=-1))
        both = torch.cat([joints, given_back.index_select(1, self._part_of)], dim=-1)
        return self.fcn(self.non_local(both))


class STGCNLifter(Lifter):
    """Single-frame graph network over joints, parts and body; see the module's text."""

    def __init__(self, settings: STGCNSettings, skeleton: Skeleton) -> None:
        super().__init__(skeleton, receptive_field=1)
        self.settings = settings
        inner, inward, outward = inner_skeleton(skeleton)
        self.stgcn = BodyNetwork(settings, inner)
        self.register_buffer("_inward", inward, persistent=False)
        self.register_buffer("_outward", outward, persistent=False)

    _inward: Tensor
    _outward: Tensor

    def lift(self, keypoints_screen: Tensor) -> Tensor:
        """(..., J, 2) screen -> (..., J, 3) metres, root-relative."""
        joints_m = self.lift_for_loss(keypoints_screen)
        root = self.skeleton.root_index
        return joints_m - joints_m[..., root : root + 1, :]

    def lift_for_loss(self, keypoints_screen: Tensor) -> Tensor:
        """(..., J, 2) screen -> (..., J, 3) metres: every joint as predicted, the root too.

        Raises:
            LifterInputError: on a single pose in training mode, which BatchNorm cannot normalise.
        """
        flat = keypoints_screen.reshape(-1, *keypoints_screen.shape[-2:])
        if self.training and len(flat) < 2:
            raise LifterInputError(
                f"ST-GCN wants at least two poses a batch in training mode, got {len(flat)}; its BatchNorm has no "
                "statistics of one pose; use larger batches, or eval() to predict"
            )
        joints_m = mix(self._outward.to(flat.dtype), self.stgcn(mix(self._inward.to(flat.dtype), flat)))
        return joints_m.view(*keypoints_screen.shape[:-1], 3)

    def to_published_state(self) -> dict[str, Tensor]:
        """State dict with the released kernels."""
        return {
            name: value[:, :, None, None] if value.ndim == 2 else value
            for name, value in self.state_dict().items()
        }

    def from_published_state(self, state: dict[str, Tensor]) -> None:
        """Load a published state dict.

        Raises:
            CheckpointError: if names or shapes are not those of this network.
        """
        own = {
            name: value[:, :, 0, 0] if value.ndim == 4 and value.shape[2:] == (1, 1) else value
            for name, value in state.items()
        }
        load_published(self, own, "ST-GCN", "channels and part_channels")


def per_joint(layers: nn.Sequential, features: Tensor) -> Tensor:
    """Layers for (N, C), BatchNorms among them, on (B, V, C): every joint of every pose is a row."""
    return layers(features.flatten(0, 1)).unflatten(0, features.shape[:2])


def _linear_block(inputs: int, outputs: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU(inplace=True), SeededDropout(dropout)
    )
