"""Graph convolutions over joints: SemGCN's (Zhao et al. 2019, arXiv 1904.03345) and the plain one it is compared with.

`SemanticGraphConvolution` is Eq. 2 with two weight matrices (Eq. 9): one for the joint itself and one for its
neighbours; a learned number per bone end, through a softmax over each joint's row, weighs them.
`ChannelGraphConvolution` (Eq. 3) learns these numbers for every output channel. `PlainGraphConvolution` (Eq. 1) has
fixed weights and one matrix. Names and shapes of the parameters, and their first values, are the released code's:
W is drawn by Xavier's rule on the 3-D tensor, whose fans are (in * out, 2 * out), which makes it about 8 times
smaller than the rule for a matrix would.

All layers take (B, J, in) and give (B, J, out). A layer is one product with `columns` (in, P * out), P parts per
joint, seen as (B, J * P, out), and one with `mixing` (J, J * P); inference code reads both.
"""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from estimators.lifters.graphs.joint_graphs import adjacency_mask, normalised_adjacency
from poses.skeleton import Skeleton

XAVIER_GAIN = 1.414
"""As written in the released code; not the square root of 2."""
FORBIDDEN = -9e15
"""Logit of joint pairs that share no bone."""


class GraphConvolution(nn.Module, ABC):
    """Base of the three; `W` and `bias` are set by the subclasses."""

    W: nn.Parameter
    bias: nn.Parameter

    @abstractmethod
    def mixing(self) -> Tensor:
        """(J, J * P) weights of the parts of all joints in a joint's output, or (out, J, J * P), one per channel."""

    def columns(self) -> Tensor:
        """(in, P * out): all parts' weights side by side."""
        return self.W.permute(1, 0, 2).flatten(1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, J, in) -> (B, J, out)."""
        return mix(self.mixing(), features @ self.columns()) + self.bias


def mix(mixing: Tensor, parts: Tensor) -> Tensor:
    """`GraphConvolution.mixing` times (B, J, P * out) -> (B, J, out)."""
    channels = parts.shape[1] * parts.shape[2] // mixing.shape[-1]
    rows = parts.reshape(parts.shape[0], mixing.shape[-1], channels)
    if mixing.ndim == 2:  # the plain product would copy `rows` to transpose it
        return torch.bmm(mixing.expand(len(rows), -1, -1), rows)
    return torch.einsum("cik,bkc->bic", mixing, rows)


class SemanticGraphConvolution(GraphConvolution):
    """Semantic graph convolution with one learned adjacency for all channels.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        skeleton: Its bones are the edges.
    """

    per_channel = False
    """Whether every output channel has an adjacency of its own."""
    _edges: Tensor

    def __init__(self, inputs: int, outputs: int, skeleton: Skeleton) -> None:
        super().__init__()
        edges = torch.nonzero(adjacency_mask(skeleton).flatten())[:, 0]
        self.register_buffer("_edges", edges, persistent=False)
        self._n_joints = skeleton.n_joints
        self.W = nn.Parameter(torch.empty(2, inputs, outputs))
        self.e = nn.Parameter(torch.ones(outputs if self.per_channel else 1, len(edges)))
        self.bias = nn.Parameter(torch.empty(outputs))
        nn.init.xavier_uniform_(self.W, gain=XAVIER_GAIN)
        bound = 1.0 / math.sqrt(inputs if self.per_channel else outputs)
        nn.init.uniform_(self.bias, -bound, bound)

    def adjacency(self) -> Tensor:
        """(1, J, J), or (out, J, J): rows that add up to 1, zero where there is no bone."""
        joints = self._n_joints
        logits = self.e.new_full((len(self.e), joints * joints), FORBIDDEN)
        logits = logits.index_copy(1, self._edges, self.e)
        return torch.softmax(logits.view(-1, joints, joints), dim=-1)

    def mixing(self) -> Tensor:
        """Column 2 j is joint j's own part, column 2 j + 1 what it gives to its neighbours."""
        adjacency = self.adjacency()
        own = torch.diag_embed(torch.diagonal(adjacency, dim1=1, dim2=2))
        both = torch.stack([own, adjacency - own], dim=-1).flatten(2)
        return both if self.per_channel else both[0]


class ChannelGraphConvolution(SemanticGraphConvolution):
    """The same with a learned adjacency for every output channel; its first bias goes by the inputs."""

    per_channel = True


class PlainGraphConvolution(GraphConvolution):
    """Graph convolution with the skeleton's fixed adjacency; of the ResGCN baseline, which was not released."""

    _adjacency: Tensor

    def __init__(self, inputs: int, outputs: int, skeleton: Skeleton) -> None:
        super().__init__()
        self.register_buffer("_adjacency", normalised_adjacency(skeleton), persistent=False)
        self.W = nn.Parameter(torch.empty(1, inputs, outputs))
        self.bias = nn.Parameter(torch.empty(outputs))
        nn.init.xavier_uniform_(self.W[0], gain=XAVIER_GAIN)
        nn.init.uniform_(self.bias, -1.0 / math.sqrt(outputs), 1.0 / math.sqrt(outputs))

    def mixing(self) -> Tensor:
        """(J, J), fixed."""
        return self._adjacency.to(self.W.dtype)


GRAPHS = {
    "shared": SemanticGraphConvolution,
    "channel_wise": ChannelGraphConvolution,
    "plain": PlainGraphConvolution,
}
"""Graph convolutions by the name that settings use."""
