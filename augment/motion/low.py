"""Behaviours that go down: sitting, kneeling, lying on the floor; each with the way back up."""

import numpy as np

from augment.motion.anthropometry import Body
from augment.motion.channels import SIDES
from augment.motion.performance import Performance, both_sides, from_timeline, one_side
from augment.motion.postures import arms, crouch, leg, look, random_arms, seated, stance, trunk_lean, upright
from augment.motion.trajectories import Timeline


def sit(body: Body, times_s: np.ndarray, generator: np.random.Generator) -> Performance:
    """Sitting down on a chair (not drawn, but the legs know it), sitting and gesturing, standing up."""
    start = {"pelvis_yaw": float(generator.uniform(0, 360))} | stance(generator) | arms("down", generator)
    thigh_deg, shank_deg = float(generator.uniform(78, 98)), float(generator.uniform(-12, 8))
    down = seated(thigh_deg, shank_deg, 4.0) | arms("knees", generator)
    on_the_way = seated(0.62 * thigh_deg, 14.0, 42.0) | both_sides(
        {"shoulder_plane": 80.0, "shoulder_elevation": 35.0, "elbow_flexion": 25.0}
    )
    seated_first = generator.random() < 0.4
    timeline = Timeline(start | down if seated_first else start).hold(generator.uniform(0.3, 1.0))
    if not seated_first:
        timeline.move(0.75, on_the_way).move(0.7, down)
    while timeline.now_s < times_s[-1] - 2.4:
        posture = seated(thigh_deg, shank_deg, float(generator.uniform(-12, 22))) | look(generator)
        posture |= {"thoracic_rotation": float(generator.uniform(-30, 30))}
        if generator.random() < 0.3:
            side = SIDES[int(generator.integers(2))]
            posture |= one_side(
                side, {"knee_flexion": float(generator.uniform(40, 75)), "ankle_dorsiflexion": -10.0}
            )
        posture |= random_arms(generator) if generator.random() < 0.6 else arms("knees", generator)
        timeline.move(generator.uniform(0.6, 1.2), posture).hold(generator.uniform(0.2, 1.0))
    timeline.move(0.6, down).move(0.6, on_the_way).move(0.7, upright() | arms("down", generator))
    return from_timeline(timeline, times_s, generator)


def kneel(body: Body, times_s: np.ndarray, generator: np.random.Generator) -> Performance:
    """Down on one knee, doing something with the arms, perhaps on both knees, up again."""
    start = {"pelvis_yaw": float(generator.uniform(0, 360))} | stance(generator) | arms("down", generator)
    front, rear = ("left", "right") if generator.random() < 0.5 else ("right", "left")
    lean_deg = float(generator.uniform(-2, 14))
    one_knee = trunk_lean(lean_deg) | arms("knees", generator)
    one_knee |= leg(
        front, float(generator.uniform(-4, 8)), float(generator.uniform(80, 92)), one_knee["pelvis_pitch"]
    )
    one_knee |= _kneeling_leg(rear, one_knee["pelvis_pitch"])
    halfway = trunk_lean(18.0)
    halfway |= leg(front, 14.0, 52.0, halfway["pelvis_pitch"])
    halfway |= one_side(
        rear,
        {"hip_flexion": halfway["pelvis_pitch"] - 12.0, "knee_flexion": 55.0, "ankle_dorsiflexion": 20.0},
    )
    both_knees = trunk_lean(lean_deg)
    for side in SIDES:
        both_knees |= _kneeling_leg(side, both_knees["pelvis_pitch"])
    timeline = Timeline(start).hold(0.4).move(0.7, halfway).move(0.6, one_knee)
    while timeline.now_s < times_s[-1] - generator.uniform(1.8, 4.5):
        timeline.move(generator.uniform(0.6, 1.1), random_arms(generator) | look(generator)).hold(
            generator.uniform(0.1, 0.7)
        )
    if generator.random() < 0.4:
        timeline.move(0.8, both_knees | random_arms(generator)).hold(0.8).move(0.8, one_knee)
    timeline.move(0.7, halfway).move(0.7, upright() | arms("down", generator))
    return from_timeline(timeline, times_s, generator)


def _kneeling_leg(side: str, pelvis_pitch_deg: float) -> dict[str, float]:
    """A thigh about upright, the shank on the floor behind it, the foot stretched."""
    return one_side(
        side, {"hip_flexion": pelvis_pitch_deg + 2.0, "knee_flexion": 88.0, "ankle_dorsiflexion": -35.0}
    )


def lie_down(body: Body, times_s: np.ndarray, generator: np.random.Generator) -> Performance:
    """Down over a crouch to sitting on the floor and lying on the back; moving there; up the same way."""
    facing = {"pelvis_yaw": float(generator.uniform(0, 360))}
    low = crouch(body, 118.0) | both_sides(
        {"shoulder_plane": -60.0, "shoulder_elevation": 40.0, "elbow_flexion": 15.0}
    )
    on_floor = _floor_sitting(float(generator.uniform(-20, -5)), float(generator.uniform(45, 70)))
    lying = _supine(float(generator.uniform(5, 45)))
    first = generator.random()
    timeline = Timeline(facing | stance(generator) | arms("down", generator))
    if first < 0.35:
        timeline = Timeline(facing | stance(generator) | lying)
    elif first < 0.6:
        timeline = Timeline(facing | stance(generator) | on_floor)
    else:
        timeline.hold(0.3).move(1.0, low).move(0.7, on_floor)
    while timeline.now_s < times_s[-1] - 4.0:
        if generator.random() < 0.5:
            timeline.move(0.8, on_floor | random_arms(generator) | look(generator)).hold(0.4)
        timeline.move(1.2, lying).hold(0.2)
        for _ in range(int(generator.integers(1, 4))):
            timeline.move(
                generator.uniform(0.8, 1.3), _supine(float(generator.uniform(0, 60)), generator)
            ).hold(0.2)
    timeline.move(1.1, on_floor).move(0.9, low).move(0.9, upright() | arms("down", generator))
    return from_timeline(timeline, times_s, generator)


def _floor_sitting(lean_deg: float, thigh_deg: float) -> dict[str, float]:
    """On the floor, knees drawn up, leaning back on the hands."""
    posture = {"pelvis_pitch": lean_deg - 12.0, "lumbar_flexion": 12.0, "thoracic_flexion": 10.0}
    posture |= both_sides(
        {
            "hip_flexion": 90.0 + 0.5 * thigh_deg + posture["pelvis_pitch"],
            "knee_flexion": 1.35 * thigh_deg,
            "ankle_dorsiflexion": 0.0,
            "shoulder_plane": -70.0,
            "shoulder_elevation": 42.0,
            "elbow_flexion": 14.0,
            "shoulder_rotation": -10.0,
        }
    )
    return posture


def _supine(knees_up_deg: float, generator: np.random.Generator | None = None) -> dict[str, float]:
    """On the back: the pelvis pitched back by a right angle, knees drawn up or not, arms beside the body."""
    posture: dict[str, float] = {
        "pelvis_pitch": -88.0,
        "lumbar_flexion": 0.0,
        "thoracic_flexion": 2.0,
        "cervical_flexion": 18.0,
    }
    posture |= both_sides(
        {
            "shoulder_plane": 5.0,
            "shoulder_elevation": 25.0,
            "elbow_flexion": 15.0,
            "shoulder_rotation": 0.0,
            "shoulder_swing": 0.0,
        }
    )
    for side in SIDES:
        up_deg = knees_up_deg if generator is None else float(generator.uniform(0, 1)) * knees_up_deg
        posture |= one_side(
            side, {"hip_flexion": up_deg, "knee_flexion": 2.05 * up_deg + 2.0, "ankle_dorsiflexion": -10.0}
        )
        if generator is not None:
            posture |= one_side(
                side,
                {
                    "shoulder_plane": float(generator.uniform(0, 80)),
                    "shoulder_elevation": float(generator.uniform(15, 150)),
                },
            )
    return posture
