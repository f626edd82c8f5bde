"""Pairs drawn from the wide base: the tensors of source poses in, candidates with their 2D and validity out."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from augment.wide_base.body_plan import body_plan
from augment.wide_base.draw import DrawnPoses, SourceViews, draw_base
from augment.wide_base.factors import FactorOdds
from augment.wide_base.library import PoseLibrary, mirrored, upright_from_camera
from augment.wide_base.local_pose import rotate, to_local
from augment.wide_base.row_draws import RowDraws
from augment.wide_base.settings import WideBaseSettings
from poses.cameras import project_screen
from poses.randomness import RowRandom
from poses.skeleton import Skeleton

PURPOSE = "feedback_loop"


@dataclass(frozen=True)
class SourceRows:
    """Rows of the source that poses are drawn from.

    Attributes:
        row_id: (B,) the source rows' ids.
        joints_camera_m: (B, J, 3).
        up_camera: (B, 3) which way is up, in camera axes.
        intrinsics_screen: (B, 9) the source's own camera.
    """

    row_id: Int[np.ndarray, " B"]
    joints_camera_m: Float[Tensor, "B J 3"]
    up_camera: Float[Tensor, "B 3"]
    intrinsics_screen: Float[Tensor, "B 9"]


@dataclass(frozen=True)
class Candidates:
    """Drawn pairs, whether they are valid, and why not.

    Attributes:
        keypoints_screen: (B, J, 2).
        keep: (B,) True where the pose is before the camera and inside the image on all four sides.
        failed: By reason, the rows that fail for it.
    """

    drawn: DrawnPoses
    keypoints_screen: Float[Tensor, "B J 2"]
    keep: Bool[Tensor, " B"]
    failed: dict[str, Tensor]


class BaseDrawer:
    """Draws candidates for one skeleton and library."""

    def __init__(
        self, settings: WideBaseSettings, skeleton: Skeleton, library: PoseLibrary, seed: int
    ) -> None:
        self._settings = settings
        self._skeleton = skeleton
        self._plan = body_plan(skeleton)
        self._library = library
        self._seed = seed

    def draw(self, rows: SourceRows, copy: int | np.ndarray, odds: FactorOdds) -> Candidates:
        """One candidate per source row; depends on (seed, row id, copy) and the odds only."""
        draws = RowDraws(RowRandom(self._seed, PURPOSE, rows.row_id, copy))
        root = self._skeleton.root_index
        joints_root_m = rows.joints_camera_m - rows.joints_camera_m[:, root : root + 1]
        upright = upright_from_camera(rows.up_camera)
        joints_world_m = rotate(upright.unsqueeze(1), joints_root_m)
        turned = draws.chance("mirror", 0.5)[:, None, None]
        joints_world_m = torch.where(turned, mirrored(joints_world_m, self._skeleton), joints_world_m)
        views = SourceViews(upright.transpose(1, 2), rows.joints_camera_m[:, root], rows.intrinsics_screen)
        source = to_local(joints_world_m, self._plan)
        drawn = draw_base(source, views, self._library, draws, odds, self._settings, self._plan)
        return judge(drawn, self._settings)


def judge(drawn: DrawnPoses, settings: WideBaseSettings) -> Candidates:
    """Project drawn poses and test them: finite, before the camera, inside the image."""
    joints_camera_m = drawn.joints_camera_m
    keypoints_screen = project_screen(joints_camera_m, drawn.intrinsics_screen, clamp=False)
    finite = torch.isfinite(keypoints_screen).flatten(1).all(1)
    before = (joints_camera_m[..., 2] > settings.min_depth_m).all(1)
    inside = (keypoints_screen.abs() <= settings.max_abs_screen).flatten(1).all(1)
    failed = {"behind_camera": ~before, "outside_image": ~inside, "not_finite": ~finite}
    return Candidates(drawn, keypoints_screen, finite & before & inside, failed)


def as_candidates(rows: SourceRows, skeleton: Skeleton, settings: WideBaseSettings) -> Candidates:
    """The source poses themselves as candidates, as their own cameras see them (ablation: no wide base)."""
    root_camera_m = rows.joints_camera_m[:, skeleton.root_index]
    nothing = torch.zeros(len(rows.row_id), dtype=torch.int64)
    own = torch.ones(len(rows.row_id), dtype=torch.bool)
    bins = dict.fromkeys(FactorOdds.even(settings).odds, nothing)
    joints_root_m = rows.joints_camera_m - root_camera_m.unsqueeze(1)
    return judge(
        DrawnPoses(joints_root_m, root_camera_m, rows.intrinsics_screen, rows.up_camera, own, own, bins),
        settings,
    )
