"""Residual networks for images (He et al. 2016, arXiv 1512.03385) as backbone: four stages of features.

The layout is the one that public weights have (stride in the 3x3 convolution of a bottleneck; names conv1, bn1,
layer1.0.conv1, ..., layer1.0.downsample.0): a state dict of ImageNet weights without its classifier loads as it is.
Images are (B, 3, H, W), H and W multiples of 32, normalised by `normalise_image`.
"""

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's red, green and blue, which public weights expect."""
_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}


class ResNetSettings(BaseModel):
    """Shape of a backbone."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    depth: Literal[18, 34, 50] = 50
    width: int = Field(default=64, ge=1, description="channels of the first stage's inner convolutions")

    @property
    def expansion(self) -> int:
        """Output channels of a block over its inner ones."""
        return 4 if self.depth >= 50 else 1

    @property
    def channels(self) -> tuple[int, int, int, int]:
        """Channels of the four stages; 256, 512, 1024, 2048 for ResNet-50."""
        first = self.width * self.expansion
        return first, 2 * first, 4 * first, 8 * first


def normalise_image(image: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
    """RGB in [0, 1] to the values that backbones take."""
    mean, deviation = (image.new_tensor(values).view(1, 3, 1, 1) for values in (MEAN, DEVIATION))
    return (image - mean) / deviation


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, or a 1x1, a 3x3 and a 1x1 one (bottleneck), around a shortcut; ReLU after the sum."""

    def __init__(self, inputs: int, inner: int, expansion: int, stride: int) -> None:
        super().__init__()
        outputs = inner * expansion
        if expansion == 1:
            shapes = [(inputs, inner, 3, stride), (inner, outputs, 3, 1)]
        else:
            shapes = [(inputs, inner, 1, 1), (inner, inner, 3, stride), (inner, outputs, 1, 1)]
        self.n_convolutions = len(shapes)
        for number, (before, after, size, step) in enumerate(shapes, start=1):
            convolution = nn.Conv2d(before, after, size, step, padding=size // 2, bias=False)
            self.add_module(f"conv{number}", convolution)
            self.add_module(f"bn{number}", nn.BatchNorm2d(after))
        self.downsample: nn.Sequential | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C', h / stride, w / stride)."""
        inner = features
        for number in range(1, self.n_convolutions + 1):
            inner = self.get_submodule(f"bn{number}")(self.get_submodule(f"conv{number}")(inner))
            if number < self.n_convolutions:
                inner = torch.relu_(inner)
        shortcut = features if self.downsample is None else self.downsample(features)
        return torch.relu_(inner + shortcut)


class ResNet(nn.Module):
    """Backbone; gives the features of all four stages, at 1/4, 1/8, 1/16 and 1/32 of the image's size."""

    def __init__(self, settings: ResNetSettings) -> None:
        super().__init__()
        self.settings = settings
        width, expansion = settings.width, settings.expansion
        self.conv1 = nn.Conv2d(3, width, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        inputs = width
        for stage, count in enumerate(_BLOCKS[settings.depth]):
            inner = width * 2**stage
            blocks = []
            for block in range(count):
                stride = 2 if stage > 0 and block == 0 else 1
                blocks.append(ResidualBlock(inputs, inner, expansion, stride))
                inputs = inner * expansion
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(B, 3, H, W) -> four maps (B, C_s, H / 2^(s+1), W / 2^(s+1)), s = 1 .. 4."""
        stem = torch.relu_(self.bn1(self.conv1(image)))
        first = self.get_submodule("layer1")(nn.functional.max_pool2d(stem, 3, 2, padding=1))
        second = self.get_submodule("layer2")(first)
        third = self.get_submodule("layer3")(second)
        return first, second, third, self.get_submodule("layer4")(third)
