"""SemGCN without gradients: the same numbers, to float rounding, at a fraction of the published form's cost.

Per call the learned adjacencies go through their softmax once, BatchNorm is folded into the weights before it, and
theta of the non-local blocks into one vector (`NonLocalWeights`). Poses are then worked on in chunks whose activations
stay in the processor's cache, in buffers that every layer writes over. Joints stand in the order of their groups, so
that pooling compares neighbours without moving them. On a GPU a chunk is the whole batch.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from estimators.lifters.graphs.convolution import GraphConvolution, mix
from estimators.lifters.graphs.joint_graphs import JointGroups
from estimators.lifters.graphs.non_local import GraphNonLocal, NonLocalWeights
from poses.skeleton import Skeleton

CHUNK = 64
"""Poses that are worked on together on a CPU; 32 to 128 are equally fast at 128 channels."""


class JointOrder:
    """Groups of two first, each side by side, then the joints without a partner.

    Args:
        groups: As in non-local blocks.
        skeleton: Names their joints.
        device: Where the indices are used.
    """

    def __init__(self, groups: JointGroups, skeleton: Skeleton, device: torch.device) -> None:
        pairs = [group for group in groups if len(group) == 2]
        singles = [group for group in groups if len(group) == 1]
        order = skeleton.indices([joint for group in (*pairs, *singles) for joint in group])
        self.pairs, self.groups = len(pairs), len(groups)
        self.order = torch.from_numpy(order).to(device)
        self.back = torch.argsort(self.order)

    def mixing(self, mixing: Tensor) -> Tensor:
        """A layer's mixing matrix (.., J, J * P) with the joints in this order on both sides."""
        joints = len(self.order)
        parts = mixing.unflatten(-1, (joints, -1))
        return parts.index_select(-3, self.order).index_select(-2, self.order).flatten(-2)


class FoldedConvolution:
    """A graph convolution, the BatchNorm and the ReLU after it.

    With one adjacency for all channels the neighbours are mixed before their product with the weights: the same sum in
    another order, and less to move. `channel_wise` layers mix afterwards, as they must.
    """

    def __init__(self, layer: GraphConvolution, norm: nn.BatchNorm1d | None, order: JointOrder) -> None:
        columns, bias = layer.columns(), layer.bias
        parts = columns.shape[1] // len(bias)
        if norm is not None:
            scale, shift = _scale_and_shift(norm)
            columns, bias = columns * scale.repeat(parts), bias * scale + shift
        self.bias, self.relu = bias.clone(), norm is not None
        self.columns = columns.clone(memory_format=torch.contiguous_format)
        self.mixing = order.mixing(layer.mixing()).contiguous()
        self.own_weight = self.weight = self.own = self.neighbours = None
        if self.mixing.ndim == 2:
            by_part = self.mixing.unflatten(-1, (-1, parts))
            self.neighbours = by_part[..., -1].contiguous()
            self.weight = self.columns[:, -len(bias) :].contiguous()
            if parts == 2:
                self.own = by_part[..., 0].diagonal().unsqueeze(1).contiguous()
                self.own_weight = self.columns[:, : len(bias)].contiguous()

    def __call__(self, features: Tensor, parts: Tensor, out: Tensor) -> Tensor:
        """(b, J, in) -> `out` (b, J, out); `parts` is scratch (b * J * in, or b * J * P * out, flat)."""
        rows, joints, inputs = features.shape
        if self.neighbours is None or self.weight is None:
            wide = parts[: rows * joints * self.columns.shape[1]].view(rows * joints, -1)
            torch.mm(features.view(rows * joints, inputs), self.columns, out=wide)
            out.copy_(mix(self.mixing, wide.view(rows, joints, -1))).add_(self.bias)
            return out.relu_() if self.relu else out
        mixed, flat_out = parts[: features.numel()].view(features.shape), out.view(rows * joints, -1)
        torch.bmm(self.neighbours.expand(rows, -1, -1), features, out=mixed)
        torch.addmm(self.bias, mixed.view(rows * joints, inputs), self.weight, out=flat_out)
        if self.own is not None and self.own_weight is not None:
            torch.mul(features, self.own, out=mixed)
            flat_out.addmm_(mixed.view(rows * joints, inputs), self.own_weight)
        return out.relu_() if self.relu else out


class FoldedNonLocal:
    """A non-local block with its BatchNorm and the division by the number of groups inside `out`."""

    def __init__(self, block: GraphNonLocal, order: JointOrder) -> None:
        weights = NonLocalWeights.of(block)
        scale, shift = _scale_and_shift(block.norm)
        self.both, self.both_bias = weights.both.contiguous(), weights.both_bias
        self.own, self.own_bias, self.group = weights.own, weights.own_bias, weights.group.clone()
        self.out = (weights.out * (scale / order.groups)).contiguous()
        self.out_bias = weights.out_bias * scale + shift
        self.pairs, self.groups = order.pairs, order.groups

    def __call__(self, features: Tensor, parts: Tensor) -> Tensor:
        """Change `features` (b, J, C) in place."""
        rows, joints, channels = features.shape
        flat = features.view(rows * joints, channels)
        both = parts[: flat.numel()].view(flat.shape)
        torch.addmm(self.both_bias, flat, self.both, out=both)
        pooled = self._pool(both.view(rows, joints, channels), parts[flat.numel() :])
        phi, g = pooled.view(-1, channels).chunk(2, dim=1)
        own = torch.addmm(self.own_bias, flat, self.own).view(rows, joints, 1)
        score = (own + (phi @ self.group).view(rows, 1, self.groups)).relu_()
        given = torch.mm(g, self.out, out=both[: rows * self.groups])
        features.baddbmm_(score, given.view(rows, self.groups, channels))
        return features.add_(self.out_bias)

    def _pool(self, both: Tensor, scratch: Tensor) -> Tensor:
        rows, _, channels = both.shape
        pooled = scratch[: rows * self.groups * channels].view(rows, self.groups, channels)
        paired = both[:, : 2 * self.pairs].unflatten(1, (self.pairs, 2))
        torch.maximum(paired[:, :, 0], paired[:, :, 1], out=pooled[:, : self.pairs])
        if self.pairs < self.groups:
            pooled[:, self.pairs :] = both[:, 2 * self.pairs :]
        return pooled


FoldedStep = FoldedConvolution | tuple[FoldedConvolution, FoldedConvolution] | FoldedNonLocal
"""Input layer, residual block or non-local block."""


@dataclass(frozen=True)
class FoldedNetwork:
    """A whole SemGCN.

    Attributes:
        steps: Input layer, then residual pairs, with non-local blocks between them, in order.
        output: The last layer.
        order: Of the joints inside.
        channels: C.
    """

    steps: tuple[FoldedStep, ...]
    output: FoldedConvolution
    order: JointOrder
    channels: int

    def __call__(self, keypoints_screen: Tensor) -> Tensor:
        """(B, J, 2) -> (B, J, 3), every joint as the network predicts it."""
        rows, joints, _ = keypoints_screen.shape
        inputs = keypoints_screen.to(self.output.bias.dtype).index_select(1, self.order.order)
        outputs = inputs.new_empty(rows, joints, 3)
        chunk = max(1, rows) if inputs.is_cuda else CHUNK
        size = min(chunk, rows) * joints * self.channels
        hidden, between, after, parts = (inputs.new_empty(size * wide) for wide in (1, 1, 1, 2))
        for start in range(0, rows, chunk):
            part = inputs[start : start + chunk]
            shape = (len(part), joints, self.channels)
            count = len(part) * joints * self.channels
            views = (buffer[:count].view(shape) for buffer in (hidden, between, after))
            features, inner, second = views
            self._chunk(part, features, inner, second, parts)
            self.output(features, parts, outputs[start : start + chunk])
        return outputs.index_select(1, self.order.back)

    def _chunk(self, part: Tensor, hidden: Tensor, between: Tensor, after: Tensor, parts: Tensor) -> None:
        for step in self.steps:
            if isinstance(step, FoldedConvolution):
                step(part, parts, hidden)
            elif isinstance(step, FoldedNonLocal):
                step(hidden, parts)
            else:
                first, second = step
                hidden.add_(second(first(hidden, parts, between), parts, after))


def _scale_and_shift(norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    """What a BatchNorm does in evaluation mode: values * scale + shift."""
    if norm.running_mean is None or norm.running_var is None:
        raise TypeError("inference wants a BatchNorm with running statistics, got one without")
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale
