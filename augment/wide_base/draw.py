"""The base draw: articulation, body size, orientation, view and placement of every row, by its id and copy alone."""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from augment.wide_base.articulation import articulate
from augment.wide_base.body_plan import BodyPlan
from augment.wide_base.factors import FactorBins, FactorOdds
from augment.wide_base.library import PoseLibrary
from augment.wide_base.local_pose import (
    LocalPoses,
    axis_rotation,
    compose,
    rotate,
    rotation_from_vector,
    to_world,
)
from augment.wide_base.row_draws import RowDraws
from augment.wide_base.settings import WideBaseSettings
from augment.windows import Motion

LENGTH_SCORES = 2.0
"""Body sizes are cut so many standard deviations from their medians: beyond it nobody is built like that."""


@dataclass(frozen=True)
class SourceViews:
    """How the source poses are seen: (B, 3, 3), (B, 3) and (B, 9)."""

    camera_from_upright: Float[Tensor, "B 3 3"]
    root_camera_m: Float[Tensor, "B 3"]
    intrinsics_screen: Float[Tensor, "B 9"]


@dataclass(frozen=True)
class DrawnPoses:
    """B drawn poses in the world and how they are seen.

    Attributes:
        joints_root_m: (B, J, 3) camera axes, root at the origin.
        root_camera_m: (B, 3) where the root stands.
        intrinsics_screen: (B, 9) screen-normalised pinhole camera without distortion.
        up_camera: (B, 3) the world's up in camera axes.
        source_view: (B,) True where the source's own camera sees the pose.
        natural: (B,) True for ordinary poses: near their source, upright.
        bins: (B,) index of the bin that each factor was drawn from, by the factor's name.
    """

    joints_root_m: Float[Tensor, "B J 3"]
    root_camera_m: Float[Tensor, "B 3"]
    intrinsics_screen: Float[Tensor, "B 9"]
    up_camera: Float[Tensor, "B 3"]
    source_view: Bool[Tensor, " B"]
    natural: Bool[Tensor, " B"]
    bins: dict[str, Int[Tensor, " B"]]

    @property
    def joints_camera_m(self) -> Float[Tensor, "B J 3"]:
        """The joints where they stand before the camera."""
        return self.joints_root_m + self.root_camera_m.unsqueeze(1)


@dataclass(frozen=True)
class _Placed:
    """Poses before their drawn cameras, and where these look: (B, 3, 3)."""

    poses: DrawnPoses
    camera_from_world: Float[Tensor, "B 3 3"]


def draw_base(
    source: LocalPoses,
    views: SourceViews,
    library: PoseLibrary,
    draws: RowDraws,
    odds: FactorOdds,
    settings: WideBaseSettings,
    plan: BodyPlan,
    motion: Motion | None = None,
) -> DrawnPoses:
    """Draw one new pose per source pose.

    Frames of a window get the same draws: the motion goes on as it was recorded, by another body, turned and bent by
    the same rotations in all frames, seen from one place. Limbs that are taken from elsewhere go on moving, too; see
    `articulate`. The person goes where the recording goes, turned like the body, with steps that grow with it.

    Args:
        source: (B) local poses to start from, already mirrored where they shall be.
        views: How they are seen; a share of the new poses is seen so too.
        library: Poses and bone lengths of the source dataset.
        draws: The rows' random numbers.
        odds: Probabilities of the bins of tilt, articulation, focal length and scale; the feedback moves them.
        motion: Of windows, in the sources' world axes, mirrored where they are; None for poses on their own.
    """
    on_frames, once = draws.shape.on_frames, draws.once
    natural = once.chance("natural", settings.natural_share)
    bins = FactorBins(odds, settings, natural)
    level = bins.articulation_level(once)
    local = articulate(source, library.poses, draws, settings, plan, level)
    yaw, turn = _draw_turns(once, settings, bins.tilt(once))
    oriented = compose(on_frames(yaw), compose(on_frames(turn), local.world_from_pelvis))
    lengths_m = _draw_lengths_m(library, once, settings, plan)
    joints_world_m = to_world(
        LocalPoses(oriented, local.pelvis_from_chest, local.directions), on_frames(lengths_m), plan
    )
    share = torch.where(natural, settings.natural_source_view_share, settings.source_view_share)
    own_view = on_frames(once.chance("view.source", share))
    focal_screen, scale = bins.focal_screen(once), bins.scale(once)
    placed = _place(joints_world_m, draws, focal_screen, scale, settings, natural, bins.chosen)
    if motion is None:
        return _seen_by_source(placed.poses, joints_world_m, views, own_view)
    growth = on_frames(lengths_m.sum(1)) / motion.size_m
    path_m = rotate(on_frames(compose(yaw, turn)), motion.path_m * growth.unsqueeze(-1))
    poses, views = _on_the_move(placed, views, path_m)
    return _seen_by_source(poses, joints_world_m, views, own_view)


def _on_the_move(placed: "_Placed", views: SourceViews, path_m: Tensor) -> tuple[DrawnPoses, SourceViews]:
    """Poses that do not stay where they were placed, whoever sees them; `path_m` is the root's, in the world."""
    root_camera_m = placed.poses.root_camera_m + rotate(placed.camera_from_world, path_m)
    source_root_m = views.root_camera_m + rotate(views.camera_from_upright, path_m)
    return replace(placed.poses, root_camera_m=root_camera_m), replace(views, root_camera_m=source_root_m)


def _seen_by_source(
    drawn: DrawnPoses, joints_world_m: Tensor, views: SourceViews, chosen: Tensor
) -> DrawnPoses:
    """The chosen rows as their source's camera sees them, where the source stood."""
    one, two = chosen.unsqueeze(-1), chosen[:, None, None]
    seen = rotate(views.camera_from_upright.unsqueeze(1), joints_world_m)
    return DrawnPoses(
        torch.where(two, seen, drawn.joints_root_m),
        torch.where(one, views.root_camera_m, drawn.root_camera_m),
        torch.where(one, views.intrinsics_screen, drawn.intrinsics_screen),
        torch.where(one, views.camera_from_upright[:, :, 1], drawn.up_camera),
        chosen,
        drawn.natural,
        drawn.bins,
    )


def _draw_lengths_m(
    library: PoseLibrary, draws: RowDraws, settings: WideBaseSettings, plan: BodyPlan
) -> Tensor:
    """(B, K) bone lengths: one of the source's people, scaled whole and group by group, left and right tied.

    Every scale has a mean of 1: a log-normal's own mean is above it, and an estimator that is trained on bodies that
    are larger on average sees everybody larger.
    """
    lengths_m = library.bone_lengths_m[draws.index("lengths.person", len(library.bone_lengths_m))]
    groups = list(plan.skeleton.bone_length_groups)
    sigma = torch.tensor([settings.length_group_sigma.get(group, 0.0) for group in groups])
    per_group = _scale_of_mean_one(draws.normal("lengths.group", len(groups)), sigma)
    whole = _scale_of_mean_one(draws.normal("lengths.whole"), torch.tensor(settings.body_scale_sigma))
    return lengths_m * whole * per_group[:, torch.as_tensor(plan.skeleton.bone_group_index)]


def _scale_of_mean_one(scores: Tensor, sigma: Tensor) -> Tensor:
    """Log-normal scales from standard normal scores, which are cut at human sizes."""
    return torch.exp(scores.clamp(-LENGTH_SCORES, LENGTH_SCORES) * sigma - 0.5 * sigma**2)


def _draw_turns(
    draws: RowDraws, settings: WideBaseSettings, component: Tensor
) -> tuple[Float[Tensor, "B 3 3"], Float[Tensor, "B 3 3"]]:
    """Turns of whole bodies: any yaw, after a tilt by the mixture component of each row."""
    sigma = torch.tensor([math.radians(c.sigma_deg) for c in settings.tilt])[component]
    tumbling = torch.tensor([c.any_orientation for c in settings.tilt])[component]
    heading = draws.uniform("tilt.heading", 1, 0.0, 2 * math.pi)[:, 0]
    axis = torch.stack([torch.cos(heading), torch.zeros_like(heading), torch.sin(heading)], -1)
    turn = rotation_from_vector(axis * (draws.normal("tilt.angle")[:, 0] * sigma).unsqueeze(-1))
    turn = torch.where(tumbling[:, None, None], _any_rotation(draws.normal("tilt.any", 4)), turn)
    yaw = axis_rotation(1, draws.uniform("yaw", 1, 0.0, 2 * math.pi)[:, 0])
    return yaw, turn


def _any_rotation(quaternion: Tensor) -> Tensor:
    """Even over all rotations, from four normals."""
    w, x, y, z = (quaternion / quaternion.norm(dim=-1, keepdim=True).clamp_min(1e-8)).unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


def _place(
    joints_world_m: Tensor,
    draws: RowDraws,
    focal_screen: Tensor,
    scale: Tensor,
    settings: WideBaseSettings,
    natural: Tensor,
    bins: dict[str, Tensor],
) -> "_Placed":
    """See the poses from a drawn view, the root put where its projection has the drawn place and scale."""
    on_frames, draws = draws.shape.on_frames, draws.once
    pitch = math.radians(1.0) * (
        settings.camera_pitch_mean_deg + settings.camera_pitch_sigma_deg * draws.normal("view.pitch")[:, 0]
    )
    roll = math.radians(settings.camera_roll_sigma_deg) * draws.normal("view.roll")[:, 0]
    level = torch.tensor([[1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, -1.0]]).expand(len(pitch), 3, 3)
    camera_from_world = compose(axis_rotation(2, roll), compose(axis_rotation(0, pitch), level))
    camera_of_frames = on_frames(camera_from_world)
    joints_root_m = rotate(camera_of_frames.unsqueeze(1), joints_world_m)
    depth_m = focal_screen / scale
    centre = draws.normal("view.centre", 2) * settings.centre_sigma
    position = draws.normal("place.position", 2) * settings.position_sigma
    across_m = (position - centre) * (depth_m / focal_screen).unsqueeze(-1)
    root_camera_m = torch.cat([across_m, depth_m.unsqueeze(-1)], -1)
    focal = focal_screen.unsqueeze(-1).expand(-1, 2)
    intrinsics = torch.cat([focal, centre, torch.zeros(len(pitch), 5)], -1)
    poses = DrawnPoses(
        joints_root_m,
        on_frames(root_camera_m),
        on_frames(intrinsics),
        camera_of_frames[:, :, 1],
        torch.zeros(len(joints_root_m), dtype=torch.bool),
        on_frames(natural),
        {name: on_frames(chosen) for name, chosen in bins.items()},
    )
    return _Placed(poses, camera_of_frames)
