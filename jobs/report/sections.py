"""Turns `ReportInputs` into what the template lays out: pictures, sentences and small tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from jobs.report import charts
from jobs.report.formatting import signed
from jobs.report.inputs import PosePair, PoseSample, ReportInputs
from jobs.report.skeleton_view import draw_image, draw_space, for_view, shared_window
from jobs.report.statistics import (
    Summary,
    bone_angles_deg,
    bone_lengths_m,
    extent_fraction,
    has_body_frame,
    mean_bone_turn_deg,
    root_depth_m,
    summarise,
    viewpoint_coverage,
    viewpoint_deg,
    viewpoint_histogram,
)
from poses.skeleton import Skeleton

_BONES = {"hip": "hip", "knee": "thigh", "ankle": "shin", "elbow": "upper arm", "wrist": "forearm"}


@dataclass(frozen=True)
class Panel:
    """A picture with its title, one line under the title, and the numbers below it (label, source, augmented)."""

    title: str
    picture: Markup
    note: str = ""
    numbers: tuple[tuple[str, str, str], ...] = ()
    keys: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class PairCard:
    """One source pose beside what became of it."""

    label: str
    source_image: Markup
    augmented_image: Markup
    source_space: Markup
    augmented_space: Markup
    changes: tuple[tuple[str, str], ...]


def pair_cards(inputs: ReportInputs) -> list[PairCard]:
    """The before and after cards."""
    return [_pair_card(pair, inputs.skeleton) for pair in inputs.pairs]


def hero_picture(inputs: ReportInputs) -> Markup | None:
    """The augmented pose of a standing pair that changed as pairs do (the median), over its pale source."""
    if not inputs.pairs:
        return None
    skeleton = inputs.skeleton
    turns = [
        mean_bone_turn_deg(p.source_joints_camera_m, p.augmented_joints_camera_m, skeleton)
        for p in inputs.pairs
    ]
    by_turn = [inputs.pairs[i] for i in np.argsort(turns)]
    standing = [pair for pair in by_turn if _stands(pair, skeleton)] or by_turn
    pair = standing[len(standing) // 2]
    return draw_space(
        for_view(pair.augmented_joints_camera_m, inputs.skeleton, pair.augmented_up_camera),
        inputs.skeleton,
        "An augmented pose in colour over the pose that it was made from",
        ghost_m=for_view(pair.source_joints_camera_m, inputs.skeleton, pair.source_up_camera),
    )


def _stands(pair: PosePair, skeleton: Skeleton) -> bool:
    """Whether head or shoulders are well above the hips in both pictures."""
    if not has_body_frame(skeleton):
        return False
    poses = (
        for_view(pair.source_joints_camera_m, skeleton, pair.source_up_camera),
        for_view(pair.augmented_joints_camera_m, skeleton, pair.augmented_up_camera),
    )
    tops = [
        (pose[skeleton.index("left_shoulder")] + pose[skeleton.index("right_shoulder")]) / 2 for pose in poses
    ]
    return all(-top[1] > 0.8 * np.linalg.norm(top) for top in tops)


def view_panels(inputs: ReportInputs) -> list[Panel]:
    """Where the cameras stand, one map per dataset, on one colour scale."""
    if not has_body_frame(inputs.skeleton):
        return []
    shares: list[tuple[str, str, np.ndarray, int, Summary]] = []
    for css, title, sample in _samples(inputs):
        azimuth, elevation = viewpoint_deg(sample.joints_camera_m, inputs.skeleton)
        shares.append(
            (css, title, viewpoint_histogram(azimuth, elevation), len(sample), summarise(elevation))
        )
    peak = max((float(np.quantile(s[s > 0], 0.98)) for _, _, s, _, _ in shares if (s > 0).any()), default=1.0)
    return [
        Panel(
            title=title,
            picture=charts.viewpoint_map(
                share, css, peak, f"{title}: where the camera stands, as the person sees it"
            ),
            note=f"Seen from {viewpoint_coverage(share, rows):.0%} of the sphere; "
            f"camera height {signed(e.low)}° to {signed(e.high)}° for 9 poses in 10.",
        )
        for css, title, share, rows, e in shares
    ]


def size_panels(inputs: ReportInputs) -> list[Panel]:
    """Depth, size in the image, and where in the image."""
    skeleton = inputs.skeleton
    depth = _per_sample(inputs, lambda s: root_depth_m(s.joints_camera_m, skeleton))
    extent = _per_sample(inputs, lambda s: 100 * extent_fraction(s.keypoints_px, s.image_size_px))
    across = _per_sample(
        inputs, lambda s: 100 * (s.keypoints_px.mean(1)[:, 0] / np.maximum(s.image_size_px[:, 0], 1))
    )
    return [
        _pair_panel("Distance to the camera", "Root joint, metres", depth, "{:.1f} m"),
        _pair_panel(
            "Size in the image", "Longer side of the person, % of the image's height", extent, "{:.0f} %"
        ),
        _pair_panel("Place in the image", "Middle of the person, % of the image's width", across, "{:.0f} %"),
    ]


def angle_panels(inputs: ReportInputs) -> list[Panel]:
    """One histogram per bone: its angle against the bone that it hangs on."""
    angles = _per_sample(inputs, lambda s: bone_angles_deg(s.joints_camera_m, inputs.skeleton))
    panels = []
    for k, bone in enumerate(inputs.skeleton.bones):
        columns = {css: values[:, k] for css, values in angles.items()}
        if not any(np.isfinite(v).any() for v in columns.values()):
            continue
        picture = charts.histogram_pair(
            columns.get("source"),
            columns.get("augmented"),
            f"Angle of the bone {bone_words(bone)}",
            (0, 180),
            240,
            118,
            36,
            (0, 60, 120, 180),
        )
        spread = {css: f"{summarise(v).width:.0f}°" for css, v in columns.items()}
        panels.append(
            Panel(
                bone_words(bone),
                picture,
                numbers=((("range"), spread.get("source", ""), spread.get("augmented", "")),),
            )
        )
    return panels


def length_panel(inputs: ReportInputs) -> Panel:
    """All bone lengths, as ranges."""
    lengths = _per_sample(inputs, lambda s: 100 * bone_lengths_m(s.joints_camera_m, inputs.skeleton))
    rows: dict[str, list[Summary]] = {
        css: [summarise(values[:, k]) for k in range(values.shape[1])] for css, values in lengths.items()
    }
    labels = [bone_words(bone) for bone in inputs.skeleton.bones]
    third = -(-len(labels) // 3)
    domain = charts.range_domain([s for part in rows.values() for s in part])
    pictures = [
        charts.range_rows(
            labels[part],
            _cut(rows.get("source"), part),
            _cut(rows.get("augmented"), part),
            "Bone lengths in centimetres",
            domain,
        )
        for part in (slice(start, start + third) for start in range(0, len(labels), third))
    ]
    return Panel(
        "Bone lengths",
        Markup("").join(Markup("<div>{}</div>").format(p) for p in pictures),
        "Centimetres; the bar holds 9 poses in 10, the dot is the median",
    )


def words(name: str) -> str:
    """`left_hip` -> `left hip`."""
    return name.replace("_", " ")


def bone_words(bone: str) -> str:
    """What people call the bone that ends in this joint: `left_knee` -> `left thigh`."""
    side, _, joint = bone.rpartition("_")
    return f"{side} {_BONES[joint]}" if side in ("left", "right") and joint in _BONES else words(bone)


def _pair_card(pair: PosePair, skeleton: Skeleton) -> PairCard:
    before, after = pair.source_joints_camera_m, pair.augmented_joints_camera_m
    body_before = for_view(before, skeleton, pair.source_up_camera)
    body_after = for_view(after, skeleton, pair.augmented_up_camera)
    keypoints = [pair.source_keypoints_px, pair.augmented_keypoints_px]
    sizes = [pair.source_image_size_px, pair.augmented_image_size_px]
    window = shared_window(keypoints, sizes)
    images = [
        draw_image(points, size, skeleton, f"{pair.label}: {which} pose in the image", window)
        for points, size, which in zip(keypoints, sizes, ("source", "augmented"), strict=True)
    ]
    return PairCard(
        label=pair.label,
        source_image=images[0],
        augmented_image=images[1],
        source_space=draw_space(body_before, skeleton, f"{pair.label}: source pose in space"),
        augmented_space=draw_space(body_after, skeleton, f"{pair.label}: augmented pose in space"),
        changes=_changes(before, after, skeleton),
    )


def _changes(before: np.ndarray, after: np.ndarray, skeleton: Skeleton) -> tuple[tuple[str, str], ...]:
    lengths = bone_lengths_m(np.stack([before, after]), skeleton).sum(axis=1)
    changes = [("bones turned", f"{mean_bone_turn_deg(before, after, skeleton):.0f}°")]
    if lengths[0] > 0:
        changes.append(("size", signed(100 * (lengths[1] / lengths[0] - 1), 0, " %")))
    if has_body_frame(skeleton):
        azimuth, elevation = viewpoint_deg(np.stack([before, after]), skeleton)
        turn = (azimuth[1] - azimuth[0] + 180) % 360 - 180
        changes.append(("view", f"{signed(turn)}° around, {signed(elevation[1] - elevation[0])}° up"))
    depth = root_depth_m(np.stack([before, after]), skeleton)
    changes.append(("distance", f"{depth[0]:.1f} → {depth[1]:.1f} m"))
    return tuple(changes)


def _samples(inputs: ReportInputs) -> list[tuple[str, str, PoseSample]]:
    pairs = (("source", "Source", inputs.source), ("augmented", "Augmented", inputs.augmented))
    return [(css, title, sample) for css, title, sample in pairs if sample is not None and len(sample)]


def _per_sample(inputs: ReportInputs, compute: Any) -> dict[str, np.ndarray]:
    return {css: compute(sample) for css, _, sample in _samples(inputs)}


def _pair_panel(title: str, note: str, values: Mapping[str, np.ndarray], form: str) -> Panel:
    picture = charts.histogram_pair(values.get("source"), values.get("augmented"), f"{title}: {note}")
    summaries = {css: summarise(v) for css, v in values.items()}
    median = {css: form.format(summary.median) for css, summary in summaries.items()}
    span = {css: _span(summary, form) for css, summary in summaries.items()}
    numbers = tuple(
        (name, found.get("source", ""), found.get("augmented", ""))
        for name, found in (("median", median), ("9 in 10", span))
    )
    return Panel(title, picture, note, numbers)


def _span(summary: Summary, form: str) -> str:
    low, high = form.format(summary.low), form.format(summary.high)
    number, _, unit = low.partition(" ")
    return f"{number} – {high}" if unit and high.endswith(unit) else f"{low} – {high}"


def _cut(rows: Sequence[Summary] | None, part: slice) -> Sequence[Summary] | None:
    return None if rows is None else rows[part]
