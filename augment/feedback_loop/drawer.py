"""Pairs drawn from the wide base: the tensors of source poses in, candidates with their 2D and validity out."""

from dataclasses import dataclass, replace

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
from augment.windows import POSE, Motion, WindowShape
from poses.cameras import project_screen
from poses.kinematics import bone_lengths_m
from poses.randomness import RowRandom
from poses.skeleton import Skeleton

PURPOSE = "feedback_loop"


@dataclass(frozen=True)
class SourceRows:
    """Rows of the source that poses are drawn from: B poses, or the B = W·T frames of W windows.

    Attributes:
        row_id: (W,) the ids of the poses, or of those that the windows are cut around; draws depend on them.
        joints_camera_m: (B, J, 3).
        up_camera: (B, 3) which way is up, in camera axes.
        intrinsics_screen: (B, 9) the source's own camera.
        shape: Of the windows. All frames of one are seen by the camera of its output frame.
    """

    row_id: Int[np.ndarray, " W"]
    joints_camera_m: Float[Tensor, "B J 3"]
    up_camera: Float[Tensor, "B 3"]
    intrinsics_screen: Float[Tensor, "B 9"]
    shape: WindowShape = POSE


@dataclass(frozen=True)
class Candidates:
    """Drawn pairs, whether they are valid, and why not.

    Attributes:
        drawn: Of B rows: W poses, or the frames of W windows.
        keypoints_screen: (B, J, 2).
        keep: (W,) True where all frames are before the camera and inside the image on all four sides.
        failed: By reason, (W,) the poses or windows that fail for it.
        shape: Of the windows.
    """

    drawn: DrawnPoses
    keypoints_screen: Float[Tensor, "B J 2"]
    keep: Bool[Tensor, " W"]
    failed: dict[str, Tensor]
    shape: WindowShape = POSE

    @property
    def windows_screen(self) -> Float[Tensor, "W ... J 2"]:
        """What a lifter sees: (W, J, 2) poses or (W, T, J, 2) windows."""
        return self.shape.windows(self.keypoints_screen)

    def output(self, values: Tensor) -> Tensor:
        """(B, ...) -> (W, ...) of the frame that is estimated."""
        return self.shape.output_frames(values)


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
        """One candidate per source row or window; depends on (seed, row id, copy) and the odds only."""
        shape = rows.shape
        draws = RowDraws(RowRandom(self._seed, PURPOSE, rows.row_id, copy), shape)
        rows = _before_one_camera(rows)
        root = self._skeleton.root_index
        joints_root_m = rows.joints_camera_m - rows.joints_camera_m[:, root : root + 1]
        upright = upright_from_camera(rows.up_camera)
        joints_world_m = rotate(upright.unsqueeze(1), joints_root_m)
        turned = draws.chance("mirror", 0.5)[:, None, None]
        joints_world_m = torch.where(turned, mirrored(joints_world_m, self._skeleton), joints_world_m)
        views = SourceViews(upright.transpose(1, 2), rows.joints_camera_m[:, root], rows.intrinsics_screen)
        motion = None
        if shape.temporal:
            motion = self._motion(rows, joints_world_m, upright, turned)
            views = replace(views, root_camera_m=views.root_camera_m[motion.anchor])
        source = to_local(joints_world_m, self._plan)
        drawn = draw_base(source, views, self._library, draws, odds, self._settings, self._plan, motion)
        return judge(drawn, self._settings, shape)

    def _motion(self, rows: SourceRows, joints_world_m: Tensor, upright: Tensor, turned: Tensor) -> Motion:
        """The windows' motion in their worlds, mirrored where the poses are."""
        placed_m = rotate(upright.unsqueeze(1), rows.joints_camera_m)
        lengths_m = bone_lengths_m(joints_world_m, self._skeleton)
        motion = Motion.of(placed_m, self._skeleton.root_index, lengths_m, rows.shape)
        path_m = torch.where(turned[:, 0], motion.path_m * torch.tensor([-1.0, 1.0, 1.0]), motion.path_m)
        return replace(motion, path_m=path_m)


def _before_one_camera(rows: SourceRows) -> SourceRows:
    """Windows as the camera of their output frame would have seen them."""
    if not rows.shape.temporal:
        return rows
    anchor = rows.shape.anchors(len(rows.joints_camera_m))
    return replace(rows, up_camera=rows.up_camera[anchor], intrinsics_screen=rows.intrinsics_screen[anchor])


def judge(drawn: DrawnPoses, settings: WideBaseSettings, shape: WindowShape = POSE) -> Candidates:
    """Project drawn poses and test them: finite, before the camera, inside the image; windows in all frames."""
    joints_camera_m = drawn.joints_camera_m
    keypoints_screen = project_screen(joints_camera_m, drawn.intrinsics_screen, clamp=False)
    finite = torch.isfinite(keypoints_screen).flatten(1).all(1)
    before = (joints_camera_m[..., 2] > settings.min_depth_m).all(1)
    inside = (keypoints_screen.abs() <= settings.max_abs_screen).flatten(1).all(1)
    failed = {"behind_camera": ~before, "outside_image": ~inside, "not_finite": ~finite}
    failed = {reason: shape.any_frame(flags) for reason, flags in failed.items()}
    bad = ~(finite & before & inside)
    return Candidates(drawn, keypoints_screen, ~shape.any_frame(bad), failed, shape)


def as_candidates(rows: SourceRows, skeleton: Skeleton, settings: WideBaseSettings) -> Candidates:
    """The source poses themselves as candidates, as their own cameras see them (ablation: no wide base)."""
    shape, rows = rows.shape, _before_one_camera(rows)
    root_camera_m = rows.joints_camera_m[:, skeleton.root_index]
    nothing = torch.zeros(len(root_camera_m), dtype=torch.int64)
    own = torch.ones(len(root_camera_m), dtype=torch.bool)
    bins = dict.fromkeys(FactorOdds.even(settings).odds, nothing)
    joints_root_m = rows.joints_camera_m - root_camera_m.unsqueeze(1)
    return judge(
        DrawnPoses(joints_root_m, root_camera_m, rows.intrinsics_screen, rows.up_camera, own, own, bins),
        settings,
        shape,
    )
