"""Range-of-motion exploration: smooth random trajectories of all joint angles inside the normal ranges."""

import numpy as np

from augment.motion.anthropometry import Body
from augment.motion.channels import SIDES, channel_table
from augment.motion.performance import Performance, grounded
from augment.motion.trajectories import smooth_noise

LEG_CHANNELS = ("hip", "knee", "ankle")


def explore(body: Body, times_s: np.ndarray, generator: np.random.Generator) -> Performance:
    """Every joint wanders through its own range, at its own pace.

    Band-limited noise is saturated and mapped onto each side of the rest angle, so that rest is the most
    likely posture and the limits are approached but not crossed. In half of the clips the legs stay near
    standing, as they must when they carry the body; in the others they take part.
    """
    table = channel_table()
    standing = generator.random() < 0.5
    noise = np.tanh(0.9 * smooth_noise(times_s, len(table.names), generator.uniform(0.25, 0.6), generator))
    reach_up = np.where(np.isfinite(table.highest_deg), table.highest_deg - table.rest_deg, 0.0)
    reach_down = np.where(np.isfinite(table.lowest_deg), table.rest_deg - table.lowest_deg, 0.0)
    share = table.spread.copy()
    if standing:
        legs = np.array([any(part in name for part in LEG_CHANNELS) for name in table.names])
        share = np.where(legs, 0.12 * share, share)
    angles_deg = table.rest_deg + share * np.where(noise > 0, noise * reach_up, noise * reach_down)
    angles_deg[:, table.index("pelvis_yaw")] = generator.uniform(0, 360) + 70.0 * noise[:, 0]
    tilt_deg = 6.0 if standing else 30.0
    angles_deg[:, table.index("pelvis_pitch")] = tilt_deg * noise[:, 1]
    angles_deg[:, table.index("pelvis_list")] = 0.5 * tilt_deg * noise[:, 2]
    _keep_clear_of_trunk(angles_deg)
    return grounded(angles_deg)


def _keep_clear_of_trunk(angles_deg: np.ndarray) -> None:
    """A hanging upper arm turns in only a little (else the forearm is in the belly); thighs do not cross."""
    table = channel_table()
    for side in SIDES:
        elevation = angles_deg[:, table.index(f"{side}_shoulder_elevation")]
        rotation = table.index(f"{side}_shoulder_rotation")
        most_deg = 25.0 + 0.6 * np.clip(elevation, 0.0, 90.0)
        over_deg = np.maximum(angles_deg[:, rotation] - most_deg, 0.0)
        angles_deg[:, rotation] -= 0.9 * over_deg
        abduction = table.index(f"{side}_hip_abduction")
        angles_deg[:, abduction] = np.where(
            angles_deg[:, abduction] < 0, 0.4 * angles_deg[:, abduction], angles_deg[:, abduction]
        )
