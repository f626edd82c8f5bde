"""Is a file's frame rate too high to be true? Judged by gravity.

Nothing but gravity pulls a body's centre of mass down, so it cannot accelerate downwards at much more than
9.81 m/s^2 for long. A clip played twice too fast shows four times its true accelerations. The 2nd percentile
of the vertical acceleration, sampled at about 30 Hz, lies above -16.1 m/s^2 in all 295 longer clips of
data/mocap without a glitch (leaps reach that, as joints are no exact centre of mass). With every rate doubled
a quarter of them falls below the limit of -17: four of five clips of running and jumping, but one of eight of
salsa. So a warning is to be believed (or the motion was edited, as three of DeepMimic's clips are), and silence
proves nothing. Rates that are too low are not found.
"""

from collections.abc import Sequence

import numpy as np

from poses.skeleton import Skeleton

GRAVITY_MPS2 = 9.81
LIMIT_MPS2 = -17.0
PERCENTILE = 2.0
SAMPLING_HZ = 30.0
MIN_SAMPLES = 30
# segment: near joint, far joint, share of the body's mass, centre from near to far; de Leva (1996), men and
# women averaged, the trunk with the neck as one segment, hands with the forearms, feet at the ankles
SEGMENTS = (
    ("neck_nose", "head", 0.070, 0.50),
    ("thorax", "pelvis", 0.430, 0.45),
    *(
        segment
        for side in ("left", "right")
        for segment in (
            (f"{side}_hip", f"{side}_knee", 0.145, 0.40),
            (f"{side}_knee", f"{side}_ankle", 0.046, 0.44),
            (f"{side}_ankle", f"{side}_ankle", 0.014, 0.0),
            (f"{side}_shoulder", f"{side}_elbow", 0.026, 0.58),
            (f"{side}_elbow", f"{side}_wrist", 0.021, 0.60),
        )
    ),
)


def centre_of_mass_weights(skeleton: Skeleton) -> np.ndarray | None:
    """(J,) weights of the joints that sum to 1; None if the skeleton lacks a joint that is needed."""
    weights = np.zeros(skeleton.n_joints)
    for near, far, mass, centre in SEGMENTS:
        if near not in skeleton.joints or far not in skeleton.joints:
            return None
        weights[skeleton.index(near)] += mass * (1.0 - centre)
        weights[skeleton.index(far)] += mass * centre
    return weights / weights.sum()


def fall_mps2(stretches_m: Sequence[np.ndarray], skeleton: Skeleton, rate_hz: float) -> float | None:
    """2nd percentile of the centre of mass's vertical acceleration, None where there is too little to tell.

    Args:
        stretches_m: Uninterrupted clean motion, each (T, J, 3) metres, y up.
        skeleton: What the joints are.
        rate_hz: Rate that the file claims.
    """
    weights = centre_of_mass_weights(skeleton)
    step = max(1, round(rate_hz / SAMPLING_HZ))
    if weights is None:
        return None
    heights_m = [stretch[::step, :, 1] @ weights for stretch in stretches_m]
    accelerations = [
        np.diff(height_m, 2) * (rate_hz / step) ** 2 for height_m in heights_m if len(height_m) > 2
    ]
    samples = np.concatenate(accelerations) if accelerations else np.empty(0)
    return float(np.percentile(samples, PERCENTILE)) if len(samples) >= MIN_SAMPLES else None


def doubtful_rate(stretches_m: Sequence[np.ndarray], skeleton: Skeleton, rate_hz: float) -> str:
    """A sentence if the body falls too fast for the claimed rate, else ""; arguments as of `fall_mps2`."""
    fall = fall_mps2(stretches_m, skeleton, rate_hz)
    if fall is None or fall >= LIMIT_MPS2:
        return ""
    return (
        f"the body falls at up to {-fall:.0f} m/s^2 ({-fall / GRAVITY_MPS2:.1f} g): either the motion was "
        f"edited or {rate_hz:g} Hz is too high; if its true rate is {rate_hz / 2:g} Hz, say so in "
        "rate_overrides"
    )
