"""SemGCN without gradients: the same numbers, to float rounding, at a fraction of the published form's cost.

Per call the learned adjacencies go through their softmax once, BatchNorm is folded into the weights before it, theta of
the non-local blocks into one vector (`NonLocalWeights`), and biases are moved past the pooling, where there are half as
many rows. Poses are then worked on in chunks whose activations stay in the processor's cache, in buffers that every
layer writes over; each step is bound to its buffers once (`bind`), so that a chunk costs its arithmetic and little
else. The few columns of the output are mixed between joints for the whole batch at once. On a GPU a chunk is the whole
batch.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from estimators.lifters.graphs.convolution import GraphConvolution, mix
from estimators.lifters.graphs.joint_graphs import JointGroups
from estimators.lifters.graphs.non_local import GraphNonLocal, NonLocalWeights
from poses.skeleton import Skeleton

CHUNK = 64
"""Poses that are worked on together on a CPU; 64 to 128 are equally fast at 128 channels."""

Work = Callable[[], object]
"""A step on buffers that it knows."""


class JointOrder:
    """The first joints of all groups of two, their partners in the same order, then the joints without one.

    Pooling then compares two blocks of memory.

    Args:
        groups: As in non-local blocks.
        skeleton: Names their joints.
        device: Where the indices are used.
    """

    def __init__(self, groups: JointGroups, skeleton: Skeleton, device: torch.device) -> None:
        pairs = [group for group in groups if len(group) == 2]
        singles = [group[0] for group in groups if len(group) == 1]
        order = skeleton.indices([*(first for first, _ in pairs), *(second for _, second in pairs), *singles])
        self.pairs, self.groups = len(pairs), len(groups)
        self.order = torch.from_numpy(order).to(device)
        self.back = torch.argsort(self.order)


class FoldedConvolution:
    """A graph convolution, the BatchNorm and the ReLU after it.

    With one adjacency for all channels the neighbours are mixed before their product with the weights: the same sum in
    another order, and less to move. `channel_wise` layers mix afterwards, as they must.

    Attributes:
        weight: (P, in, out), the neighbours' part last.
        bias: (out,).
        mixing: (P, J, J), or (P, out, J, J) where every channel has an adjacency of its own.
    """

    def __init__(self, layer: GraphConvolution, norm: nn.BatchNorm1d | None, order: JointOrder) -> None:
        if norm is None:
            self.weight, self.bias = layer.W.clone(), layer.bias.clone()
        else:
            scale, shift = _scale_and_shift(norm)
            self.weight, self.bias = layer.W * scale, torch.addcmul(shift, layer.bias, scale)
        mixing = layer.mixing().unflatten(-1, (len(order.order), -1)).movedim(-1, 0)
        self.mixing = mixing.index_select(-2, order.order).index_select(-1, order.order)

    def bind(self, features: Tensor, scratch: Tensor, out: Tensor) -> Work:
        """Work from `features` (b, J, in) to `out` (b, J, out); `scratch` holds 2 * b * J * max(in, out)."""
        if self.mixing.ndim == 4:
            return self._bind_by_channel(features, scratch, out)
        rows, joints, inputs = features.shape
        mixed = scratch[: features.numel()].view(features.shape)
        flat, flat_mixed = out.view(rows * joints, -1), mixed.view(rows * joints, inputs)
        neighbours, weight = self.mixing[-1].expand(rows, -1, -1), self.weight[-1]
        own = self.mixing[0].diagonal().unsqueeze(1).contiguous() if len(self.weight) == 2 else None

        def work() -> None:
            torch.bmm(neighbours, features, out=mixed)
            torch.addmm(self.bias, flat_mixed, weight, out=flat)
            if own is not None:
                torch.mul(features, own, out=mixed)
                flat.addmm_(flat_mixed, self.weight[0])
            out.relu_()

        return work

    def _bind_by_channel(self, features: Tensor, scratch: Tensor, out: Tensor) -> Work:
        rows, joints, inputs = features.shape
        columns, mixing = self.weight.transpose(0, 1).flatten(1), self.mixing.movedim(0, -1).flatten(-2)
        wide = scratch[: rows * joints * columns.shape[1]].view(rows, joints, -1)

        def work() -> None:
            torch.mm(features.view(-1, inputs), columns, out=wide.view(rows * joints, -1))
            out.copy_(mix(mixing, wide)).add_(self.bias).relu_()

        return work


class FoldedOutput:
    """The last graph convolution: its product makes few columns, which are mixed afterwards."""

    def __init__(self, layer: GraphConvolution, order: JointOrder) -> None:
        folded = FoldedConvolution(layer, None, order)
        self.columns = folded.weight.transpose(0, 1).flatten(1)
        self.bias, self.back = folded.bias[:, None, None], order.back
        mixing = folded.mixing if folded.mixing.ndim == 4 else folded.mixing.unsqueeze(1)
        self.mixing = mixing.transpose(-1, -2).contiguous()

    def mix(self, columns: Tensor) -> Tensor:
        """(P * 3, B * J), the products of all joints' features with `columns`, -> (B, J, 3) in the skeleton's order."""
        parts, joints = len(self.mixing), len(self.back)
        by_part = columns.view(parts, len(columns) // parts, columns.shape[1] // joints, joints)
        mixed = (by_part @ self.mixing).sum(0).add_(self.bias)
        return mixed.permute(1, 2, 0).index_select(1, self.back)


class FoldedNonLocal:
    """A non-local block with its BatchNorm and the division by the number of groups inside `out`."""

    def __init__(self, block: GraphNonLocal, order: JointOrder) -> None:
        weights = NonLocalWeights.of(block)
        scale, shift = _scale_and_shift(block.norm)
        phi_bias, g_bias = weights.both_bias.chunk(2)
        self.both, self.own, self.group = weights.both.contiguous(), weights.own, weights.group[:, 0].clone()
        self.score_bias = weights.own_bias + phi_bias @ self.group
        self.out = weights.out.contiguous() * (scale / order.groups)
        self.given_bias = g_bias @ self.out
        self.out_bias = torch.addcmul(shift, weights.out_bias, scale)
        self.pairs, self.groups = order.pairs, order.groups

    def bind(self, features: Tensor, scratch: Tensor) -> Work:
        """Work that changes `features` (b, J, C) in place; `scratch` holds 2 * b * J * C."""
        rows, joints, channels = features.shape
        flat, groups = features.view(rows * joints, channels), rows * self.groups
        both = scratch[: flat.numel()].view(features.shape)
        pooled = scratch[flat.numel() :][: groups * channels].view(rows, self.groups, channels)
        flat_both = both.view(flat.shape)
        given = flat_both[:groups]  # `both` has been pooled by then
        phi, g = pooled.view(groups, channels).chunk(2, dim=1)
        own, of_group = flat.new_empty(rows * joints, 1), flat.new_empty(groups)
        score = flat.new_empty(rows, joints, self.groups)
        score_bias = self.score_bias.expand(groups)
        pool = self._bind_pooling(both, pooled)

        def work() -> None:
            torch.mm(flat, self.both, out=flat_both)
            torch.mm(flat, self.own, out=own)
            pool()
            torch.addmv(score_bias, phi, self.group, out=of_group)
            torch.add(own.view(rows, joints, 1), of_group.view(rows, 1, -1), out=score).relu_()
            torch.addmm(self.given_bias, g, self.out, out=given)
            features.baddbmm_(score, given.view(pooled.shape)).add_(self.out_bias)

        return work

    def _bind_pooling(self, both: Tensor, pooled: Tensor) -> Work:
        first, second = both[:, : self.pairs], both[:, self.pairs : 2 * self.pairs]
        of_pairs, single, of_single = (
            pooled[:, : self.pairs],
            both[:, 2 * self.pairs :],
            pooled[:, self.pairs :],
        )

        def pool() -> None:
            torch.maximum(first, second, out=of_pairs)
            if self.pairs < self.groups:
                of_single.copy_(single)

        return pool


FoldedStep = tuple[FoldedConvolution, FoldedConvolution] | FoldedNonLocal
"""Residual block or non-local block."""


@dataclass(frozen=True)
class FoldedNetwork:
    """A whole SemGCN.

    Attributes:
        first: The input layer.
        steps: Residual pairs with non-local blocks between them, in order.
        output: The last layer.
        order: Of the joints inside.
    """

    first: FoldedConvolution
    steps: tuple[FoldedStep, ...]
    output: FoldedOutput
    order: JointOrder

    def __call__(self, keypoints_screen: Tensor) -> Tensor:
        """(B, J, 2) -> (B, J, 3), every joint as the network predicts it."""
        rows, joints, _ = keypoints_screen.shape
        inputs = keypoints_screen.to(self.first.bias.dtype).index_select(1, self.order.order)
        chunk = rows if inputs.is_cuda else min(rows, CHUNK)
        columns = inputs.new_empty(self.output.columns.shape[1], rows * joints)
        bound = None
        for start in range(0, rows, max(1, chunk)):
            part = inputs[start : start + chunk]
            if bound is None or len(part) < len(bound.inputs):
                bound = self._bind(part)
            bound.inputs.copy_(part)
            for work in bound.works:
                work()
            out = columns[:, start * joints : (start + len(part)) * joints]
            torch.mm(bound.features, self.output.columns, out=out.t())
        return self.output.mix(columns)

    def _bind(self, part: Tensor) -> "_Bound":
        """All steps on buffers for chunks of the size of `part`."""
        rows, joints, _ = part.shape
        inputs, channels = torch.empty_like(part), len(self.first.bias)
        hidden, between, after = part.new_empty(3, rows, joints, channels)
        scratch = part.new_empty(2 * hidden.numel())
        works = [self.first.bind(inputs, scratch, hidden)]
        for step in self.steps:
            if isinstance(step, FoldedNonLocal):
                works.append(step.bind(hidden, scratch))
            else:
                first, second = step
                works += [first.bind(hidden, scratch, between), second.bind(between, scratch, after)]
                works.append(lambda: hidden.add_(after))
        return _Bound(inputs, works, hidden.view(rows * joints, channels))


@dataclass(frozen=True)
class _Bound:
    """Where a chunk is put, what is then to be done, and where the last layer finds its features."""

    inputs: Tensor
    works: list[Work]
    features: Tensor


def _scale_and_shift(norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    """What a BatchNorm does in evaluation mode: values * scale + shift."""
    if norm.running_mean is None or norm.running_var is None:
        raise TypeError("inference wants a BatchNorm with running statistics, got one without")
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale
