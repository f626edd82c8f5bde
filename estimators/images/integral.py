"""2D joints from features by integral regression (Sun et al. 2018, arXiv 1711.08229): the mean place under a heatmap.

Crop coordinates run from -1 at the left (upper) edge of the crop to 1 at the right (lower) edge; the centre of cell i
of n lies at (2 i + 1) / n - 1. They do not depend on the crop's size in pixels, nor on the heatmap's.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

HEAD_CHANNELS = 256
UPSAMPLINGS = 3


def soft_argmax(logits: Float[Tensor, "B J h w"]) -> Float[Tensor, "B J 2"]:
    """Mean (x, y) in crop coordinates under the softmax of each map."""
    height, width = logits.shape[-2:]
    share = torch.softmax(logits.flatten(2), dim=-1).unflatten(-1, (height, width))
    x = share.sum(-2) @ cell_centres(width, logits)
    y = share.sum(-1) @ cell_centres(height, logits)
    return torch.stack([x, y], dim=-1)


def cell_centres(count: int, like: Tensor) -> Float[Tensor, " n"]:
    """Crop coordinates of the cells of one axis."""
    return (2 * torch.arange(count, dtype=like.dtype, device=like.device) + 1) / count - 1


class IntegralHead(nn.Module):
    """Three transposed convolutions, which double the size each, then a map for every joint.

    Args:
        inputs: Channels of the backbone's last stage.
        joints: J.
        channels: Of the transposed convolutions.
    """

    def __init__(self, inputs: int, joints: int, channels: int = HEAD_CHANNELS) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for number in range(UPSAMPLINGS):
            before = inputs if number == 0 else channels
            layers += [
                nn.ConvTranspose2d(before, channels, 4, 2, padding=1, bias=False),
                nn.BatchNorm2d(channels),
                nn.ReLU(inplace=True),
            ]
        self.upsampling = nn.Sequential(*layers)
        self.maps = nn.Conv2d(channels, joints, 1)
        for part in self.modules():
            if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.normal_(part.weight, std=0.001)
        nn.init.zeros_(self.maps.get_parameter("bias"))

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, J, 2) crop coordinates."""
        return soft_argmax(self.maps(self.upsampling(features)))
