"""Image features at joints: small windows of every map, sampled between cells and averaged, as RoIAlign does."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

SAMPLES = 2
"""Samples along each side of a window."""


def features_at_joints(
    maps: Sequence[Float[Tensor, "B _ _ _"]],
    keypoints_crop: Float[Tensor, "B J 2"],
    window_cells: float = 1.0,
) -> Float[Tensor, "B J C"]:
    """Features of all maps at every joint, side by side.

    Args:
        maps: (B, C_s, h_s, w_s) features of the same crops at any sizes.
        keypoints_crop: Crop coordinates (see `integral`); joints beyond the edge get what is nearest to them.
        window_cells: Side of the window around a joint, in cells of each map.

    Returns:
        (B, J, sum of C_s).
    """
    return torch.cat([_sampled(features, keypoints_crop, window_cells) for features in maps], dim=-1)


def _sampled(features: Tensor, keypoints_crop: Tensor, window_cells: float) -> Tensor:
    height, width = features.shape[-2:]
    steps = (torch.arange(SAMPLES, dtype=features.dtype, device=features.device) + 0.5) / SAMPLES - 0.5
    cells = steps * 2.0 * window_cells
    offsets = torch.stack(torch.meshgrid(cells / width, cells / height, indexing="ij"), dim=-1)
    places = keypoints_crop.unsqueeze(2) + offsets.view(1, 1, -1, 2)
    sampled = torch.nn.functional.grid_sample(
        features, places.to(features.dtype), mode="bilinear", padding_mode="border", align_corners=False
    )
    return sampled.mean(-1).transpose(1, 2)
