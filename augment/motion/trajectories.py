"""Smooth functions of time: minimum-jerk keyframes, band-limited noise, periodic curves, smoothing."""

from dataclasses import dataclass, field

import numpy as np

from augment.motion.channels import channel_table


def minimum_jerk(progress: np.ndarray) -> np.ndarray:
    """Position along a point-to-point movement, 0 to 1 (Flash & Hogan 1985); flat outside."""
    clipped = np.clip(progress, 0.0, 1.0)
    return clipped**3 * (10.0 + clipped * (-15.0 + 6.0 * clipped))


@dataclass
class Timeline:
    """Postures at times; channels that a posture leaves out keep their last value.

    `move(seconds, posture)` goes there in that time, `hold(seconds)` stays. `sample` evaluates the whole.
    """

    start: dict[str, float]
    times_s: list[float] = field(init=False)
    postures: list[dict[str, float]] = field(init=False)

    def __post_init__(self) -> None:
        table = channel_table()
        rest = dict(zip(table.names, table.rest_deg.tolist(), strict=True))
        self.times_s = [0.0]
        self.postures = [rest | self.start]

    @property
    def now_s(self) -> float:
        """Time of the last posture."""
        return self.times_s[-1]

    def move(self, seconds: float, posture: dict[str, float]) -> "Timeline":
        """Go to a posture (only the channels it names move)."""
        self.times_s.append(self.now_s + max(seconds, 1e-3))
        self.postures.append(self.postures[-1] | posture)
        return self

    def hold(self, seconds: float) -> "Timeline":
        """Stay as it is."""
        return self.move(seconds, {})

    def sample(self, times_s: np.ndarray, delays_s: np.ndarray | None = None) -> np.ndarray:
        """Angles (T, C) at the given times; `delays_s` (C,) lets channels lag, as they do in people."""
        table = channel_table()
        targets_deg = np.array([[posture[name] for name in table.names] for posture in self.postures])
        knots_s = np.array(self.times_s)
        lag = np.zeros(len(table.names)) if delays_s is None else delays_s
        local_s = times_s[:, None] - lag[None, :]
        segment = np.clip(np.searchsorted(knots_s, local_s, side="right") - 1, 0, max(len(knots_s) - 2, 0))
        following = np.minimum(segment + 1, len(knots_s) - 1)
        length_s = np.maximum(knots_s[following] - knots_s[segment], 1e-6)
        progress = minimum_jerk((local_s - knots_s[segment]) / length_s)
        columns = np.arange(len(table.names))[None, :]
        before, after = targets_deg[segment, columns], targets_deg[following, columns]
        return before + (after - before) * progress


def smooth_noise(
    times_s: np.ndarray, n_channels: int, cutoff_hz: float, generator: np.random.Generator, waves: int = 6
) -> np.ndarray:
    """Band-limited noise of unit variance, (T, n_channels): sines of random phase below the cutoff."""
    frequencies_hz = cutoff_hz * generator.uniform(0.15, 1.0, size=(waves, n_channels))
    phases = generator.uniform(0.0, 2 * np.pi, size=(waves, n_channels))
    total = np.zeros((len(times_s), n_channels))
    for wave in range(waves):
        total += np.sin(2 * np.pi * frequencies_hz[wave] * times_s[:, None] + phases[wave])
    return total * np.sqrt(2.0 / waves)


def periodic_curve(knots: np.ndarray, phase: np.ndarray, harmonics: int = 6) -> np.ndarray:
    """Periodic function near equally spaced knots, by its first harmonics; phase in cycles."""
    spectrum = np.fft.rfft(knots) / len(knots)
    value = np.full(phase.shape, spectrum[0].real)
    for order in range(1, min(harmonics, len(spectrum) - 1) + 1):
        angle = 2 * np.pi * order * phase
        value += 2.0 * (spectrum[order].real * np.cos(angle) - spectrum[order].imag * np.sin(angle))
    return value


def gaussian_smooth(values: np.ndarray, frames: float) -> np.ndarray:
    """Smooth along time (axis 0) with a Gaussian of `frames` standard deviation; the ends are reflected."""
    if frames <= 0.05 or len(values) < 3:
        return values
    radius = min(int(np.ceil(3 * frames)), len(values) - 1)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / frames) ** 2)
    kernel /= kernel.sum()
    padded = np.concatenate([values[radius:0:-1], values, values[-2 : -radius - 2 : -1]])
    smooth = np.zeros_like(values)
    for shift, weight in enumerate(kernel):
        smooth += weight * padded[shift : shift + len(values)]
    return smooth
