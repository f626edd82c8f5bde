"""VideoPose3D lifter (Pavllo et al. 2019, arXiv 1811.11742): temporal convolutions, any odd receptive field.

Every convolution is a Linear layer over concatenated frames: for a kernel of width 1 that is the same product
at half the cost of Conv1d, for wider kernels in strided mode a plain reshape. Dilated mode (T > receptive
field, all output frames) and strided mode (T = receptive field, one output frame, nothing computed in vain)
share their weights and agree in evaluation mode; in training mode the strided form has BatchNorm statistics
over the frames that reach the output, like the published training code. Causal models look only backwards.
`to_published_state` and `from_published_state` translate to Conv1d kernels (out, in, width).
"""

from math import prod
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor, nn

from estimators.dropout import SeededDropout
from estimators.errors import CheckpointError
from estimators.lifters.contract import Lifter, insert_root
from poses.skeleton import Skeleton


class VideoPoseSettings(BaseModel):
    """Shape of a VideoPose lifter."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["videopose"] = "videopose"
    channels: int = Field(default=1024, ge=1)
    kernel_widths: tuple[int, ...] = Field(
        default=(1, 1, 1, 1, 1), min_length=1, description="odd; their product is the receptive field"
    )
    causal: bool = False
    dropout: float = Field(default=0.25, ge=0.0, lt=1.0)
    predict_root: bool = Field(
        default=False,
        description="the network has an output for the root, which is subtracted (VideoPose3D's own "
        "checkpoints); otherwise it predicts every joint but the root (PoseAug's)",
    )

    @field_validator("kernel_widths")
    @classmethod
    def _odd(cls, widths: tuple[int, ...]) -> tuple[int, ...]:
        if any(width < 1 or width % 2 == 0 for width in widths):
            raise ValueError(f"kernel widths must be odd and positive, got {list(widths)}")
        return widths


def kernel_widths_for(receptive_field: int) -> tuple[int, ...]:
    """Kernel widths whose product is an odd receptive field: its prime factors; five ones for one frame.

    Raises:
        ValueError: if the receptive field is even or below 1.
    """
    if receptive_field < 1 or receptive_field % 2 == 0:
        raise ValueError(
            f"a receptive field is an odd number of frames, got {receptive_field}; take the next odd one"
        )
    if receptive_field == 1:
        return (1, 1, 1, 1, 1)
    widths, rest, factor = [], receptive_field, 3
    while rest > 1:
        while rest % factor == 0:
            widths.append(factor)
            rest //= factor
        factor += 2
    return tuple(widths)


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


class VideoPoseLifter(Lifter):
    """Temporal convolutional lifter; see the module's text."""

    def __init__(self, settings: VideoPoseSettings, skeleton: Skeleton) -> None:
        super().__init__(skeleton, receptive_field=prod(settings.kernel_widths))
        self.settings = settings
        self.causal = settings.causal
        channels, dropout = settings.channels, settings.dropout
        first, *rest = settings.kernel_widths
        self.expand = MixingBlock(2 * skeleton.n_joints, channels, first, dropout)
        self.layers = nn.ModuleList(
            MixingBlock(channels, channels, width, dropout) for wide in rest for width in (wide, 1)
        )
        outputs = skeleton.n_joints if settings.predict_root else skeleton.n_bones
        self.shrink = FrameMixing(channels, 3 * outputs, 1, bias=True)

    def lift(self, keypoints_screen: Tensor) -> Tensor:
        """(B, T, J, 2) or (B, J, 2) screen -> (B, T', J, 3) or (B, J, 3) metres, root-relative."""
        if keypoints_screen.ndim == 3:
            return self.lift(keypoints_screen.unsqueeze(1)).squeeze(1)
        joints_m = self.network(keypoints_screen)
        root = self.skeleton.root_index
        if self.settings.predict_root:
            return joints_m - joints_m[..., root : root + 1, :]
        return insert_root(joints_m, root)

    def lift_for_loss(self, keypoints_screen: Tensor) -> Tensor:
        """As `lift`, but with the network's own output for the root, which VideoPose3D trains towards zero."""
        if not self.settings.predict_root:
            return self.lift(keypoints_screen)
        if keypoints_screen.ndim == 3:
            return self.network(keypoints_screen.unsqueeze(1)).squeeze(1)
        return self.network(keypoints_screen)

    def network(self, keypoints_screen: Tensor) -> Tensor:
        """(B, T, J, 2) -> (B, T', J or J-1, 3): the published network's own output."""
        frames = keypoints_screen.flatten(2)
        strided = frames.shape[1] == self.receptive_field
        widths = self.settings.kernel_widths
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
        centre = width - 1 if self.settings.causal else width // 2
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
