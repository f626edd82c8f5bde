"""From any frame rate to a given one.

Where the source rate is a whole multiple of the target rate, every n-th frame is picked: poses stay exactly
those of the source, and nothing is filtered, so motion above half the target rate aliases. Otherwise
positions are interpolated linearly between the two neighbouring frames: a bone that turns by an angle a
between them is shortened by up to 1 - cos(a / 2) in the middle (0.4 % at 10 degrees; a forearm swinging at 10
rad/s between frames at 60 Hz: 0.35 %; between frames at 16 Hz: 5 %). Resample before measuring bones, or from
a source faster than the target.
"""

import numpy as np
from jaxtyping import Float, Int

WHOLE_RATIO_TOLERANCE = 1e-3


def pick_step(source_hz: float, target_hz: float) -> int | None:
    """n if the source rate is n times the target rate (to 0.1 %), else None."""
    ratio = source_hz / target_hz
    step = round(ratio)
    return step if step >= 1 and abs(ratio - step) <= WHOLE_RATIO_TOLERANCE * step else None


def resample(
    positions_m: Float[np.ndarray, "T J 3"], frames: Int[np.ndarray, " T"], source_hz: float, target_hz: float
) -> tuple[Float[np.ndarray, "R J 3"], Int[np.ndarray, " R"]]:
    """A stretch of consecutive source frames at another rate.

    Args:
        positions_m: (T, J, 3) of the frames `frames`.
        frames: (T,) consecutive source frame numbers, counted from the first usable frame of the file.
            Picking takes the multiples of the ratio, so that cutting a clip moves no frame onto another
            phase.
        source_hz: Rate of the frames.
        target_hz: Rate wanted.

    Returns:
        Positions (T', J, 3) and for each the number of the nearest source frame (T',) int64. Empty where no
        target frame lies within the stretch.
    """
    if not len(frames):
        return positions_m, frames.astype(np.int64)
    step = pick_step(source_hz, target_hz)
    if step is not None:
        keep = frames % step == 0
        return positions_m[keep], frames[keep].astype(np.int64)
    ratio = source_hz / target_hz  # source frames per target frame
    first, last = int(frames[0]), int(frames[-1])
    ticks = np.arange(int(np.ceil(first / ratio - 1e-9)), int(np.floor(last / ratio + 1e-9)) + 1)
    at = np.clip(ticks * ratio - first, 0.0, last - first)
    left = np.minimum(at.astype(np.int64), max(len(frames) - 2, 0))
    right = np.minimum(left + 1, len(frames) - 1)
    weight = (at - left)[:, None, None]
    mixed = positions_m[left] * (1.0 - weight) + positions_m[right] * weight
    return mixed, first + np.rint(at).astype(np.int64)
