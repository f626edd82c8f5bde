"""SimpleBaseline lifter (Martinez et al. 2017, arXiv 1705.03098) as SemGCN and PoseAug train it.

Two stages of two Linear-BatchNorm-ReLU-dropout layers around a skip connection without activation after the
sum; predicts every joint but the root. Kaiming-normal weights. State-dict names are those of the published
checkpoints of SemGCN and PoseAug; `PRESETS` has their configurations.

The original paper also standardises inputs and outputs by the training data's mean and spread, and keeps every weight
matrix within a norm of 1; `standardise` and `max_norm` do. Its loss is in standardised units, ours in metres always.
"""

from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from estimators.dropout import SeededDropout
from estimators.lifters.contract import Lifter, insert_root
from poses.skeleton import Skeleton, load_skeleton

_LEAST_SPREAD = 1e-6


class SimpleBaselineSettings(BaseModel):
    """Shape of a SimpleBaseline lifter."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["simple_baseline"] = "simple_baseline"
    width: int = Field(default=1024, ge=1, description="units of each hidden layer")
    stages: int = Field(default=2, ge=1, description="residual stages of two layers each")
    dropout: float = Field(default=0.25, ge=0.0, lt=1.0)
    standardise: bool = Field(
        default=False,
        description="z-scores of keypoints in and of joints out; `fit` takes them from the data",
    )
    max_norm: float | None = Field(
        default=None, gt=0.0, description="largest Frobenius norm of a layer's weights as they are used"
    )
    output_gain: float = Field(default=1.0, ge=0.0, description="scale of the output layer's first weights")
    keypoint_skeleton: str | None = Field(
        default=None, description="skeleton of the 2D keypoints by name, where it differs from the poses'"
    )


PRESETS = {
    "semgcn": SimpleBaselineSettings(dropout=0.5),
    "poseaug": SimpleBaselineSettings(dropout=0.25),
    "poseaug_stages4": SimpleBaselineSettings(dropout=0.25, stages=4),
    "martinez": SimpleBaselineSettings(dropout=0.5, standardise=True, max_norm=1.0),
}
"""The published configurations: SemGCN's repository; PoseAug's README; what PoseAug's code builds when `--stages` is
forgotten; the original paper."""


class BoundedLinear(nn.Linear):
    """Linear whose weights are scaled down to a Frobenius norm where they exceed it; the gradient knows of it."""

    def __init__(self, inputs: int, outputs: int, max_norm: float | None) -> None:
        super().__init__(inputs, outputs)
        self.max_norm = max_norm

    def forward(self, input: Tensor) -> Tensor:
        """(N, inputs) -> (N, outputs)."""
        if self.max_norm is None:
            return super().forward(input)
        scale = (self.max_norm / torch.linalg.vector_norm(self.weight)).clamp(max=1.0)
        return nn.functional.linear(input, self.weight * scale, self.bias)


class Standard(nn.Module):
    """Mean and spread of each coordinate, as buffers; 0 and 1 until they are taken from data."""

    mean: Tensor
    spread: Tensor

    def __init__(self, coordinates: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(coordinates))
        self.register_buffer("spread", torch.ones(coordinates))

    def fit(self, values: Tensor) -> None:
        """Take them from (N, coordinates); coordinates that never change keep spread 1."""
        spread = values.std(0)
        self.mean.copy_(values.mean(0))
        self.spread.copy_(torch.where(spread > _LEAST_SPREAD, spread, 1.0))


class ResidualStage(nn.Module):
    """x + two layers of (Linear, BatchNorm, ReLU, dropout)."""

    def __init__(self, width: int, dropout: float, max_norm: float | None) -> None:
        super().__init__()
        self.w1 = BoundedLinear(width, width, max_norm)
        self.batch_norm1 = nn.BatchNorm1d(width)
        self.w2 = BoundedLinear(width, width, max_norm)
        self.batch_norm2 = nn.BatchNorm1d(width)
        self.dropout = SeededDropout(dropout)

    def forward(self, hidden: Tensor) -> Tensor:
        """(N, width) -> (N, width)."""
        first = self.dropout(torch.relu_(self.batch_norm1(self.w1(hidden))))
        return hidden + self.dropout(torch.relu_(self.batch_norm2(self.w2(first))))


class SimpleBaselineLifter(Lifter):
    """Single-frame multilayer perceptron; see the module's text."""

    def __init__(self, settings: SimpleBaselineSettings, skeleton: Skeleton) -> None:
        named = load_skeleton(settings.keypoint_skeleton) if settings.keypoint_skeleton else None
        super().__init__(skeleton, receptive_field=1, keypoint_skeleton=named)
        self.settings = settings
        width = settings.width
        self.w1 = BoundedLinear(2 * self.keypoint_skeleton.n_joints, width, settings.max_norm)
        self.batch_norm1 = nn.BatchNorm1d(width)
        self.linear_stages = nn.ModuleList(
            ResidualStage(width, settings.dropout, settings.max_norm) for _ in range(settings.stages)
        )
        self.w2 = BoundedLinear(width, 3 * skeleton.n_bones, settings.max_norm)
        self.dropout = SeededDropout(settings.dropout)
        for part in self.modules():
            if isinstance(part, nn.Linear):
                nn.init.kaiming_normal_(part.weight)
        # Published (gain 1), the first outputs are 0.6-0.8 m of noise, which Adam spends thousands of steps to unlearn.
        with torch.no_grad():
            self.w2.weight.mul_(settings.output_gain)
        self.standard_in = Standard(self.w1.in_features) if settings.standardise else None
        self.standard_out = Standard(3 * skeleton.n_bones) if settings.standardise else None

    def fit(self, keypoints_screen: Tensor, joints_root_m: Tensor) -> None:
        """Take means and spreads from training data, where the settings standardise."""
        if self.standard_in is None or self.standard_out is None:
            return
        others = [joint for joint in range(self.skeleton.n_joints) if joint != self.skeleton.root_index]
        with torch.no_grad():
            self.standard_in.fit(keypoints_screen.reshape(-1, self.w1.in_features))
            self.standard_out.fit(joints_root_m[..., others, :].reshape(-1, self.w2.out_features))

    def lift(self, keypoints_screen: Tensor) -> Tensor:
        """(..., J, 2) screen -> (..., J, 3) metres, root-relative."""
        leading = keypoints_screen.shape[:-2]
        joints_root_m = self.network(keypoints_screen.reshape(-1, self.w1.in_features))
        joints_root_m = joints_root_m.view(*leading, self.skeleton.n_bones, 3)
        return insert_root(joints_root_m, self.skeleton.root_index)

    def network(self, keypoints_flat: Tensor) -> Tensor:
        """(N, 2 J) joint-major coordinates -> (N, 3 (J-1)) without the root."""
        if self.standard_in is not None:
            keypoints_flat = (keypoints_flat - self.standard_in.mean) / self.standard_in.spread
        hidden = self.dropout(torch.relu_(self.batch_norm1(self.w1(keypoints_flat))))
        for stage in self.linear_stages:
            hidden = stage(hidden)
        joints = self.w2(hidden)
        if self.standard_out is not None:
            joints = joints * self.standard_out.spread + self.standard_out.mean
        return joints
