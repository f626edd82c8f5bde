"""Athletic behaviours: lunging, kicking, punching, jumping."""

import numpy as np

from augment.motion.anthropometry import Body
from augment.motion.performance import Performance, both_sides, from_timeline, one_side
from augment.motion.postures import arm, arms, crouch, leg, random_arms, stance, trunk_lean, upright
from augment.motion.standing import facing, pick_side
from augment.motion.trajectories import Timeline

GRAVITY_MPS2 = 9.81


def lunge(body: Body, times_s: np.ndarray, generator: np.random.Generator) -> Performance:
    """Stepping out into a lunge, forward or to the side, and back."""
    timeline = Timeline(facing(generator) | stance(generator) | arms("down", generator)).hold(0.3)
    while timeline.now_s < times_s[-1]:
        front, rear = pick_side(generator)
        lean_deg, depth_deg = float(generator.uniform(0, 20)), float(generator.uniform(35, 80))
        posture = trunk_lean(lean_deg)
        posture |= leg(front, float(generator.uniform(-5, 18)), depth_deg, posture["pelvis_pitch"])
        rear_thigh_deg = -float(generator.uniform(5, 22))
        posture |= one_side(
            rear,
            {
                "hip_flexion": rear_thigh_deg + posture["pelvis_pitch"],
                "knee_flexion": 0.55 * depth_deg + 8.0,
                "ankle_dorsiflexion": 12.0,
            },
        )
        lift = leg(front, -10.0, 55.0, 0.0)
        timeline.move(0.45, lift).move(generator.uniform(0.4, 0.7), posture | random_arms(generator))
        timeline.hold(generator.uniform(0.2, 0.7)).move(0.5, lift).move(
            0.5, upright() | arms("down", generator)
        ).hold(0.3)
    return from_timeline(timeline, times_s, generator)


def kick(body: Body, times_s: np.ndarray, generator: np.random.Generator) -> Performance:
    """Kicks to the front and to the side; the arms balance."""
    timeline = Timeline(facing(generator) | stance(generator) | arms("guard", generator)).hold(0.4)
    while timeline.now_s < times_s[-1]:
        side, other = pick_side(generator)
        height_deg = float(generator.uniform(35, 95))
        sideways_deg = float(generator.choice([0.0, 35.0]))
        back = one_side(side, {"hip_flexion": -20.0, "knee_flexion": 75.0, "hip_abduction": 5.0}) | arm(
            other, "point_front", generator
        )
        chamber = one_side(
            side,
            {
                "hip_flexion": 0.9 * height_deg,
                "knee_flexion": 95.0,
                "hip_abduction": sideways_deg,
                "ankle_dorsiflexion": -20.0,
            },
        )
        strike = one_side(
            side, {"hip_flexion": height_deg, "knee_flexion": 8.0, "hip_abduction": sideways_deg}
        )
        strike |= one_side(
            other, {"knee_flexion": 14.0, "hip_flexion": 6.0, "ankle_dorsiflexion": 8.0}
        ) | trunk_lean(-14.0)
        timeline.move(0.4, back).move(0.22, chamber).move(0.2, strike).hold(0.06)
        timeline.move(0.3, chamber).move(0.45, upright() | arms("guard", generator)).hold(
            generator.uniform(0.2, 0.8)
        )
    return from_timeline(timeline, times_s, generator)


def punch(body: Body, times_s: np.ndarray, generator: np.random.Generator) -> Performance:
    """Boxing from a guard: straight punches, left and right, with the trunk behind them."""
    stagger = leg("left", 8.0, 22.0, 4.0) | one_side(
        "right", {"hip_flexion": -8.0, "knee_flexion": 14.0, "ankle_dorsiflexion": 14.0}
    )
    timeline = Timeline(
        facing(generator) | stance(generator) | stagger | trunk_lean(8.0) | arms("guard", generator)
    ).hold(0.3)
    while timeline.now_s < times_s[-1]:
        side, _ = pick_side(generator)
        sign = 1.0 if side == "left" else -1.0
        hit = one_side(
            side,
            {
                "shoulder_plane": 95.0,
                "shoulder_elevation": float(generator.uniform(65, 100)),
                "elbow_flexion": 8.0,
                "shoulder_rotation": 40.0,
                "girdle_protraction": 18.0,
            },
        )
        hit |= {
            "thoracic_rotation": -sign * 28.0,
            "lumbar_rotation": -sign * 6.0,
            "cervical_rotation": sign * 15.0,
            "head_rotation": sign * 12.0,
        }
        home = arms("guard", generator) | {
            "thoracic_rotation": 0.0,
            "lumbar_rotation": 0.0,
            "cervical_rotation": 0.0,
            "head_rotation": 0.0,
        }
        home |= one_side(side, {"girdle_protraction": 0.0})
        timeline.move(generator.uniform(0.18, 0.3), hit).move(generator.uniform(0.25, 0.4), home).hold(
            generator.uniform(0.02, 0.6)
        )
    return from_timeline(timeline, times_s, generator)


def jump(body: Body, times_s: np.ndarray, generator: np.random.Generator) -> Performance:
    """Jumps on the spot: crouch, take-off, flight by gravity, landing. Some with the arms and legs spread."""
    timeline = Timeline(facing(generator) | stance(generator) | arms("down", generator)).hold(0.4)
    lift_m, glide = np.zeros_like(times_s), np.zeros_like(times_s)
    while timeline.now_s < times_s[-1]:
        flight_s = float(generator.uniform(0.3, 0.56))
        spread = both_sides({"hip_abduction": float(generator.choice([3.0, 24.0]))})
        swing = both_sides(
            {
                "shoulder_plane": 30.0,
                "shoulder_elevation": 10.0,
                "shoulder_swing": -35.0,
                "elbow_flexion": 10.0,
            }
        )
        rising = both_sides(
            {"shoulder_plane": 70.0, "shoulder_elevation": 70.0, "shoulder_swing": 0.0, "elbow_flexion": 35.0}
        )
        raised = arms(str(generator.choice(["point_up", "spread", "carry", "point_front"])), generator)
        tiptoe = upright() | both_sides(
            {"ankle_dorsiflexion": -28.0, "hip_flexion": 2.0, "knee_flexion": 4.0}
        )
        timeline.move(generator.uniform(0.5, 0.8), crouch(body, float(generator.uniform(50, 90))) | swing)
        halfway = {name: 0.5 * (value + rising.get(name, value)) for name, value in raised.items()}
        timeline.move(0.36, tiptoe | rising)
        progress = np.clip((times_s - timeline.now_s) / flight_s, 0.0, 1.0)
        lift_m += GRAVITY_MPS2 * flight_s**2 / 2.0 * progress * (1.0 - progress)
        glide = np.maximum(glide, ((progress > 0) & (progress < 1)).astype(np.float64))
        timeline.move(
            0.5 * flight_s, halfway | spread | both_sides({"knee_flexion": 18.0, "hip_flexion": 14.0})
        )
        timeline.move(0.5 * flight_s, tiptoe | raised)
        timeline.move(0.28, crouch(body, float(generator.uniform(40, 80)))).move(
            0.3, arms("explain", generator)
        )
        timeline.move(generator.uniform(0.5, 0.8), upright() | arms("down", generator)).hold(
            generator.uniform(0.0, 0.5)
        )
    landed = from_timeline(timeline, times_s, generator)
    return Performance(angles_deg=landed.angles_deg, lift_m=lift_m, glide=glide)
