"""SimpleBaseline lifter (Martinez et al. 2017, arXiv 1705.03098) as SemGCN and PoseAug train it.

Two stages of two Linear-BatchNorm-ReLU-dropout layers around a skip connection without activation after the
sum; predicts every joint but the root. Unlike the original: no z-scoring, no max-norm, Kaiming-normal
weights. State-dict names are those of the published checkpoints.
"""

from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from estimators.dropout import SeededDropout
from estimators.lifters.contract import Lifter, insert_root
from poses.skeleton import Skeleton


class SimpleBaselineSettings(BaseModel):
    """Shape of a SimpleBaseline lifter."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["simple_baseline"] = "simple_baseline"
    width: int = Field(default=1024, ge=1, description="units of each hidden layer")
    stages: int = Field(default=2, ge=1, description="residual stages of two layers each")
    dropout: float = Field(default=0.25, ge=0.0, lt=1.0)
    output_gain: float = Field(default=1.0, ge=0.0, description="scale of the output layer's first weights")


class ResidualStage(nn.Module):
    """x + two layers of (Linear, BatchNorm, ReLU, dropout)."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.w1 = nn.Linear(width, width)
        self.batch_norm1 = nn.BatchNorm1d(width)
        self.w2 = nn.Linear(width, width)
        self.batch_norm2 = nn.BatchNorm1d(width)
        self.dropout = SeededDropout(dropout)

    def forward(self, hidden: Tensor) -> Tensor:
        """(N, width) -> (N, width)."""
        first = self.dropout(torch.relu_(self.batch_norm1(self.w1(hidden))))
        return hidden + self.dropout(torch.relu_(self.batch_norm2(self.w2(first))))


class SimpleBaselineLifter(Lifter):
    """Single-frame multilayer perceptron; see the module's text."""

    def __init__(self, settings: SimpleBaselineSettings, skeleton: Skeleton) -> None:
        super().__init__(skeleton, receptive_field=1)
        self.settings = settings
        width = settings.width
        self.w1 = nn.Linear(2 * skeleton.n_joints, width)
        self.batch_norm1 = nn.BatchNorm1d(width)
        self.linear_stages = nn.ModuleList(
            ResidualStage(width, settings.dropout) for _ in range(settings.stages)
        )
        self.w2 = nn.Linear(width, 3 * skeleton.n_bones)
        self.dropout = SeededDropout(settings.dropout)
        for part in self.modules():
            if isinstance(part, nn.Linear):
                nn.init.kaiming_normal_(part.weight)
        # Published (gain 1), the first outputs are 0.6-0.8 m of noise, which Adam spends thousands of steps to unlearn.
        with torch.no_grad():
            self.w2.weight.mul_(settings.output_gain)

    def lift(self, keypoints_screen: Tensor) -> Tensor:
        """(..., J, 2) screen -> (..., J, 3) metres, root-relative."""
        leading = keypoints_screen.shape[:-2]
        joints_root_m = self.network(keypoints_screen.reshape(-1, self.w1.in_features))
        joints_root_m = joints_root_m.view(*leading, self.skeleton.n_bones, 3)
        return insert_root(joints_root_m, self.skeleton.root_index)

    def network(self, keypoints_flat: Tensor) -> Tensor:
        """(N, 2 J) joint-major coordinates -> (N, 3 (J-1)) without the root."""
        hidden = self.dropout(torch.relu_(self.batch_norm1(self.w1(keypoints_flat))))
        for stage in self.linear_stages:
            hidden = stage(hidden)
        return self.w2(hidden)
