"""Pictures of pairs, drawn: a shaded, dressed figure of capsules before a cluttered background. Numpy only.

**These pictures are synthetic**, and no measure of what a network does on photographs: bodies have one build, clothes
no folds, light no shadows, and left and right limbs have colours of their own (`side_colours`), which photographs lack.
They are there so that everything that takes images can be run and tested on any dataset of pairs, with no image at
hand.

A picture is a function of (seed, row) and of the square that is drawn, not of what stands beside it in a batch. People
are drawn from their 3D through their camera, whatever noise their keypoints have. The background belongs to the square,
not to the scene: it does not move when the square does.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64, UInt8
from pydantic import BaseModel, ConfigDict, Field

from estimators.images.crops import Crops
from estimators.images.stick_figures import (
    HAIR,
    LEFT_SHIRT,
    LEFT_TROUSERS,
    N_PAINTS,
    RIGHT_SHIRT,
    RIGHT_TROUSERS,
    SHIRT,
    SKIN,
    TROUSERS,
    Capsules,
    figures,
)
from poses.cameras import CAMERA_FIELDS, project_px
from poses.randomness import RowRandom
from poses.skeleton import Skeleton

_PURPOSE = "drawn_people"
_FINER = 2
"""Drawn this much finer than the result, then averaged."""
_WARM, _COOL = np.asarray([0.9, 0.35, 0.2]), np.asarray([0.2, 0.4, 0.9])
_SIDE_SHARE = 0.6
_LIGHTEST_SKIN, _DARKEST_SKIN = np.asarray([0.96, 0.80, 0.69]), np.asarray([0.36, 0.22, 0.15])
_AMBIENT = 0.45
_NEAREST_M = 0.1
_CELLS, _POLES = 5, 4
_BLOTCH = np.float32(0.5)
"""How far a background's blotches are from its mean colour, at most twice this apart."""
_FOCAL, _WIDTH = CAMERA_FIELDS.index("fx"), CAMERA_FIELDS.index("width")


class DrawingSettings(BaseModel):
    """How people are drawn."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(
        default=0, ge=0, description="of clothes, light and backgrounds; with the row it makes the picture"
    )
    side_colours: bool = Field(default=True, description="left limbs are warm, right ones cool")
    clutter: bool = Field(
        default=True, description="a background of blotches, poles and grain instead of plain grey"
    )
    grain: float = Field(
        default=0.02, ge=0.0, le=0.5, description="standard deviation of noise in every pixel"
    )


@dataclass(frozen=True, eq=False)
class Looks:
    """Clothes, light and background of B rows.

    Attributes:
        paints: (B, N_PAINTS, 3) RGB.
        light: (B, 3) unit vectors towards the light.
        random: Of the rows, for the backgrounds.
    """

    paints: Float[np.ndarray, "B P 3"]
    light: Float[np.ndarray, "B 3"]
    random: list[RowRandom]


def draw_people(
    joints_camera_m: Float[np.ndarray, "B J 3"],
    camera_px: Float[np.ndarray, "B 11"],
    crops: Crops,
    row_id: Int64[np.ndarray, " B"],
    skeleton: Skeleton,
    settings: DrawingSettings,
    size: int,
) -> UInt8[np.ndarray, "B size size 3"]:
    """Draw what the crops show.

    Args:
        joints_camera_m: Of every row, before the crop's turn and mirror: the picture is turned and mirrored with it.
        camera_px: Of the whole images.
        crops: Squares of those images.
        row_id: Identity of every row.
        skeleton: Of the joints.
        settings: Clothes and background.
        size: Side of the result, in pixels.
    """
    looks, side = _looks(row_id, settings), size * _FINER
    body = figures(joints_camera_m, skeleton)
    shapes = _flat_shapes(body, camera_px, crops, side)
    out = np.empty((len(crops), size, size, 3), np.uint8)
    for row in range(len(crops)):
        canvas = _background(looks, row, settings, size)
        nearest = np.full((side, side), np.inf, np.float32)
        light, paints = looks.light[row].tolist(), looks.paints[row, body.paint]
        for (start, stop), colour in zip(shapes[row].tolist(), paints, strict=True):
            _paint_capsule(canvas, nearest, start, stop, colour, light)
        small = _averaged(canvas)
        if settings.grain:
            small += settings.grain * looks.random[row].normal(size * size * 3, "grain").reshape(small.shape)
        out[row] = np.rint(np.minimum(np.maximum(small, 0.0), 1.0) * 255.0)
    return out


def whole_image(camera_px: Float[np.ndarray, "B 11"]) -> Crops:
    """The square of each camera's image that begins in its upper left corner and has its longer side."""
    side = camera_px[:, _WIDTH : _WIDTH + 2].astype(np.float64).max(axis=1)
    return Crops(
        np.stack([side, side], axis=-1) / 2, side / 2, np.zeros(len(side)), np.zeros(len(side), bool)
    )


def _looks(row_id: np.ndarray, settings: DrawingSettings) -> Looks:
    random = RowRandom(settings.seed, _PURPOSE, row_id)
    clothes = 0.1 + 0.8 * random.uniform(6, "clothes").reshape(-1, 2, 3)
    tone, hair = random.uniform(1, "skin"), 0.05 + 0.45 * random.uniform(3, "hair")
    paints = np.empty((len(row_id), N_PAINTS, 3), np.float32)
    paints[:, SHIRT], paints[:, TROUSERS] = clothes[:, 0], clothes[:, 1]
    share = _SIDE_SHARE if settings.side_colours else 0.0
    for side, colour, cloth in (
        (LEFT_SHIRT, _WARM, 0), (RIGHT_SHIRT, _COOL, 0), (LEFT_TROUSERS, _WARM, 1), (RIGHT_TROUSERS, _COOL, 1),
    ):  # fmt: skip
        paints[:, side] = (1.0 - share) * clothes[:, cloth] + share * colour
    paints[:, SKIN] = _LIGHTEST_SKIN + tone * (_DARKEST_SKIN - _LIGHTEST_SKIN)
    paints[:, HAIR] = hair
    light = random.normal(3, "light").astype(np.float64) + np.asarray(
        [0.0, -1.5, -2.0]
    )  # from above and before
    light /= np.linalg.norm(light, axis=1, keepdims=True)
    return Looks(
        paints,
        light.astype(np.float32),
        [RowRandom(settings.seed, _PURPOSE, row_id[row : row + 1]) for row in range(len(row_id))],
    )


def _averaged(canvas: np.ndarray) -> np.ndarray:
    """Means of blocks of _FINER x _FINER pixels."""
    parts = [canvas[y::_FINER, x::_FINER] for y in range(_FINER) for x in range(_FINER)]
    total = parts[0].copy()
    for part in parts[1:]:
        total += part
    return total / np.float32(len(parts))


def _background(looks: Looks, row: int, settings: DrawingSettings, size: int) -> np.ndarray:
    """(n, n, 3) float32 in [0, 1], n = size * _FINER: blotches between a grid's colours, and upright poles."""
    random = looks.random[row]
    if not settings.clutter:
        return np.full((size * _FINER, size * _FINER, 3), 0.5, np.float32)
    numbers = random.uniform(3 + _CELLS * _CELLS * 3, "blotches")[0]
    grid = numbers[:3] + _BLOTCH * (numbers[3:].reshape(_CELLS, _CELLS, 3) - np.float32(0.5))
    place = (np.arange(size, dtype=np.float32) + np.float32(0.5)) * np.float32((_CELLS - 1) / size)
    low = np.minimum(place.astype(np.int64), _CELLS - 2)
    share = (place - low)[:, None].astype(np.float32)
    rows = grid[low] * (1 - share[:, :, None]) + grid[low + 1] * share[:, :, None]
    canvas = rows[:, low] * (1 - share) + rows[:, low + 1] * share
    poles = random.uniform(_POLES * 6, "poles").reshape(_POLES, 6)
    for left, width, top, *colour in poles.tolist():
        columns = slice(int(left * size), int((left + 0.02 + 0.08 * width) * size))
        canvas[int(top * size * 0.7) :, columns] = colour
    return canvas.astype(np.float32).repeat(_FINER, axis=0).repeat(_FINER, axis=1)


def _flat_shapes(body: Capsules, camera_px: np.ndarray, crops: Crops, side: int) -> np.ndarray:
    """(B, N, 2, 5) of every capsule's ends: x, y and radius in pixels of a canvas, depth and radius in metres."""
    flat = body.ends_m.reshape(len(crops), -1, 3)
    depth_m = np.maximum(flat[..., 2], _NEAREST_M)
    points = np.concatenate([flat[..., :2], depth_m[..., None]], axis=-1)
    places = (crops.points_in_crop(project_px(points, camera_px)) + 1.0) * side / 2.0
    per_m = camera_px[:, _FOCAL, None] / depth_m * side / (2.0 * crops.half_side_px[:, None])
    radius_m = np.broadcast_to(body.radius_m.reshape(-1), depth_m.shape)
    columns = (places[..., 0], places[..., 1], radius_m * per_m, depth_m, radius_m)
    return np.stack(columns, axis=-1).reshape(len(crops), -1, 2, len(columns))


def _paint_capsule(
    canvas: np.ndarray,
    nearest: np.ndarray,
    start: list[float],
    stop: list[float],
    colour: np.ndarray,
    light: list[float],
) -> None:
    """Paint one capsule: x, y and radius in pixels, depth and radius in metres at both ends."""
    (x0, y0, radius, depth_m, radius_m), side = start, len(canvas)
    along_x, along_y, wider, deeper_m, wider_m = (b - a for a, b in zip(start, stop, strict=True))
    reach = max(radius, stop[2])
    left, right = (_within(side, min(x0, stop[0]) - reach), _within(side, max(x0, stop[0]) + reach + 1))
    upper, lower = (_within(side, min(y0, stop[1]) - reach), _within(side, max(y0, stop[1]) + reach + 1))
    if left >= right or upper >= lower:
        return
    x = (np.arange(left, right, dtype=np.float32) + np.float32(0.5 - x0))[None, :]
    y = (np.arange(upper, lower, dtype=np.float32) + np.float32(0.5 - y0))[:, None]
    per_length = 1.0 / max(along_x * along_x + along_y * along_y, 1e-12)
    share = np.minimum(np.maximum(x * (along_x * per_length) + y * (along_y * per_length), 0.0), 1.0)
    per_radius = 1.0 / (radius + share * wider)
    out_x, out_y = (x - share * along_x) * per_radius, (y - share * along_y) * per_radius
    ahead = 1.0 - out_x * out_x - out_y * out_y
    towards = np.sqrt(np.maximum(ahead, 0.0))
    distance = depth_m + share * deeper_m - towards * (radius_m + share * wider_m)
    before = nearest[upper:lower, left:right]
    seen = (ahead > 0.0) & (distance < before)
    lit = np.maximum(out_x[seen] * light[0] + out_y[seen] * light[1] - towards[seen] * light[2], 0.0)
    before[seen] = distance[seen]
    canvas[upper:lower, left:right][seen] = (_AMBIENT + (1.0 - _AMBIENT) * lit)[:, None] * colour


def _within(side: int, place: float) -> int:
    """A pixel number from 0 to `side`, for slices."""
    return int(min(max(place, 0.0), side))
