"""SemGCN lifter (Zhao et al. 2019, arXiv 1904.03345): residual semantic graph convolutions, non-local blocks between.

The network predicts every joint, the root too, and the released code trains all of them towards root-relative targets;
`lift_for_loss` gives that output, `lift` subtracts the predicted root. State-dict names are those of the published
checkpoints but for the non-local blocks: the released attribute `nonlocal` is a keyword now, so `to_published_state`
writes it and `from_published_state` takes it as well as the forks' `non_local`.
Without non-local blocks this is also PoseAug's `gcn`; with `graph: plain` the paper's ResGCN baseline.
"""

from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from estimators.dropout import SeededDropout
from estimators.lifters.contract import Lifter
from estimators.lifters.graphs.convolution import GRAPHS
from estimators.lifters.graphs.joint_graphs import JointGroups, check_groups, joint_groups
from estimators.lifters.graphs.non_local import GraphNonLocal
from estimators.lifters.graphs.published_state import load_published
from estimators.lifters.graphs.semgcn_inference import (
    FoldedConvolution,
    FoldedNetwork,
    FoldedNonLocal,
    FoldedOutput,
    FoldedStep,
    JointOrder,
)
from poses.skeleton import Skeleton

_PUBLISHED_SEGMENT, _OWN_SEGMENT = ".nonlocal.", ".non_local."


class SemGCNSettings(BaseModel):
    """Shape of a SemGCN lifter; the defaults are the released local network."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["semgcn"] = "semgcn"
    channels: int = Field(default=128, ge=2, multiple_of=2)
    blocks: int = Field(default=4, ge=1, description="residual blocks of two graph convolutions")
    graph: Literal["shared", "channel_wise", "plain"] = Field(
        default="shared",
        description="learned adjacency for all channels (released), one for each channel (Eq. 3), or fixed (ResGCN)",
    )
    non_local: bool = Field(
        default=False, description="a non-local block after the input and every residual block"
    )
    joint_groups: JointGroups | None = Field(
        default=None,
        description="joints pooled together in non-local blocks; derived from the skeleton if not given",
    )
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)


class GraphBlock(nn.Module):
    """Graph convolution, BatchNorm over all joints, ReLU, dropout."""

    def __init__(self, inputs: int, settings: SemGCNSettings, skeleton: Skeleton) -> None:
        super().__init__()
        self.gconv = GRAPHS[settings.graph](inputs, settings.channels, skeleton)
        self.bn = nn.BatchNorm1d(settings.channels)
        self.dropout = SeededDropout(settings.dropout)

    def forward(self, features: Tensor) -> Tensor:
        """(B, J, in) -> (B, J, channels)."""
        mixed = self.gconv(features)
        normed = self.bn(mixed.flatten(0, 1)).view_as(mixed)
        return self.dropout(torch.relu_(normed))


class ResidualGraphBlock(nn.Module):
    """x + two graph blocks; no activation after the sum."""

    def __init__(self, settings: SemGCNSettings, skeleton: Skeleton) -> None:
        super().__init__()
        self.gconv1 = GraphBlock(settings.channels, settings, skeleton)
        self.gconv2 = GraphBlock(settings.channels, settings, skeleton)

    def forward(self, features: Tensor) -> Tensor:
        """(B, J, C) -> (B, J, C)."""
        return features + self.gconv2(self.gconv1(features))


class NonLocalStep(nn.Module):
    """A non-local block under the name that the checkpoints give it."""

    def __init__(self, settings: SemGCNSettings, skeleton: Skeleton) -> None:
        super().__init__()
        groups = settings.joint_groups or joint_groups(skeleton)
        self.non_local = GraphNonLocal(settings.channels, groups, skeleton)

    def forward(self, features: Tensor) -> Tensor:
        """(B, J, C) -> (B, J, C)."""
        return self.non_local(features)


def graph_layers(
    inputs: int, settings: SemGCNSettings, skeleton: Skeleton
) -> tuple[nn.Sequential, nn.Sequential]:
    """The block on the inputs and the residual blocks, a non-local block after each where the settings want them."""
    if settings.joint_groups is not None:
        check_groups(settings.joint_groups, skeleton)

    def followed(block: nn.Module) -> list[nn.Module]:
        return [block, NonLocalStep(settings, skeleton)] if settings.non_local else [block]

    first = followed(GraphBlock(inputs, settings, skeleton))
    blocks = range(settings.blocks)
    rest = [part for _ in blocks for part in followed(ResidualGraphBlock(settings, skeleton))]
    return nn.Sequential(*first), nn.Sequential(*rest)


def _folded(block: GraphBlock, order: JointOrder) -> FoldedConvolution:
    return FoldedConvolution(block.gconv, block.bn, order)


def _folded_step(part: nn.Module, order: JointOrder) -> FoldedStep:
    if isinstance(part, NonLocalStep):
        return FoldedNonLocal(part.non_local, order)
    if isinstance(part, ResidualGraphBlock):
        return _folded(part.gconv1, order), _folded(part.gconv2, order)
    raise TypeError(f"no folded form of {type(part).__name__}")


class SemGCNLifter(Lifter):
    """Single-frame graph network; see the module's text."""

    def __init__(self, settings: SemGCNSettings, skeleton: Skeleton) -> None:
        super().__init__(skeleton, receptive_field=1)
        self.settings = settings
        self.gconv_input, self.gconv_layers = graph_layers(2, settings, skeleton)
        self.gconv_output = GRAPHS[settings.graph](settings.channels, 3, skeleton)

    def lift(self, keypoints_screen: Tensor) -> Tensor:
        """(..., J, 2) screen -> (..., J, 3) metres, root-relative."""
        joints_m = self.lift_for_loss(keypoints_screen)
        root = self.skeleton.root_index
        return joints_m - joints_m[..., root : root + 1, :]

    def lift_for_loss(self, keypoints_screen: Tensor) -> Tensor:
        """(..., J, 2) screen -> (..., J, 3) metres: every joint as predicted, the root too."""
        flat = keypoints_screen.reshape(-1, *keypoints_screen.shape[-2:])
        return self.network(flat).view(*keypoints_screen.shape[:-1], 3)

    def network(self, keypoints_screen: Tensor) -> Tensor:
        """(B, J, 2) -> (B, J, 3): the published network's own output; faster in evaluation mode without gradients."""
        if not self.training and not torch.is_grad_enabled():
            return self.folded()(keypoints_screen)
        return self.gconv_output(self.gconv_layers(self.gconv_input(keypoints_screen)))

    def folded(self) -> FoldedNetwork:
        """The network as it stands, folded for inference; later training does not change the copy.

        `network` folds at every call, which costs as much as a dozen poses; keep a copy to lift few poses at a time.
        """
        groups = self.settings.joint_groups or joint_groups(self.skeleton)
        order = JointOrder(groups, self.skeleton, self.gconv_output.bias.device)
        with torch.no_grad():
            first, *after_first = self.gconv_input
            if not isinstance(first, GraphBlock):
                raise TypeError(f"SemGCN's first layer is a GraphBlock, got {type(first).__name__}")
            steps = tuple(_folded_step(part, order) for part in (*after_first, *self.gconv_layers))
            return FoldedNetwork(_folded(first, order), steps, FoldedOutput(self.gconv_output, order), order)

    def to_published_state(self) -> dict[str, Tensor]:
        """State dict with the released names."""
        return {
            name.replace(_OWN_SEGMENT, _PUBLISHED_SEGMENT): value for name, value in self.state_dict().items()
        }

    def from_published_state(self, state: dict[str, Tensor]) -> None:
        """Load a published state dict, its non-local blocks named `nonlocal` or `non_local`.

        Raises:
            CheckpointError: if names or shapes are not those of this network.
        """
        own = {name.replace(_PUBLISHED_SEGMENT, _OWN_SEGMENT): value for name, value in state.items()}
        load_published(self, own, "SemGCN", "channels, blocks, graph and non_local")
