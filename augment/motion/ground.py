"""The floor: root height from the lowest contact point, root path from the contact points that stand still.

A motion given as joint angles says nothing about where the body is. Two facts settle it: somebody's lowest
point is on the floor, and what stands on the floor does not slide. So the root's height is minus the lowest
contact, and the root's horizontal velocity is minus the velocity of the contacts that carry the body.
"""

import numpy as np

from augment.motion.trajectories import gaussian_smooth

CONTACT_SOFTNESS_M = 0.012
BRIDGE_S = 0.2


def root_path_m(
    contacts_m: np.ndarray, rate_hz: float, lift_m: np.ndarray, glide: np.ndarray, smooth_s: float = 0.04
) -> np.ndarray:
    """Where the root goes.

    Args:
        contacts_m: Contact points (T, P, 3) around the root, axes of the world, y up.
        rate_hz: Frames per second.
        lift_m: (T,) height of the lowest point above the floor (0 but in flight).
        glide: (T,) 0..1, the share of the root's speed that is the mean of its surroundings: 1 where nothing
            holds the body (flight), much of it in steady gait, where momentum evens out what the feet do, 0
            on the spot.
        smooth_s: Standard deviation of the smoothing of height and speed, seconds.

    Returns:
        (T, 3) root positions in metres; starts at x = z = 0.
    """
    height_m = contacts_m[:, :, 1]
    lowest_m = height_m.min(axis=1)
    weight = np.exp(-(height_m - lowest_m[:, None]) / CONTACT_SOFTNESS_M)
    weight /= weight.sum(axis=1, keepdims=True)
    steps_m = np.diff(contacts_m[:, :, [0, 2]], axis=0)
    between = 0.5 * (weight[1:] + weight[:-1])
    root_steps_m = -(between[:, :, None] * steps_m).sum(axis=1)
    held = 1.0 - 0.5 * (glide[1:] + glide[:-1])
    if held.min() < 0.999:
        root_steps_m = _bridge(root_steps_m, held, BRIDGE_S * rate_hz)
    root_steps_m = gaussian_smooth(root_steps_m, smooth_s * rate_hz)
    path_m = np.zeros((len(contacts_m), 3))
    path_m[1:, [0, 2]] = np.cumsum(root_steps_m, axis=0)
    path_m[:, 1] = gaussian_smooth(-lowest_m, smooth_s * rate_hz) + lift_m
    return path_m


def _bridge(steps_m: np.ndarray, held: np.ndarray, frames: float) -> np.ndarray:
    """Replace the steps of unheld frames by the weighted mean of the held ones around them."""
    weight = np.maximum(held, 1e-4)[:, None]
    around = gaussian_smooth(steps_m * weight, frames) / gaussian_smooth(weight, frames)
    return held[:, None] * steps_m + (1.0 - held[:, None]) * around
