"""Walking, running and turning: periodic joint angles after published gait curves (`gait.yaml`).

Cadence and step length follow from the wanted speed by the walk ratio (Sekiya & Nagasaki 1998), which is
constant in people over a wide range of speeds; the curves' amplitude scales with the step length. The path
itself is not prescribed: it follows from the feet that stand (`ground.root_path_m`).
"""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import yaml

from augment.motion.anthropometry import Body
from augment.motion.channels import SIDES, channel_table
from augment.motion.performance import Performance, grounded, rest_angles_deg
from augment.motion.trajectories import gaussian_smooth, periodic_curve, smooth_noise

GRAVITY_MPS2 = 9.81
WALK_GLIDE = 0.85


@cache
def _gait_tables() -> dict:
    return yaml.safe_load((Path(__file__).parent / "gait.yaml").read_text(encoding="utf-8"))


def walk(body: Body, times_s: np.ndarray, generator: np.random.Generator) -> Performance:
    """Walking at 0.5 to 2.1 m/s along a gently curved path."""
    speed_mps = float(np.clip(generator.normal(1.25, 0.35), 0.5, 2.1))
    steps_per_min = np.sqrt(60.0 * speed_mps / _gait_tables()["walk_ratio"][body.sex])
    step_length = speed_mps * 60.0 / steps_per_min / body.stature_m
    scale = float(np.clip(step_length / _gait_tables()["curve_step_length"]["walk"], 0.45, 1.4))
    phase = _phase(times_s, steps_per_min / 120.0, generator)
    angles_deg = rest_angles_deg(len(times_s))
    _legs(angles_deg, "walk", phase, scale)
    _upper_body(
        angles_deg, phase, swing_deg=generator.uniform(8, 24) * scale, elbow_deg=generator.uniform(12, 35)
    )
    _set(angles_deg, "pelvis_pitch", generator.uniform(0, 5))
    turn_dps = generator.normal(0.0, 14.0)
    if generator.random() < 0.6:  # round the room
        radius_m = generator.uniform(0.9, 1.9)
        turn_dps = float(generator.choice([-1.0, 1.0]) * np.rad2deg(speed_mps / radius_m))
    _turn_slowly(angles_deg, times_s, turn_dps, generator)
    _maybe_carry(angles_deg, generator)
    grounded_performance = grounded(angles_deg)
    return replace(grounded_performance, glide=np.full(len(times_s), WALK_GLIDE))


def run(body: Body, times_s: np.ndarray, generator: np.random.Generator) -> Performance:
    """Running at 2.2 to 4.5 m/s, with a flight phase after every toe-off."""
    speed_mps = generator.uniform(2.2, 4.5)
    steps_per_min = 150.0 + 9.0 * speed_mps + generator.normal(0.0, 5.0)
    step_length = speed_mps * 60.0 / steps_per_min / body.stature_m
    scale = float(np.clip(step_length / _gait_tables()["curve_step_length"]["run"], 0.7, 1.3))
    cycle_hz = steps_per_min / 120.0
    phase = _phase(times_s, cycle_hz, generator)
    angles_deg = rest_angles_deg(len(times_s))
    _legs(angles_deg, "run", phase, scale)
    _upper_body(
        angles_deg, phase, swing_deg=generator.uniform(22, 38) * scale, elbow_deg=generator.uniform(75, 105)
    )
    lean_deg = generator.uniform(3, 10)
    _set(angles_deg, "pelvis_pitch", lean_deg)
    _set(angles_deg, "lumbar_flexion", 0.4 * lean_deg)
    _turn_slowly(angles_deg, times_s, generator.normal(0.0, 20.0), generator)
    toe_off = _gait_tables()["toe_off"]["run"]
    flight = np.clip(((phase % 0.5) - toe_off) / (0.5 - toe_off), 0.0, 1.0)
    flight_s = (0.5 - toe_off) / cycle_hz
    rise_m = GRAVITY_MPS2 * flight_s**2 / 8.0
    flying = np.where((flight > 0) & (flight < 1), np.sin(np.pi * flight), 0.0)
    return Performance(
        angles_deg=angles_deg, lift_m=rise_m * 4 * flight * (1 - flight), glide=np.sqrt(flying)
    )


def turn(body: Body, times_s: np.ndarray, generator: np.random.Generator) -> Performance:
    """Stepping on the spot with turns of 60 to 360 degrees, and stops between them."""
    cycle_hz = generator.uniform(0.7, 1.0)
    phase = _phase(times_s, cycle_hz, generator)
    activity = np.zeros_like(times_s)
    yaw_deg = np.full_like(times_s, generator.uniform(0, 360))
    start_s = generator.uniform(0.2, 1.0)
    while start_s < times_s[-1]:
        angle_deg = generator.choice([-1.0, 1.0]) * generator.uniform(60, 360)
        length_s = abs(angle_deg) / generator.uniform(80, 170)
        progress = np.clip((times_s - start_s) / length_s, 0.0, 1.0)
        yaw_deg += angle_deg * progress
        activity += ((progress > 0) & (progress < 1)).astype(np.float64)
        start_s += length_s + generator.uniform(0.5, 1.8)
    rate_hz = 1.0 / max(times_s[1] - times_s[0], 1e-6)
    activity = np.clip(gaussian_smooth(activity, 0.16 * rate_hz), 0.0, 1.0)
    yaw_deg = gaussian_smooth(yaw_deg, 0.16 * rate_hz)
    angles_deg = rest_angles_deg(len(times_s))
    lift_deg = generator.uniform(22, 42)
    table = channel_table()
    for side, shift in zip(SIDES, (0.0, 0.5), strict=True):
        step = activity * np.maximum(np.sin(2 * np.pi * (phase + shift)), 0.0) ** 2
        angles_deg[:, table.index(f"{side}_hip_flexion")] += lift_deg * step
        angles_deg[:, table.index(f"{side}_knee_flexion")] += 1.9 * lift_deg * step
        angles_deg[:, table.index(f"{side}_shoulder_swing")] -= 0.4 * lift_deg * step
    angles_deg[:, table.index("pelvis_yaw")] = yaw_deg
    ahead_deg = np.clip(np.gradient(yaw_deg, times_s) * 0.18, -35, 35)
    for name, share in (("thoracic_rotation", 0.3), ("cervical_rotation", 0.4), ("head_rotation", 0.4)):
        angles_deg[:, table.index(name)] += share * ahead_deg
    return grounded(angles_deg)


def _phase(times_s: np.ndarray, cycle_hz: float, generator: np.random.Generator) -> np.ndarray:
    """Phase in cycles; the cadence wavers by about 2 %."""
    waver = 0.015 * smooth_noise(times_s, 1, 0.5, generator)[:, 0]
    return generator.random() + cycle_hz * times_s + waver


def _legs(angles_deg: np.ndarray, gait: str, phase: np.ndarray, scale: float) -> None:
    table, curves = channel_table(), _gait_tables()[gait]
    for side, shift in zip(SIDES, (0.0, 0.5), strict=True):
        own = phase + shift
        hip = periodic_curve(np.array(curves["hip_flexion"], dtype=np.float64), own)
        knee = periodic_curve(np.array(curves["knee_flexion"], dtype=np.float64), own)
        ankle = periodic_curve(np.array(curves["ankle_dorsiflexion"], dtype=np.float64), own)
        angles_deg[:, table.index(f"{side}_hip_flexion")] = 9.0 + scale * (hip - 9.0)
        angles_deg[:, table.index(f"{side}_knee_flexion")] = np.maximum(knee, 1.0) * (0.35 + 0.65 * scale)
        angles_deg[:, table.index(f"{side}_hip_abduction")] = -2.0
        angles_deg[:, table.index(f"{side}_ankle_dorsiflexion")] = ankle * (0.4 + 0.6 * scale)


def _upper_body(angles_deg: np.ndarray, phase: np.ndarray, swing_deg: float, elbow_deg: float) -> None:
    """Arms against the legs, chest against the pelvis. At phase 0 a leg is foremost, its arm at the back."""
    table = channel_table()
    fore = np.cos(2 * np.pi * phase)
    twist_deg = 4.0 + 0.12 * swing_deg
    angles_deg[:, table.index("pelvis_yaw")] += -0.8 * twist_deg * fore
    angles_deg[:, table.index("thoracic_rotation")] += 1.6 * twist_deg * fore
    angles_deg[:, table.index("cervical_rotation")] -= 0.8 * twist_deg * fore
    angles_deg[:, table.index("pelvis_list")] -= 3.0 * np.sin(2 * np.pi * phase)
    angles_deg[:, table.index("lumbar_side")] += 3.0 * np.sin(2 * np.pi * phase)
    for side, sign in zip(SIDES, (1.0, -1.0), strict=True):
        swing = -sign * fore
        angles_deg[:, table.index(f"{side}_shoulder_swing")] += swing_deg * (swing + 0.1)
        angles_deg[:, table.index(f"{side}_elbow_flexion")] = elbow_deg + 0.35 * swing_deg * swing


def _turn_slowly(
    angles_deg: np.ndarray, times_s: np.ndarray, rate_dps: float, generator: np.random.Generator
) -> None:
    wander_deg = 12.0 * smooth_noise(times_s, 1, 0.25, generator)[:, 0]
    yaw = channel_table().index("pelvis_yaw")
    angles_deg[:, yaw] += generator.uniform(0, 360) + rate_dps * times_s + wander_deg


def _maybe_carry(angles_deg: np.ndarray, generator: np.random.Generator) -> None:
    """One walker in five holds something before the body, so that one or both arms do not swing."""
    if generator.random() > 0.2:
        return
    table = channel_table()
    sides = SIDES if generator.random() < 0.5 else (SIDES[int(generator.integers(2))],)
    for side in sides:
        angles_deg[:, table.index(f"{side}_shoulder_swing")] *= 0.15
        angles_deg[:, table.index(f"{side}_shoulder_elevation")] += generator.uniform(5, 25)
        angles_deg[:, table.index(f"{side}_shoulder_plane")] = generator.uniform(50, 90)
        angles_deg[:, table.index(f"{side}_elbow_flexion")] = generator.uniform(60, 100)


def _set(angles_deg: np.ndarray, channel: str, value_deg: float) -> None:
    angles_deg[:, channel_table().index(channel)] += value_deg
