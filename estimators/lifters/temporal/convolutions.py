"""The network of VideoPose3D (Pavllo et al. 2019, arXiv 1811.11742): temporal convolutions with residual blocks.

Every convolution is a Linear layer over concatenated frames: for a kernel of width 1 that is the same product
at half the cost of Conv1d, for wider kernels in strided mode a plain reshape. Dilated mode (T > receptive
field, all output frames) and strided mode (T = receptive field, one output frame, nothing computed in vain)
share their weights and agree in evaluation mode; in training mode the strided form has BatchNorm statistics
over the frames that reach the output, like the published training code. Causal models look only backwards.
`to_published_state` and `from_published_state` translate to Conv1d kernels (out, in, width).
"""

from math import prod

import torch
from torch import Tensor, nn

from estimators.dropout import SeededDropout
from estimators.errors import CheckpointError


class FrameMixing(nn.Module):
    """A temporal convolution without padding, as one Linear layer over `width` concatenated frames."""

    def __init__(self, inputs: int, outputs: int, width: int, bias: bool) -> None:
        super().__init__()
        self.width = width
        self.linear = nn.Linear(width * inputs, outputs, bias=bias)

    def forward(self, frames: Tensor, dilation: int, strided: bool) -> Tensor:
        """(B, T, C) -> (B, T / width, C') strided, or (B, T - (width - 1) dilation, C') dilated."""
        if self.width == 1:
            return self.linear(frames)
        if strided:
            batch, time, channels = frames.shape
            return self.linear(frames.reshape(batch, time // self.width, self.width * channels))
        kept = frames.shape[1] - (self.width - 1) * dilation
        taps = [frames[:, tap * dilation : tap * dilation + kept] for tap in range(self.width)]
        return self.linear(torch.cat(taps, dim=-1))

    def kernel(self) -> Tensor:
        """The weight as a Conv1d kernel (out, in, width)."""
        weight = self.linear.weight.detach()
        return weight.view(weight.shape[0], self.width, -1).permute(0, 2, 1).contiguous()


class MixingBlock(nn.Module):
    """FrameMixing, BatchNorm, ReLU, dropout."""

    def __init__(self, inputs: int, channels: int, width: int, dropout: float) -> None:
        super().__init__()
        self.mixing = FrameMixing(inputs, channels, width, bias=False)
        self.norm = nn.BatchNorm1d(channels)
        self.dropout = SeededDropout(dropout)

    def forward(self, frames: Tensor, dilation: int, strided: bool) -> Tensor:
        """(B, T, C) -> (B, T', channels)."""
        mixed = self.mixing(frames, dilation, strided)
        normed = self.norm(mixed.view(-1, mixed.shape[-1]))
        return self.dropout(torch.relu_(normed)).view_as(mixed)


class TemporalConvolutions(nn.Module):
    """The layers, for whoever gives them a meaning: poses relative to the root, or the root's path.

    A subclass calls `build` once after the constructors of its bases. Expects frames without padding: T in,
    T - receptive field + 1 out.
    """

    kernel_widths: tuple[int, ...]

    def build(
        self,
        n_inputs: int,
        n_outputs: int,
        channels: int,
        kernel_widths: tuple[int, ...],
        causal: bool,
        dropout: float,
    ) -> None:
        """Make the layers; PyTorch's initial weights, as published."""
        self.kernel_widths, self._looks_back = kernel_widths, causal
        first, *rest = kernel_widths
        self.expand = MixingBlock(n_inputs, channels, first, dropout)
        self.layers = nn.ModuleList(
            MixingBlock(channels, channels, width, dropout) for wide in rest for width in (wide, 1)
        )
        self.shrink = FrameMixing(channels, n_outputs, 1, bias=True)

    def network(self, keypoints_screen: Tensor, strided: bool | None = None) -> Tensor:
        """(B, T, J, 2) -> (B, T', outputs / 3, 3): the published network's own output.

        Args:
            keypoints_screen: Screen coordinates, T >= receptive field.
            strided: Which form; None takes the strided one where T is the receptive field, which is all it can do.
        """
        frames = keypoints_screen.flatten(2)
        widths = self.kernel_widths
        strided = frames.shape[1] == prod(widths) if strided is None else strided
        hidden = self.expand(frames, 1, strided)
        dilation = widths[0]
        for block, width in enumerate(widths[1:]):
            residual = self._residual(hidden, width, dilation, strided)
            mixed = self.layers[2 * block](hidden, dilation, strided)
            hidden = residual + self.layers[2 * block + 1](mixed, 1, strided)
            dilation *= width
        joints = self.shrink(hidden, 1, strided)
        return joints.unflatten(-1, (joints.shape[-1] // 3, 3))

    def _residual(self, hidden: Tensor, width: int, dilation: int, strided: bool) -> Tensor:
        centre = width - 1 if self._looks_back else width // 2
        if strided:
            return hidden[:, centre::width]
        kept = hidden.shape[1] - (width - 1) * dilation
        return hidden[:, centre * dilation : centre * dilation + kept]

    def _blocks(self) -> list[MixingBlock]:
        return [layer for layer in self.layers if isinstance(layer, MixingBlock)]

    def _published_names(self) -> dict[str, tuple[FrameMixing, nn.BatchNorm1d | None]]:
        names: dict[str, tuple[FrameMixing, nn.BatchNorm1d | None]] = {
            "expand_conv|expand_bn": (self.expand.mixing, self.expand.norm),
            "shrink|": (self.shrink, None),
        }
        for index, block in enumerate(self._blocks()):
            names[f"layers_conv.{index}|layers_bn.{index}"] = (block.mixing, block.norm)
        return names

    def to_published_state(self) -> dict[str, Tensor]:
        """State dict with the published names and Conv1d kernels (out, in, width)."""
        state: dict[str, Tensor] = {}
        for name, (mixing, norm) in self._published_names().items():
            convolution_name, _, norm_name = name.partition("|")
            state[f"{convolution_name}.weight"] = mixing.kernel()
            if mixing.linear.bias is not None:
                state[f"{convolution_name}.bias"] = mixing.linear.bias.detach().clone()
            if norm is not None:
                state |= {
                    f"{norm_name}.{key}": value.detach().clone() for key, value in norm.state_dict().items()
                }
        return state

    def from_published_state(self, state: dict[str, Tensor]) -> None:
        """Load a published state dict.

        Raises:
            CheckpointError: if names or shapes are not those of this network.
        """
        wanted = {name: tuple(value.shape) for name, value in self.to_published_state().items()}
        for name in (*wanted, *state):
            got = tuple(state[name].shape) if name in state else None
            if got != wanted.get(name):
                raise CheckpointError(
                    f"published VideoPose state: tensor {name!r} wants shape {wanted.get(name)}, got {got}; "
                    "set channels, kernel_widths and predict_root as the checkpoint has them"
                )
        with torch.no_grad():
            for name, (mixing, norm) in self._published_names().items():
                convolution_name, _, norm_name = name.partition("|")
                kernel = state[f"{convolution_name}.weight"]
                mixing.linear.weight.copy_(kernel.permute(0, 2, 1).reshape(kernel.shape[0], -1))
                if mixing.linear.bias is not None:
                    mixing.linear.bias.copy_(state[f"{convolution_name}.bias"])
                if norm is not None:
                    norm.load_state_dict({key: state[f"{norm_name}.{key}"] for key in norm.state_dict()})
