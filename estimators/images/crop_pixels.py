"""The pixels of a crop: means of blocks where the image is finer than the crop, then values between pixels."""

import numpy as np
from jaxtyping import Float, UInt8

from estimators.images.crops import Crops
from estimators.images.resnet import MEAN

OUTSIDE = np.asarray(MEAN, np.float32)
"""Colour of what lies beyond the image's edges: 0 after `normalise_image`."""


def cut_crop(image: UInt8[np.ndarray, "H W 3"], crop: Crops, size: int) -> Float[np.ndarray, "size size 3"]:
    """One crop of one image, RGB in [0, 1].

    Args:
        image: RGB bytes.
        crop: A single one, in the image's own pixels.
        size: Side of the result.

    Returns:
        float32; `OUTSIDE` where the crop reaches beyond the image.
    """
    height, width = image.shape[:2]
    steps = (2.0 * np.arange(size) + 1.0) / size - 1.0
    grid = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(1, size * size, 2)
    places = crop.points_in_image(grid)[0]
    inside = ((places >= 0.0) & (places <= (width, height))).all(-1)
    out = np.broadcast_to(OUTSIDE, (size * size, 3)).copy()
    if inside.any():
        block = max(1, int(2.0 * crop.half_side_px[0] / size))
        region, corner = _region(image, places[inside], block)
        out[inside] = _between_pixels(region, (places[inside] - corner) / block - 0.5)
    return out.reshape(size, size, 3)


def coloured(crop: Float[np.ndarray, "*B 3"], gains: Float[np.ndarray, " 3"]) -> Float[np.ndarray, "*B 3"]:
    """A crop with its channels multiplied, clipped to [0, 1]."""
    return np.clip(crop * gains, 0.0, 1.0, dtype=np.float32)


def _region(image: np.ndarray, places: np.ndarray, block: int) -> tuple[np.ndarray, np.ndarray]:
    """Means of blocks of the part of the image that is needed, in [0, 1], and the part's upper left corner, (x, y)."""
    height, width = image.shape[:2]
    low = np.floor(places.min(axis=0)).astype(np.int64) - 2 * block
    x, y = (np.maximum(low, 0) // block * block).tolist()
    high = np.ceil(places.max(axis=0)).astype(np.int64) + 2 * block
    part = image[y : min(high[1], height), x : min(high[0], width)]
    if block > 1:
        rows, columns = (-(-length // block) for length in part.shape[:2])
        margins = ((0, rows * block - part.shape[0]), (0, columns * block - part.shape[1]), (0, 0))
        part = np.pad(part, margins, mode="edge").reshape(rows, block, columns, block, 3)
        return part.mean(axis=(1, 3), dtype=np.float32) / np.float32(255.0), np.asarray([x, y])
    return part.astype(np.float32) / np.float32(255.0), np.asarray([x, y])


def _between_pixels(region: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(N, 3) bilinear values at (N, 2) places in pixel centres; beyond the outermost centres the edge's values."""
    last = np.asarray(region.shape[1::-1]) - 1
    places = np.clip(places, 0.0, last)
    low = np.minimum(places.astype(np.int64), np.maximum(last - 1, 0))
    high = np.minimum(low + 1, last)
    x, y = ((places - low).astype(np.float32).T)[:, :, None]
    upper = region[low[:, 1], low[:, 0]] * (1 - x) + region[low[:, 1], high[:, 0]] * x
    lower = region[high[:, 1], low[:, 0]] * (1 - x) + region[high[:, 1], high[:, 0]] * x
    return upper * (1 - y) + lower * y
