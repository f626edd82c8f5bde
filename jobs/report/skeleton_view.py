"""Skeletons as pictures: in the image (2D), and in space (3D) on a small floor that a reader can turn with the mouse.

The 3D picture is drawn twice: here, so that it stands without scripts and on paper, and by `page.js` while it is
turned; both use the same projection: turn by yaw around the vertical, tilt by `TILT_DEG`, no perspective.
"""

import json
import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from markupsafe import Markup

from jobs.report import svg
from jobs.report.statistics import body_axes, has_body_frame
from poses.skeleton import Skeleton

SIZE = 240.0
UNITS_PER_M = 104.0
TILT_DEG = 13.0
FLOOR_HALF_M = 0.6
FLOOR_LINES = 5
START_YAW_DEG = 28.0


@dataclass(frozen=True)
class Wireframe:
    """Points in metres around the middle of the picture (x right, y down, z away) and what joins them."""

    points_m: Float[np.ndarray, "P 3"]
    edges: tuple[tuple[int, int, str], ...]
    nodes: tuple[tuple[int, float, str], ...]


def side_of(joint: str) -> str:
    """`left`, `right` or `trunk`, from the joint's name."""
    return next((side for side in ("left", "right") if joint.startswith(side + "_")), "trunk")


def skeleton_wireframe(joints_m: Float[np.ndarray, "J 3"], skeleton: Skeleton, css: str = "") -> Wireframe:
    """Limbs coloured by side; the head, where there is one, is a dot."""
    edges = tuple(
        (int(parent), int(child), f"limb {side_of(skeleton.joints[int(child)])} {css}".strip())
        for parent, child in zip(skeleton.bone_parent_index, skeleton.bone_child_index, strict=True)
    )
    nodes = tuple(
        (i, 9.0, f"joint head {css}".strip()) for i, name in enumerate(skeleton.joints) if name == "head"
    )
    return Wireframe(joints_m, edges, nodes)


def floor_wireframe(height_m: float) -> Wireframe:
    """A square grid at `height_m` below the middle (y points down)."""
    steps = np.linspace(-FLOOR_HALF_M, FLOOR_HALF_M, FLOOR_LINES)
    points: list[tuple[float, float, float]] = []
    for s in steps:
        points += [(s, height_m, -FLOOR_HALF_M), (s, height_m, FLOOR_HALF_M)]
        points += [(-FLOOR_HALF_M, height_m, s), (FLOOR_HALF_M, height_m, s)]
    edges = tuple((i, i + 1, "floor") for i in range(0, len(points), 2))
    return Wireframe(np.array(points), edges, ())


def merge(*frames: Wireframe) -> Wireframe:
    """Several wireframes as one."""
    points, edges, nodes, offset = [], [], [], 0
    for frame in frames:
        points.append(frame.points_m)
        edges += [(a + offset, b + offset, css) for a, b, css in frame.edges]
        nodes += [(a + offset, radius, css) for a, radius, css in frame.nodes]
        offset += len(frame.points_m)
    return Wireframe(np.concatenate(points), tuple(edges), tuple(nodes))


def for_view(
    joints_m: Float[np.ndarray, "J 3"], skeleton: Skeleton, up_camera: Float[np.ndarray, " 3"] | None = None
) -> Float[np.ndarray, "J 3"]:
    """The pose around its root, facing the reader: x to the reader's right, y down, z away.

    Down is the world's where `up_camera` is known, so that a lying person lies; else it is along the trunk.
    """
    centred = joints_m - joints_m[skeleton.root_index]
    if not has_body_frame(skeleton):
        return centred
    left, up, forward = body_axes(joints_m[None], skeleton)[0]
    if up_camera is not None and np.isfinite(up_camera).all() and np.linalg.norm(up_camera) > 0.5:
        up = up_camera / np.linalg.norm(up_camera)
        ahead = np.cross(left, up)
        if np.linalg.norm(ahead) < 0.2:  # lying on the side: the legs' direction does as well
            ahead = forward - (forward @ up) * up
        forward = ahead / max(np.linalg.norm(ahead), 1e-9)
        left = np.cross(up, forward)
    return np.stack([centred @ left, -(centred @ up), -(centred @ forward)], axis=-1)


def project(points_m: Float[np.ndarray, "P 3"], yaw_deg: float) -> Float[np.ndarray, "P 3"]:
    """Paper x, paper y (in units from the middle) and depth in metres after turning and tilting."""
    yaw, tilt = math.radians(yaw_deg), math.radians(TILT_DEG)
    x, y, z = points_m.T
    turned_x = math.cos(yaw) * x + math.sin(yaw) * z
    turned_z = -math.sin(yaw) * x + math.cos(yaw) * z
    paper_y = math.cos(tilt) * y - math.sin(tilt) * turned_z
    depth = math.sin(tilt) * y + math.cos(tilt) * turned_z
    return np.stack([turned_x * UNITS_PER_M, paper_y * UNITS_PER_M, depth], axis=-1)


def draw_space(
    joints_m: Float[np.ndarray, "J 3"],
    skeleton: Skeleton,
    description: str,
    ghost_m: Float[np.ndarray, "J 3"] | None = None,
) -> Markup:
    """A pose in space with its floor; `ghost_m` is a second pose drawn behind it, pale."""
    poses_m = [joints_m] if ghost_m is None else [joints_m, ghost_m]
    stack = np.concatenate(poses_m)
    lowest, highest = float(stack[:, 1].max()), float(stack[:, 1].min())
    frames = [floor_wireframe(lowest + 0.03)]
    if ghost_m is not None:
        frames.append(skeleton_wireframe(ghost_m, skeleton, "ghost"))
    frames.append(skeleton_wireframe(joints_m, skeleton))
    model = merge(*frames)
    middle = np.array([0.0, (lowest + highest) / 2, 0.0])
    model = Wireframe(
        np.where(np.isfinite(model.points_m), model.points_m, 0) - middle, model.edges, model.nodes
    )
    return _draw_wireframe(model, description)


def _draw_wireframe(model: Wireframe, description: str) -> Markup:
    paper = project(model.points_m, START_YAW_DEG)
    x, y = paper[:, 0] + SIZE / 2, paper[:, 1] + SIZE / 2
    depth = paper[:, 2]
    drawn: list[tuple[float, str]] = []
    for a, b, css in model.edges:
        far = 1e6 if css == "floor" else (depth[a] + depth[b]) / 2 + (1e3 if "ghost" in css else 0)
        drawn.append((far, svg.line(x[a], y[a], x[b], y[b], css, f' data-e="{a},{b}"')))
    for a, radius, css in model.nodes:
        far = depth[a] - 0.01 + (1e3 if "ghost" in css else 0)
        drawn.append((far, svg.circle(x[a], y[a], radius, css, f' data-n="{a}"')))
    drawn.sort(key=lambda item: -item[0])
    points = json.dumps(np.round(model.points_m, 3).tolist(), separators=(",", ":"))
    body = f'<g data-points="{points}">{"".join(part for _, part in drawn)}</g>'
    return svg.picture(SIZE, SIZE, [body], description, "pose space")


def draw_image(
    keypoints_px: Float[np.ndarray, "J 2"],
    image_size_px: Float[np.ndarray, " 2"],
    skeleton: Skeleton,
    description: str,
    window: float = 1.0,
) -> Markup:
    """A pose where the camera sees it, cut out of the image around the person.

    `window` is the side of the cut-out as a part of the image's longer side; pictures with one window compare sizes.
    """
    longer_px = max(1.0, float(image_size_px.max()))
    scale = SIZE / (window * longer_px)
    finite = keypoints_px[np.isfinite(keypoints_px).all(axis=1)]
    middle_px = (finite.max(0) + finite.min(0)) / 2 if len(finite) else image_size_px / 2
    half_px = np.minimum(window * longer_px / 2, image_size_px / 2)
    middle_px = np.clip(middle_px, half_px, image_size_px - half_px)
    corner = SIZE / 2 - middle_px * scale
    points = np.where(np.isfinite(keypoints_px), keypoints_px, -1e4) * scale + corner
    points = np.clip(points, -SIZE, 2 * SIZE)
    frame = image_size_px * scale
    parts = [svg.rectangle(corner[0], corner[1], frame[0], frame[1], "sensor", ' rx="3"')]
    for third in (1 / 3, 2 / 3):
        x, y = corner + frame * third
        parts.append(svg.line(x, corner[1], x, corner[1] + frame[1], "thirds"))
        parts.append(svg.line(corner[0], y, corner[0] + frame[0], y, "thirds"))
    for parent, child in zip(skeleton.bone_parent_index, skeleton.bone_child_index, strict=True):
        css = f"limb thin {side_of(skeleton.joints[int(child)])}"
        (x1, y1), (x2, y2) = points[[int(parent), int(child)]].tolist()
        parts.append(svg.line(x1, y1, x2, y2, css))
    if "head" in skeleton.joints:
        radius = float(np.max(np.ptp(points, axis=0))) / 18
        x, y = points[skeleton.index("head")].tolist()
        parts.append(svg.circle(x, y, min(radius, 9.0), "joint head"))
    return svg.picture(SIZE, SIZE, parts, description, "pose image")


def shared_window(
    keypoints_px: list[Float[np.ndarray, "J 2"]],
    image_sizes_px: list[Float[np.ndarray, " 2"]],
    margin: float = 1.35,
) -> float:
    """Smallest window, as a part of the image's longer side, that holds each of the poses with some air; at most 1."""
    needed = [0.3]
    for points, size in zip(keypoints_px, image_sizes_px, strict=True):
        finite = points[np.isfinite(points).all(axis=1)]
        if len(finite):
            needed.append(margin * float(np.ptp(finite, axis=0).max()) / max(1.0, float(size.max())))
    return min(1.0, max(needed))
