"""SemGCN's non-local block over joints, in the algebra that costs least and gives the same numbers.

Published (spec 1.1): theta, phi and g are 1x1 convolutions of every joint to C/2 channels; phi and g are max-pooled
over groups of two joints; the score of joint i and group n is ReLU(concat_project [theta_i, phi_n]) / N; the output is
x + BatchNorm(W (sum over n of score_in g_n)), and zero-weighted at first because BatchNorm's weight is.

Here the projection's two halves are applied before the concatenation, theta and its half become one vector, and W
is applied to the N pooled rows of g before they are summed rather than to all joints after. Where the published
block drops the last joint of an odd number, a joint without a partner is a group of its own.
"""

import torch
from torch import Tensor, nn

from estimators.lifters.graphs.joint_graphs import JointGroups
from poses.skeleton import Skeleton


class GraphNonLocal(nn.Module):
    """x + a learned mixture of all joints' features; names and shapes of the parameters are the released code's.

    Args:
        channels: C, even.
        groups: Joints that are pooled together.
        skeleton: Names the joints of the groups.
    """

    _first: Tensor
    _last: Tensor

    def __init__(self, channels: int, groups: JointGroups, skeleton: Skeleton) -> None:
        super().__init__()
        half = channels // 2
        self.g = nn.Sequential(nn.Conv1d(channels, half, 1))
        self.theta = nn.Conv1d(channels, half, 1)
        self.phi = nn.Sequential(nn.Conv1d(channels, half, 1))
        self.concat_project = nn.Sequential(nn.Conv2d(channels, 1, 1, bias=False))
        self.W = nn.Sequential(nn.Conv1d(half, channels, 1), nn.BatchNorm1d(channels))
        first = [skeleton.index(group[0]) for group in groups]
        last = [skeleton.index(group[-1]) for group in groups]
        self.register_buffer("_first", torch.tensor(first), persistent=False)
        self.register_buffer("_last", torch.tensor(last), persistent=False)
        for part in self.modules():
            if isinstance(part, nn.Conv1d | nn.Conv2d):
                nn.init.kaiming_normal_(part.weight)
                if part.bias is not None:
                    nn.init.zeros_(part.bias)
        nn.init.zeros_(self.norm.weight)

    @property
    def norm(self) -> nn.BatchNorm1d:
        """The BatchNorm of the output."""
        norm = self.W[1]
        if not isinstance(norm, nn.BatchNorm1d):
            raise TypeError(f"W.1 of a non-local block is a BatchNorm1d, got {type(norm).__name__}")
        return norm

    def forward(self, features: Tensor) -> Tensor:
        """(B, J, C) -> (B, J, C)."""
        weights = NonLocalWeights.of(self)
        output = weights.mixture(features, self._first, self._last)
        normed = self.norm(output.flatten(0, 1)).view_as(features)
        return normed + features


class NonLocalWeights:
    """A block's weights as its cheaper algebra wants them, differentiable functions of the published ones.

    Attributes:
        both: (C, C) columns of phi, then of g.
        both_bias: (C,).
        own: (C, 1) from a joint's features to its half of the score.
        own_bias: (1,).
        group: (C/2, 1) from a group's phi to its half of the score.
        out: (C/2, C).
        out_bias: (C,).
    """

    def __init__(
        self,
        both: Tensor,
        both_bias: Tensor,
        own: Tensor,
        own_bias: Tensor,
        group: Tensor,
        out: Tensor,
        out_bias: Tensor,
    ) -> None:
        self.both, self.both_bias = both, both_bias
        self.own, self.own_bias, self.group = own, own_bias, group
        self.out, self.out_bias = out, out_bias

    @staticmethod
    def of(block: GraphNonLocal) -> "NonLocalWeights":
        """Those of a block, its BatchNorm left out."""
        state = dict(block.named_parameters())
        half = state["theta.weight"].shape[0]
        own, group = state["concat_project.0.weight"].view(2, half, 1)
        theta = state["theta.weight"][:, :, 0]
        return NonLocalWeights(
            both=torch.cat([state["phi.0.weight"], state["g.0.weight"]])[:, :, 0].t(),
            both_bias=torch.cat([state["phi.0.bias"], state["g.0.bias"]]),
            own=theta.t() @ own,
            own_bias=state["theta.bias"] @ own,
            group=group,
            out=state["W.0.weight"][:, :, 0].t(),
            out_bias=state["W.0.bias"],
        )

    def mixture(self, features: Tensor, first: Tensor, last: Tensor) -> Tensor:
        """(B, J, C) -> (B, J, C): what the block adds, before its BatchNorm."""
        both = features @ self.both + self.both_bias
        pooled = torch.maximum(both.index_select(1, first), both.index_select(1, last))
        phi, g = pooled.chunk(2, dim=-1)
        own, of_group = features @ self.own + self.own_bias, phi @ self.group
        score = torch.relu(own + of_group.transpose(1, 2)) / len(first)
        return score @ (g @ self.out) + self.out_bias
