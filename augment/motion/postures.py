"""Postures as building blocks: stances with flat feet, and the arm postures of `arm_postures.yaml`.

Legs are laid out by the inclination of shank, thigh and trunk against the vertical, from which the joint
angles follow: so a foot stays flat whatever the leg does, and the trunk's lean can be solved for balance.
"""

from functools import cache
from pathlib import Path

import numpy as np
import yaml

from augment.motion.anthropometry import Body
from augment.motion.channels import SIDES, channel_table
from augment.motion.performance import both_sides, one_side

Posture = dict[str, float]


def leg(side: str, shank_deg: float, thigh_deg: float, pelvis_pitch_deg: float) -> Posture:
    """One leg with a flat foot.

    Args:
        side: "left" or "right".
        shank_deg: Inclination of the shank, positive when the knee is before the ankle.
        thigh_deg: Inclination of the thigh, positive when the knee is before the hip.
        pelvis_pitch_deg: Forward pitch of the pelvis.
    """
    return one_side(
        side,
        {
            "hip_flexion": thigh_deg + pelvis_pitch_deg,
            "knee_flexion": max(thigh_deg + shank_deg, 0.0),
            "ankle_dorsiflexion": shank_deg,
        },
    )


def trunk_lean(lean_deg: float, pelvis_share: float = 0.6) -> Posture:
    """The trunk leaning forward: pelvis and spine share it."""
    rest = (1.0 - pelvis_share) * lean_deg
    return {
        "pelvis_pitch": pelvis_share * lean_deg,
        "lumbar_flexion": 0.6 * rest,
        "thoracic_flexion": 2 + 0.4 * rest,
    }


def crouch(body: Body, knee_deg: float) -> Posture:
    """A squat to a knee flexion, feet flat, the trunk leaning so that the body's mass stays over them."""
    shank_deg = min(0.32 * knee_deg, 34.0)
    thigh_deg = knee_deg - shank_deg
    size = body.lengths_m
    hip_behind_m = size["thigh"] * np.sin(np.deg2rad(thigh_deg)) - size["shank"] * np.sin(
        np.deg2rad(shank_deg)
    )
    arm_lever_m = 0.30 * (size["spine"] + size["chest"]) / 0.45
    lean_deg = float(
        np.rad2deg(np.arcsin(np.clip((hip_behind_m + 0.03 - 0.02) / (2.2 * arm_lever_m), 0.0, 0.85)))
    )
    posture = trunk_lean(lean_deg, 0.55)
    for side in SIDES:
        posture |= leg(side, shank_deg, thigh_deg, posture["pelvis_pitch"])
        posture[f"{side}_hip_abduction"] = 4.0 + 0.08 * knee_deg
    return posture


def seated(thigh_deg: float, shank_deg: float, lean_deg: float) -> Posture:
    """Sitting on a chair: the feet flat, the trunk leaning by `lean_deg` (negative: leaning back)."""
    posture = trunk_lean(lean_deg, 0.7)
    for side in SIDES:
        posture |= leg(side, shank_deg, thigh_deg, posture["pelvis_pitch"])
    return posture


def stance(generator: np.random.Generator) -> Posture:
    """Standing with the feet at some width and turn, the knees straight or a little bent."""
    width_deg, turn_deg = float(generator.uniform(-1, 9)), float(generator.uniform(-16, 2))
    posture = both_sides({"hip_abduction": width_deg, "hip_rotation": turn_deg})
    for side in SIDES:
        knee_deg = float(generator.uniform(2, 24))
        posture |= leg(side, 0.45 * knee_deg, 0.55 * knee_deg, 0.0)
    return posture


def upright() -> Posture:
    """The rest posture of the legs and trunk (the arms stay where they are)."""
    table = channel_table()
    return {
        name: float(value)
        for name, value in zip(table.names, table.rest_deg, strict=True)
        if name != "pelvis_yaw"
        and not any(part in name for part in ("shoulder", "elbow", "girdle", "abduction"))
    }


@cache
def _arm_postures() -> dict[str, dict]:
    return yaml.safe_load((Path(__file__).parent / "arm_postures.yaml").read_text(encoding="utf-8"))


def arm_posture_names() -> tuple[str, ...]:
    """Names of the arm postures."""
    return tuple(_arm_postures())


def arm(side: str, name: str, generator: np.random.Generator) -> Posture:
    """One arm in a named posture, drawn within its ranges."""
    ranges = {key: limits for key, limits in _arm_postures()[name].items() if key != "both"}
    raised = max(0.0, float(np.mean(ranges["shoulder_elevation"])) - 60.0)
    posture = {key: float(generator.uniform(*limits)) for key, limits in ranges.items()}
    posture |= {"girdle_elevation": 0.2 * raised, "girdle_protraction": 0.0, "shoulder_swing": 0.0}
    return one_side(side, posture)


def arms(name: str, generator: np.random.Generator) -> Posture:
    """Both arms in a named posture, nearly but not exactly alike."""
    return arm("left", name, generator) | arm("right", name, generator)


def random_arms(generator: np.random.Generator) -> Posture:
    """Both arms in some posture of the table: a two-armed one, or one arm busy and the other hanging."""
    name = str(generator.choice(list(_arm_postures())))
    if _arm_postures()[name].get("both", False):
        return arms(name, generator)
    busy = SIDES[int(generator.integers(2))]
    idle = SIDES[1 - SIDES.index(busy)]
    return arm(busy, name, generator) | arm(idle, "down", generator)


def look(generator: np.random.Generator, reach_deg: float = 45.0) -> Posture:
    """The head turned somewhere."""
    turn_deg = float(generator.uniform(-reach_deg, reach_deg))
    nod_deg = float(generator.uniform(-15, 20))
    return {
        "cervical_rotation": 0.5 * turn_deg,
        "head_rotation": 0.5 * turn_deg,
        "cervical_flexion": 2.0 + 0.6 * nod_deg,
        "head_flexion": 0.4 * nod_deg,
    }
