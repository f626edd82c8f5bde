"""Global position alignment: put a pose where its projection fills a wanted box in the image.

Source: PoseDA (Chai et al., ICCV 2023), "global position alignment": draw a place and a box size from 2D
poses, and solve the root's depth and position so that the projected box matches. It needs no training, and is
the largest single gain listed for its domain. We solve for the box exactly (its centre and size, perspective
included) where PoseDA scales by the root's depth, and where no target 2D is at hand the boxes come from a
wide synthetic distribution (`BoxSettings`).

The solution is a Newton iteration per row on (x, y, depth): for a given depth the box's centre is piecewise
linear in x and y, and its size falls with depth. Everything is elementwise; a row that has converged is
frozen, so that the result does not depend on the rows around it.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from augment.contract import Augmented, before_one_camera, derived_pairs, split_by_reason, window_random
from augment.validity import BEHIND_CAMERA, NOT_FINITE, OUTSIDE_IMAGE, ValiditySettings, reasons_to_reject
from augment.windows import POSE, WindowShape
from poses.batch import PoseBatch
from poses.cameras import project_px, screen_intrinsics
from poses.randomness import RowRandom

PURPOSE = "placement"
NO_PLACE = "no_place_for_the_box"
_REASONS = (NOT_FINITE, NO_PLACE, BEHIND_CAMERA, OUTSIDE_IMAGE)
MAX_ITERATIONS = 15
BLOCK_ROWS = 2048


class BoxSettings(BaseModel):
    """A wide synthetic distribution of boxes; lengths in screen units (the image's width spans -1 to 1)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    smallest: float = Field(default=0.35, gt=0.0)
    largest: float = Field(default=1.8, gt=0.0)
    """The box's longer side, log-uniform between the two."""
    center_sigma: float = Field(default=0.35, ge=0.0)
    keep_inside: bool = True
    """Pull the centre so far in that a square box of that size lies inside the image."""


@dataclass(frozen=True)
class Placement:
    """Where B poses went: `root_camera_m` (B, 3), and whether the box was `reached` (B,) to tolerance."""

    root_camera_m: Float[Tensor, "B 3"]
    reached: Bool[Tensor, " B"]


def draw_boxes(
    randomness: RowRandom, image_aspect: Float[Tensor, " B"], settings: BoxSettings
) -> tuple[Float[Tensor, "B 2"], Float[Tensor, " B"]]:
    """Wanted boxes of B rows: centre (B, 2) and longer side (B,) on the screen.

    Args:
        randomness: Of the rows.
        image_aspect: Image height over width.
        settings: The distribution.
    """
    low, high = math.log(settings.smallest), math.log(settings.largest)
    uniform = torch.from_numpy(randomness.uniform(1, stream="box_size"))[:, 0]
    size = torch.exp(low + (high - low) * uniform)
    center = torch.from_numpy(randomness.normal(2, stream="box_center")) * settings.center_sigma
    half_image = torch.stack([torch.ones_like(image_aspect), image_aspect], dim=1)
    if settings.keep_inside:
        size = torch.minimum(size, 2 * half_image.amin(dim=1))
        room = (half_image - size.unsqueeze(1) / 2).clamp_min(0.0)
        center = torch.maximum(torch.minimum(center, room), -room)
    return center, size


def observed_boxes(
    keypoints_screen: Float[Tensor, "B J 2"],
) -> tuple[Float[Tensor, "B 2"], Float[Tensor, " B"]]:
    """Centre (B, 2) and longer side (B,) of the boxes around 2D poses: what a target domain's 2D offers."""
    low, high = keypoints_screen.amin(dim=1), keypoints_screen.amax(dim=1)
    return (low + high) / 2, (high - low).amax(dim=1)


def align_to_boxes(
    joints_root_m: Float[Tensor, "B J 3"],
    box_center_screen: Float[Tensor, "B 2"],
    box_size_screen: Float[Tensor, " B"],
    intrinsics_screen: Float[Tensor, "B 9"],
    tolerance: float = 1e-5,
    z_min_m: float = 0.3,
) -> Placement:
    """Solve the root's position so that the projected pose fills the box.

    Args:
        joints_root_m: Root-relative poses in camera axes.
        box_center_screen: Wanted centre of the box around the projected joints.
        box_size_screen: Wanted longer side of that box.
        intrinsics_screen: Focal lengths and principal point; lens distortion is left out of account.
        tolerance: Largest error of centre and size, screen units.
        z_min_m: Nearest that any joint may come to the camera; larger boxes are not reached.
    """
    roots, reached = [], []
    for start in range(0, len(joints_root_m), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        problem = _Boxes.of(
            joints_root_m[rows].double(),
            box_center_screen[rows].double(),
            box_size_screen[rows].double(),
            intrinsics_screen[rows].double(),
            z_min_m,
        )
        root, done = _solve(problem, tolerance)
        roots.append(root.to(joints_root_m.dtype))
        reached.append(done)
    if not roots:
        return Placement(joints_root_m.new_zeros(0, 3), torch.zeros(0, dtype=torch.bool))
    return Placement(torch.cat(roots), torch.cat(reached))


@dataclass(frozen=True)
class _Boxes:
    """The equations of a block of rows, rows last: x, y, z are (J, B), everything else (B,)."""

    x: Tensor
    y: Tensor
    z: Tensor
    focal: tuple[Tensor, Tensor]
    wanted: tuple[Tensor, Tensor, Tensor]
    """Centre x, centre y (both less the principal point, over the focal length) and size on the screen."""
    nearest: Tensor

    @staticmethod
    def of(joints: Tensor, center: Tensor, size: Tensor, intrinsics: Tensor, z_min_m: float) -> "_Boxes":
        x, y, z = joints.permute(2, 1, 0).contiguous()
        fx, fy, cx, cy = (intrinsics[:, column].contiguous() for column in range(4))
        wanted = ((center[:, 0] - cx) / fx, (center[:, 1] - cy) / fy, size)
        return _Boxes(x, y, z, (fx, fy), wanted, z_min_m - z.amin(dim=0))

    def start(self) -> tuple[Tensor, Tensor, Tensor]:
        """Depth as if the pose were flat, then the centre at that depth."""
        width = (self.x.amax(dim=0) - self.x.amin(dim=0)) * self.focal[0]
        height = (self.y.amax(dim=0) - self.y.amin(dim=0)) * self.focal[1]
        depth = torch.maximum(torch.maximum(width, height) / self.wanted[2], self.nearest)
        return self.wanted[0] * depth, self.wanted[1] * depth, depth


def _solve(boxes: _Boxes, tolerance: float) -> tuple[Tensor, Tensor]:
    tx, ty, tz = boxes.start()
    done = torch.zeros_like(tz, dtype=torch.bool)
    for _ in range(MAX_ITERATIONS):
        depth = boxes.z + tz
        across = _Span.of(boxes.x, tx, depth, boxes.wanted[0], boxes.focal[0])
        down = _Span.of(boxes.y, ty, depth, boxes.wanted[1], boxes.focal[1])
        is_wide = across.size >= down.size
        size = torch.where(is_wide, across.size, down.size)
        error = torch.maximum(across.off.abs() * boxes.focal[0], down.off.abs() * boxes.focal[1])
        error = torch.maximum(error, (size - boxes.wanted[2]).abs())
        done = done | (error < 0.5 * tolerance)
        if bool(done.all()):
            break
        slope = torch.where(is_wide, across.size_by_depth, down.size_by_depth)
        # Newton's step on 1 / size, which is nearly linear in the depth
        step = size * (1.0 - size / boxes.wanted[2]) / torch.clamp(slope, max=-1e-9)
        step = torch.maximum(torch.maximum(tz + step, 0.5 * (tz + boxes.nearest)), boxes.nearest) - tz
        tx = torch.where(done, tx, tx - across.off / across.off_by_shift + across.shift_by_depth * step)
        ty = torch.where(done, ty, ty - down.off / down.off_by_shift + down.shift_by_depth * step)
        tz = torch.where(done, tz, tz + step)
    return torch.stack([tx, ty, tz], dim=1), done


@dataclass(frozen=True)
class _Span:
    """The box along one image axis, and how it changes. `size` is on the screen, `off` on the plane at depth 1.

    `shift_by_depth` keeps the centre in place while the depth changes; `size_by_depth` is the slope along that way.
    """

    off: Tensor
    off_by_shift: Tensor
    shift_by_depth: Tensor
    size: Tensor
    size_by_depth: Tensor

    @staticmethod
    def of(points: Tensor, shift: Tensor, depth: Tensor, wanted: Tensor, focal: Tensor) -> "_Span":
        image = (points + shift) / depth
        (low, at_low), (high, at_high) = image.min(dim=0), image.max(dim=0)
        near_low, near_high = 1.0 / depth.gather(0, torch.stack([at_low, at_high]))
        by_shift = (near_low + near_high) / 2
        shift_by_depth = (low * near_low + high * near_high) / 2 / by_shift
        by_depth = low * near_low - high * near_high + (near_high - near_low) * shift_by_depth
        return _Span(
            (low + high) / 2 - wanted, by_shift, shift_by_depth, (high - low) * focal, by_depth * focal
        )


class PlacementAugmentor:
    """The same poses at other places: boxes drawn from `BoxSettings`, seen by the camera of their source."""

    def __init__(self, boxes: BoxSettings, seed: int, validity: ValiditySettings | None = None) -> None:
        self._boxes, self._seed, self._validity = boxes, seed, validity or ValiditySettings(margin=0.002)

    @property
    def name(self) -> str:
        """What it is called."""
        return PURPOSE

    def augment(self, batch: PoseBatch, copy: int) -> Augmented:
        """One pair per row at a drawn place; rejected where no depth gives the box."""
        return self.augment_windows(batch, copy, POSE)

    def augment_windows(self, batch: PoseBatch, copy: int, shape: WindowShape) -> Augmented:
        """The output frame's pose fills the box; the person goes from there where the recording goes."""
        randomness = window_random(self._seed, PURPOSE, batch, copy, shape)
        batch = before_one_camera(batch, shape)
        camera_px = shape.output_frames(batch.camera_px)
        intrinsics = torch.from_numpy(screen_intrinsics(camera_px).astype(np.float32))
        aspect = torch.from_numpy(camera_px[:, 10] / camera_px[:, 9])
        center, size = draw_boxes(randomness, aspect, self._boxes)
        joints_root_m = torch.from_numpy(np.ascontiguousarray(batch.joints_root_m))
        output_m = shape.output_frames(joints_root_m).contiguous()
        placed = align_to_boxes(output_m, center, size, intrinsics, z_min_m=self._validity.z_min_m)
        root_m = shape.on_frames(placed.root_camera_m)
        if shape.temporal:
            recorded_m = torch.from_numpy(batch.joints_camera_m[:, batch.skeleton.root_index])
            root_m = root_m + (recorded_m - recorded_m[shape.anchors(len(batch))])
        joints_camera_m = (joints_root_m + root_m.unsqueeze(1)).numpy()
        keypoints_px = project_px(joints_camera_m, batch.camera_px)
        reason = reasons_to_reject(joints_camera_m, keypoints_px, batch.camera_px, self._validity)
        reason[~shape.repeated(placed.reached.numpy()) & (reason != NOT_FINITE)] = NO_PLACE
        columns = {
            "joints_camera_m": joints_camera_m,
            "keypoints_px": keypoints_px,
            "keypoint_confidence": np.ones_like(batch.keypoint_confidence),
        }
        pairs = derived_pairs(batch, self._seed, PURPOSE, copy, columns)
        return split_by_reason(pairs, reason, shape, _REASONS)
