"""Everyday behaviours on two feet in one place: gestures, waving, reaching, bending, squatting."""

import numpy as np

from augment.motion.anthropometry import Body
from augment.motion.channels import SIDES
from augment.motion.performance import Performance, both_sides, from_timeline, one_side
from augment.motion.postures import arms, crouch, leg, look, random_arms, stance, trunk_lean, upright
from augment.motion.trajectories import Timeline


def facing(generator: np.random.Generator) -> dict[str, float]:
    """Any direction."""
    return {"pelvis_yaw": float(generator.uniform(0, 360))}


def pick_side(generator: np.random.Generator) -> tuple[str, str]:
    """One side, and the other."""
    side = SIDES[int(generator.integers(2))]
    return side, SIDES[1 - SIDES.index(side)]


def gesture(body: Body, times_s: np.ndarray, generator: np.random.Generator) -> Performance:
    """Standing and talking: a sequence of arm postures, looks and shifts of weight."""
    feet = stance(generator)
    timeline = Timeline(facing(generator) | feet | random_arms(generator))
    while timeline.now_s < times_s[-1]:
        twist_deg = float(generator.uniform(-25, 25))
        weight_deg = float(generator.normal(0, 4))
        posture = look(generator) | trunk_lean(float(generator.uniform(-4, 14)))
        posture |= {"thoracic_rotation": twist_deg, "pelvis_list": weight_deg, "lumbar_side": -weight_deg}
        posture |= {"left_hip_abduction": 4 + weight_deg, "right_hip_abduction": 4 - weight_deg}
        posture |= _keep_legs(feet | posture)
        if generator.random() < 0.75:
            posture |= random_arms(generator)
        timeline.move(generator.uniform(0.5, 1.2), posture).hold(generator.uniform(0.1, 0.9))
    return from_timeline(timeline, times_s, generator)


def wave(body: Body, times_s: np.ndarray, generator: np.random.Generator) -> Performance:
    """Waving with one raised hand, or with both arms overhead."""
    side, other = pick_side(generator)
    sides = (side, other) if generator.random() < 0.3 else (side,)
    timeline = Timeline(facing(generator) | stance(generator) | arms("down", generator)).hold(
        generator.uniform(0.2, 0.8)
    )
    elevation_deg, swing_deg = float(generator.uniform(60, 110)), float(generator.uniform(18, 35))
    raised: dict[str, float] = {}
    for one in sides:
        raised |= one_side(
            one, {"shoulder_plane": 20.0, "shoulder_elevation": elevation_deg, "girdle_elevation": 8.0}
        )
    timeline.move(0.7, raised | look(generator, 20.0))
    half_s = generator.uniform(0.18, 0.35)
    while timeline.now_s < times_s[-1]:
        for _ in range(int(generator.integers(3, 7))):
            for sign in (1.0, -1.0):
                beat: dict[str, float] = {}
                for one in sides:
                    beat |= one_side(
                        one,
                        {
                            "shoulder_rotation": -62.0 + sign * swing_deg,
                            "elbow_flexion": 75.0 - 0.6 * sign * swing_deg,
                        },
                    )
                timeline.move(half_s, beat)
        timeline.move(0.8, arms("down", generator)).hold(generator.uniform(0.3, 1.0)).move(0.7, raised)
    return from_timeline(timeline, times_s, generator)


def reach(body: Body, times_s: np.ndarray, generator: np.random.Generator) -> Performance:
    """Reaching with one or both hands to places all around: high, low, across; the trunk and knees follow."""
    timeline = Timeline(facing(generator) | stance(generator) | arms("down", generator)).hold(0.3)
    while timeline.now_s < times_s[-1]:
        side, other = pick_side(generator)
        plane_deg, elevation_deg = float(generator.uniform(0, 115)), float(generator.uniform(45, 165))
        sign = 1.0 if side == "left" else -1.0
        twist_deg = sign * (40.0 - 0.6 * plane_deg)
        target = one_side(side, {"shoulder_plane": plane_deg, "shoulder_elevation": elevation_deg})
        target |= one_side(
            side,
            {
                "elbow_flexion": float(generator.uniform(3, 45)),
                "shoulder_rotation": float(generator.uniform(-20, 40)),
            },
        )
        target |= one_side(
            side, {"girdle_protraction": 12.0, "girdle_elevation": max(0.0, 0.2 * (elevation_deg - 70.0))}
        )
        if generator.random() < 0.3:
            target |= {name.replace(side, other): value for name, value in target.items()}
            twist_deg *= 0.2
        lean_deg = float(np.clip(generator.normal(70 - 0.6 * elevation_deg, 15), -10, 70))
        target |= crouch(body, float(generator.uniform(5, 60))) if lean_deg > 35 else upright()
        target |= trunk_lean(lean_deg)
        target |= _keep_legs(target)
        target |= {
            "thoracic_rotation": 0.7 * twist_deg,
            "lumbar_rotation": 0.2 * twist_deg,
            "cervical_rotation": 0.3 * twist_deg,
        }
        timeline.move(generator.uniform(0.6, 1.1), target).hold(generator.uniform(0.1, 0.6))
        timeline.move(generator.uniform(0.6, 1.1), upright() | arms("down", generator)).hold(
            generator.uniform(0.0, 0.4)
        )
    return from_timeline(timeline, times_s, generator)


def _keep_legs(posture: dict[str, float]) -> dict[str, float]:
    """Hips that put the legs where they were, after the pelvis has pitched: thigh = hip flexion - pitch."""
    kept: dict[str, float] = {}
    for side in SIDES:
        shank_deg = posture.get(f"{side}_ankle_dorsiflexion", 1.0)
        kept |= leg(
            side, shank_deg, posture.get(f"{side}_knee_flexion", 4.0) - shank_deg, posture["pelvis_pitch"]
        )
    return kept


def bend(body: Body, times_s: np.ndarray, generator: np.random.Generator) -> Performance:
    """Bending forward with nearly straight or bent knees and picking something up, bending sideways."""
    timeline = Timeline(facing(generator) | stance(generator) | arms("down", generator)).hold(0.3)
    while timeline.now_s < times_s[-1]:
        if generator.random() < 0.3:
            side_deg = float(generator.choice([-1.0, 1.0]) * generator.uniform(15, 30))
            down = {
                "lumbar_side": 0.6 * side_deg,
                "thoracic_side": 0.5 * side_deg,
                "cervical_side": 0.3 * side_deg,
            }
            back: dict[str, float] = dict.fromkeys(down, 0.0)
            down |= random_arms(generator)
        else:
            lean_deg = float(generator.uniform(55, 115))
            posture = crouch(body, float(generator.uniform(8, 70))) | trunk_lean(lean_deg, 0.62)
            down = posture | _keep_legs(posture)
            hang_deg = lean_deg + float(generator.uniform(-15, 15))
            down |= both_sides(
                {
                    "shoulder_plane": 85.0,
                    "shoulder_elevation": hang_deg,
                    "elbow_flexion": 12.0,
                    "shoulder_rotation": 0.0,
                }
            )
            down |= {"cervical_flexion": -5.0, "head_flexion": -8.0}
            back = upright()
        timeline.move(generator.uniform(0.9, 1.5), down).hold(generator.uniform(0.1, 0.6))
        timeline.move(generator.uniform(0.8, 1.4), back | random_arms(generator)).hold(
            generator.uniform(0.1, 0.5)
        )
    return from_timeline(timeline, times_s, generator)


def squat(body: Body, times_s: np.ndarray, generator: np.random.Generator) -> Performance:
    """Squats, shallow or deep, with the arms forward, on the hips or overhead."""
    timeline = Timeline(facing(generator) | stance(generator) | arms("down", generator)).hold(0.3)
    while timeline.now_s < times_s[-1]:
        style = str(generator.choice(["point_front", "carry", "on_hip", "overhead", "crossed", "knees"]))
        down_s = generator.uniform(0.7, 1.4)
        timeline.move(down_s, crouch(body, float(generator.uniform(50, 125))) | arms(style, generator))
        timeline.hold(generator.uniform(0.0, 0.5))
        timeline.move(generator.uniform(0.6, 1.1), upright() | arms("down", generator)).hold(
            generator.uniform(0.0, 0.4)
        )
    return from_timeline(timeline, times_s, generator)
