"""New limbs for a pose: from other poses, from the normal ranges of motion, and by turning joints in their sockets."""

import math
from dataclasses import replace

import torch
from torch import Tensor

from augment.wide_base.body_plan import BodyPlan, Limb
from augment.wide_base.exchange import Exchange, anatomical_axis
from augment.wide_base.local_pose import (
    LocalPoses,
    axis_rotation,
    compose,
    rotate,
    rotation_from_vector,
    unit,
)
from augment.wide_base.row_draws import RowDraws
from augment.wide_base.settings import WideBaseSettings
from augment.windows import WindowShape

_DOWN = (0.0, -1.0, 0.0)
_MEAN_LEVEL_INVERSE = 2.0
"""Levels are even from 0 to 1: a share times twice the level has the share as its mean."""


def articulate(
    source: LocalPoses,
    library: LocalPoses,
    draws: RowDraws,
    settings: WideBaseSettings,
    plan: BodyPlan,
    level: Tensor,
) -> LocalPoses:
    """New articulation of every source pose; orientation in the world is left alone.

    Frames of a window keep moving: what comes from another pose or from the ranges of motion is what the limb is in the
    output frame, and the other frames stand to it as they stood to the recorded one (`exchange.py`).

    Args:
        source: (B) the poses to start from.
        library: (M) poses whose limbs may be taken.
        draws: Their random numbers; they know the windows.
        level: (W,) how far each pose or window is bent, 0 to 1: scales joint rotations and the chances of other limbs.
    """
    pelvis_from_chest, directions = source.pelvis_from_chest, source.directions.clone()
    exchange = Exchange(draws.shape, math.radians(settings.max_flexion_deg))
    on_frames, draws = draws.shape.on_frames, draws.once
    pelvis_from_chest = _cross_over(
        pelvis_from_chest, directions, library, draws, settings, plan, level, exchange
    )
    _draw_range_of_motion(directions, draws, settings, plan, level, exchange)
    sigma_rad = math.radians(settings.articulation_max_deg) * level
    sigma = sigma_rad.unsqueeze(-1)
    chest_turn = rotation_from_vector(draws.normal("chest", 3) * sigma * settings.chest_ratio)
    pelvis_from_chest = compose(pelvis_from_chest, on_frames(chest_turn))
    head_turn = rotation_from_vector(draws.normal("head", 3) * sigma * settings.head_ratio)
    directions[:, plan.head] = rotate(on_frames(head_turn), directions[:, plan.head])
    for limb in plan.limbs:
        _turn_limb(directions, limb, draws, sigma_rad, exchange)
    _vary_rig(directions, draws, settings, plan, exchange.shape)
    return LocalPoses(source.world_from_pelvis, pelvis_from_chest, unit(directions))


def _cross_over(
    pelvis_from_chest: Tensor,
    directions: Tensor,
    library: LocalPoses,
    draws: RowDraws,
    settings: WideBaseSettings,
    plan: BodyPlan,
    level: Tensor,
    exchange: Exchange,
) -> Tensor:
    """Take the chest (with spine and head) and single limbs from library poses; changes `directions` in place."""
    share = _MEAN_LEVEL_INVERSE * settings.crossover_share * level
    taken = draws.chance("crossover.chest", share)
    donor = library.take(draws.index("crossover.chest.donor", len(library)))
    pelvis_from_chest = exchange.frames(taken, donor.pelvis_from_chest, pelvis_from_chest)
    directions[:, plan.axial] = exchange.bones(
        taken, donor.directions[:, plan.axial], directions[:, plan.axial]
    )
    for limb in plan.limbs:
        taken = draws.chance(f"crossover.{limb.name}", share)
        donated = library.directions[draws.index(f"crossover.{limb.name}.donor", len(library))]
        exchange.limb(directions, limb, taken, donated[:, limb.upper], donated[:, limb.lower])
    return pelvis_from_chest


def _draw_range_of_motion(
    directions: Tensor,
    draws: RowDraws,
    settings: WideBaseSettings,
    plan: BodyPlan,
    level: Tensor,
    exchange: Exchange,
) -> None:
    """Replace single limbs by draws from the normal ranges of motion, in place."""
    if settings.range_of_motion_share == 0.0:
        return
    share = _MEAN_LEVEL_INVERSE * settings.range_of_motion_share * level
    for limb in plan.limbs:
        taken = draws.chance(f"rom.{limb.name}", share)
        upper, lower = _arm_in_range(limb, draws) if limb.on_chest else _leg_in_range(limb, draws)
        exchange.limb(directions, limb, taken, upper, lower)


def _degrees(draws: RowDraws, name: str, low: float, high: float) -> Tensor:
    return draws.uniform(name, 1, math.radians(low), math.radians(high))[:, 0]


def _leg_in_range(limb: Limb, draws: RowDraws) -> tuple[Tensor, Tensor]:
    """Hip flexion -20..120, abduction -20..50, rotation +-40, knee 0..145 degrees (straight legs more often)."""
    name = f"rom.{limb.name}"
    flexion = _degrees(draws, f"{name}.flexion", -20.0, 120.0)
    abduction = _degrees(draws, f"{name}.abduction", -20.0, 50.0)
    twist = _degrees(draws, f"{name}.twist", -40.0, 40.0)
    knee = math.radians(145.0) * draws.uniform(f"{name}.knee")[:, 0] ** 1.5
    hip = compose(
        compose(axis_rotation(0, -flexion), axis_rotation(2, limb.side * abduction)), axis_rotation(1, twist)
    )
    down = torch.tensor(_DOWN).expand(len(flexion), 3)
    return rotate(hip, down), rotate(compose(hip, axis_rotation(0, knee)), down)


def _arm_in_range(limb: Limb, draws: RowDraws) -> tuple[Tensor, Tensor]:
    """Elevation 0..175 in planes from 45 degrees behind the body to 125 across it, twist +-90, elbow 0..145."""
    name = f"rom.{limb.name}"
    elevation = _degrees(draws, f"{name}.elevation", 0.0, 175.0)
    plane = _degrees(draws, f"{name}.plane", -45.0, 125.0)
    twist = _degrees(draws, f"{name}.twist", -90.0, 90.0)
    elbow = _degrees(draws, f"{name}.elbow", 0.0, 145.0)
    shoulder = compose(
        compose(axis_rotation(1, -limb.side * plane), axis_rotation(2, limb.side * elevation)),
        axis_rotation(1, twist),
    )
    down = torch.tensor(_DOWN).expand(len(elevation), 3)
    return rotate(shoulder, down), rotate(compose(shoulder, axis_rotation(0, -elbow)), down)


def _turn_limb(
    directions: Tensor, limb: Limb, draws: RowDraws, sigma_rad: Tensor, exchange: Exchange
) -> None:
    """Turn a limb in its socket and bend its hinge, in place; hinges neither overextend nor fold past the limit."""
    on_frames = exchange.shape.on_frames
    turn = on_frames(rotation_from_vector(draws.normal(f"turn.{limb.name}", 3) * sigma_rad.unsqueeze(-1)))
    upper, lower = rotate(turn, directions[:, limb.upper]), rotate(turn, directions[:, limb.lower])
    sideways = rotate(turn, anatomical_axis(limb).expand(len(upper), 3))
    bend_rad = on_frames(draws.normal(f"bend.{limb.name}", 2) * sigma_rad.unsqueeze(-1))
    hinge = exchange.hinge(upper, lower, sideways)
    twist = rotation_from_vector(upper * bend_rad[:, :1])
    directions[:, limb.upper] = upper
    directions[:, limb.lower] = exchange.bent(
        upper, replace(hinge, axis=rotate(twist, hinge.axis)), bend_rad[:, 1]
    )


def _vary_rig(
    directions: Tensor, draws: RowDraws, settings: WideBaseSettings, plan: BodyPlan, shape: WindowShape
) -> None:
    """Turn the structural bones a little, left and right alike, in place."""
    if settings.rig_sigma_deg == 0.0:
        return
    sigma = math.radians(settings.rig_sigma_deg)
    for name, (right, left) in (("hips", plan.hips), ("clavicles", plan.clavicles)):
        vector = draws.normal(f"rig.{name}", 3) * sigma
        mirrored = vector * torch.tensor([1.0, -1.0, -1.0])
        directions[:, right] = rotate(shape.on_frames(rotation_from_vector(vector)), directions[:, right])
        directions[:, left] = rotate(shape.on_frames(rotation_from_vector(mirrored)), directions[:, left])
    for bone in plan.axial:
        vector = draws.normal(f"rig.axial.{bone}", 3) * sigma * torch.tensor([1.0, 1.0, 0.3])
        directions[:, bone] = rotate(shape.on_frames(rotation_from_vector(vector)), directions[:, bone])
