"""Poses as RepNet's networks see them: one row of numbers per pose, coordinate by coordinate, centred.

A row holds x of every joint, then y, then z. 2D is normalised per pose: the mean of the joints goes to the
origin, and everything is divided by the standard deviation of the whole row (specs/lifters.md 1.4), so that
neither place nor size in the image is left. Joints that are missing count in neither and stand at the origin.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

SMALLEST_SPREAD = 1e-6
"""Keypoints closer together than this all stand in one point; they are not blown up further."""


@dataclass(frozen=True)
class NormalisedKeypoints:
    """Keypoints without place and size, and what was taken off.

    Args:
        flat: Normalised coordinates, x of every joint, then y.
        centre: Mean of the available joints, in the units of the input.
        spread: Standard deviation that the coordinates were divided by, in the units of the input.
    """

    flat: Float[Tensor, "B D"]
    centre: Float[Tensor, "B 2"]
    spread: Float[Tensor, " B"]


def flatten_joints(joints: Float[Tensor, "B J D"]) -> Float[Tensor, "B JD"]:
    """(B, J, D) -> (B, D J), coordinate by coordinate."""
    return joints.transpose(1, 2).flatten(1)


def unflatten_joints(flat: Float[Tensor, "B JD"], dimensions: int) -> Float[Tensor, "B J D"]:
    """Inverse of `flatten_joints`."""
    return flat.unflatten(1, (dimensions, -1)).transpose(1, 2)


def normalise_keypoints(
    keypoints: Float[Tensor, "B J 2"], availability: Float[Tensor, "B J"] | None = None
) -> NormalisedKeypoints:
    """Take place and size off 2D poses.

    Args:
        keypoints: In any units. availability: 1 where a joint was seen, 0 where it is missing (its
        coordinates then count for nothing, but
            must be finite). None: all were seen.
    """
    if availability is None:
        centre = keypoints.mean(1)
        offset = keypoints - centre[:, None]
        squared = offset.square().mean((1, 2))
    else:
        weight = (availability > 0).to(keypoints.dtype)[..., None]
        seen = weight.sum(1).clamp_min(1.0)
        centre = (keypoints * weight).sum(1) / seen
        offset = (keypoints - centre[:, None]) * weight
        squared = offset.square().sum((1, 2)) / (2 * seen[:, 0])
    spread = squared.clamp_min(SMALLEST_SPREAD**2).sqrt()
    return NormalisedKeypoints(flatten_joints(offset / spread[:, None, None]), centre, spread)
