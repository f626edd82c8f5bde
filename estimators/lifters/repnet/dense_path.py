"""A chain of dense layers with skip connections, differentiated by autograd or, faster, by hand.

Networks whose only nonlinearity is a leaky ReLU are linear once the signs of their hidden units are known. So
the gradient, the directional derivative (`push_tangents`) and the gradient of a gradient penalty need nothing
but the outputs of the layers: delta_i = slope_i * (delta_{i+1} W_{i+1}), and for the penalty's part the
weight gradient is delta_i^T t_{i-1} with t the tangent (the signs' own derivative is zero almost everywhere,
as autograd also has it).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Learn = Callable[[nn.Linear, Tensor, Tensor], None]
"""Told (layer, gradient of its output before the activation, its input) once nothing needs the old weights."""


@dataclass(frozen=True)
class LayerShape:
    """One dense layer.

    Args:
        inputs, outputs: Units.
        is_activated: Whether a leaky ReLU follows.
        skip: Number of the node that is added before the activation: 0 is the path's input, i the output of its
            i-th layer. None: nothing is.
    """

    inputs: int
    outputs: int
    is_activated: bool = True
    skip: int | None = None


class DensePath(nn.Module):
    """Layers one after the other.

    Args:
        shapes: The layers in order.
        slope: Of the leaky ReLU for negative numbers; more than 0.
    """

    def __init__(self, shapes: Sequence[LayerShape], slope: float) -> None:
        super().__init__()
        self.shapes = tuple(shapes)
        self.slope = slope
        self.linears = tuple(nn.Linear(shape.inputs, shape.outputs) for shape in shapes)
        self.layers = nn.ModuleList(self.linears)
        for layer in self.linears:
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, values: Tensor) -> Tensor:
        """Output of the last layer."""
        return self.nodes(values)[-1]

    def nodes(self, values: Tensor) -> list[Tensor]:
        """The input and the output of every layer."""
        nodes = [values]
        for layer, shape in zip(self.linears, self.shapes, strict=True):
            hidden = nn.functional.linear(nodes[-1], layer.weight, layer.bias)
            if shape.skip is not None:
                hidden.add_(nodes[shape.skip])
            if shape.is_activated:
                hidden = nn.functional.leaky_relu_(hidden, self.slope)
            nodes.append(hidden)
        return nodes

    def pull_back(
        self, nodes: Sequence[Tensor], gradient: Tensor, learn: Learn, wants_input: bool = True
    ) -> Tensor:
        """Gradient of the input from the gradient of the output.

        Args:
            nodes: From `nodes`, without autograd.
            gradient: Of the output, one row per row of the nodes.
            learn: Called for every layer from the last to the first.
            wants_input: Otherwise the last product is left out, and what is returned means nothing.
        """
        waiting: dict[int, Tensor] = {len(self.shapes): gradient}
        for index in range(len(self.shapes) - 1, -1, -1):
            layer, shape = self.linears[index], self.shapes[index]
            delta = self._through_activation(waiting.pop(index + 1), nodes[index + 1], shape)
            if shape.skip is not None:
                waiting[shape.skip] = delta
            if index or wants_input:
                below = delta @ layer.weight
                waiting[index] = below.add_(waiting[index]) if index in waiting else below
            learn(layer, delta, nodes[index])
        return waiting.get(0, gradient)

    def push_tangents(self, nodes: Sequence[Tensor], first_row: int, tangent: Tensor) -> Tensor:
        """Directional derivative at the rows from `first_row` on; their outputs in `nodes` become their tangents.

        Args:
            nodes: From `nodes`, without autograd; overwritten, the input included.
            first_row: Rows before it stay.
            tangent: Change of the input, one row per row from `first_row` on.

        Returns:
            Change of the output.
        """
        nodes[0][first_row:] = tangent
        for index, (layer, shape) in enumerate(zip(self.linears, self.shapes, strict=True)):
            change = nodes[index][first_row:] @ layer.weight.t()
            if shape.skip is not None:
                change.add_(nodes[shape.skip][first_row:])
            rows = nodes[index + 1][first_row:]
            rows.copy_(self._through_activation(change, rows, shape))
        return nodes[-1][first_row:]

    def _through_activation(self, change: Tensor, output: Tensor, shape: LayerShape) -> Tensor:
        if not shape.is_activated:
            return change
        return torch.ops.aten.leaky_relu_backward.default(change, output, self.slope, True)


def learn_nothing(layer: nn.Linear, delta: Tensor, values: Tensor) -> None:
    """For gradients of the input alone."""
    del layer, delta, values


def residual_block(width: int, node: int) -> tuple[LayerShape, LayerShape]:
    """Dense, leaky ReLU, dense, plus the block's input (node `node` of the path), leaky ReLU."""
    return LayerShape(width, width), LayerShape(width, width, skip=node)
