"""Synthetic inputs of a report: standing people with bent limbs, seen by random cameras."""

import numpy as np

from jobs.report.inputs import (
    DatasetFact,
    EvaluationTable,
    PosePair,
    PoseSample,
    QuarantinedFact,
    ReportInputs,
    RowCount,
)
from poses.skeleton import Skeleton, load_skeleton

FOCAL_PX, IMAGE_PX = 1145.0, 1000.0
_REST_M = {
    "hip": (0.13, 0, 0),
    "knee": (0, 0.44, 0.02),
    "ankle": (0, 0.43, 0),
    "spine": (0, -0.24, 0),
    "thorax": (0, -0.25, 0),
    "neck_nose": (0, -0.11, -0.06),
    "head": (0, -0.13, 0.02),
    "shoulder": (0.15, 0.02, 0),
    "elbow": (0.04, 0.27, 0),
    "wrist": (0.02, 0.24, -0.05),
}


def rotations(axis_angle: np.ndarray) -> np.ndarray:
    """(..., 3) axis times angle -> (..., 3, 3)."""
    angle = np.linalg.norm(axis_angle, axis=-1, keepdims=True)[..., None]
    axis = axis_angle / np.maximum(angle[..., 0], 1e-9)
    x, y, z = np.moveaxis(axis, -1, 0)
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*x.shape, 3, 3)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def bodies(skeleton: Skeleton, turns: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Joints around the root from one rotation vector per joint (N, J, 3) and bone sizes (N, J); y down, facing -z."""
    local = rotations(turns)
    joints, world = np.zeros(turns.shape), np.zeros((*turns.shape, 3))
    for j, (name, parent) in enumerate(zip(skeleton.joints, skeleton.parents, strict=True)):
        if parent < 0:
            world[:, j] = local[:, j]
            continue
        offset = np.array(_REST_M[name.removeprefix("left_").removeprefix("right_")])
        if name.startswith("right_"):
            offset = offset * (-1, 1, 1)
        joints[:, j] = joints[:, parent] + np.einsum(
            "nij,nj->ni", world[:, parent], offset * sizes[:, j, None]
        )
        world[:, j] = world[:, parent] @ local[:, j]
    return joints


def sample(
    skeleton: Skeleton, turns: np.ndarray, sizes: np.ndarray, view: np.ndarray, depth_m: np.ndarray
) -> PoseSample:
    """The bodies in front of a camera."""
    joints = np.einsum("nij,nkj->nki", rotations(view), bodies(skeleton, turns, sizes))
    joints = joints + np.stack([0.1 * np.sin(depth_m * 9), 0.1 * np.cos(depth_m * 7), depth_m], -1)[:, None]
    pixels = FOCAL_PX * joints[..., :2] / joints[..., 2:] + IMAGE_PX / 2
    return PoseSample(
        joints.astype(np.float32), pixels.astype(np.float32), np.full((len(joints), 2), IMAGE_PX, np.float32)
    )


def make_samples(skeleton: Skeleton, n: int, seed: int = 0) -> tuple[PoseSample, PoseSample]:
    """A narrow source and a wide augmented sample, row by row from the same pose."""
    draw = np.random.default_rng(seed)
    bend = np.array([0.15 if "hip" not in j and "shoulder" not in j else 0.45 for j in skeleton.joints])[
        :, None
    ]
    turns = draw.normal(size=(n, skeleton.n_joints, 3)) * bend
    turns[:, skeleton.root_index] *= 0.3
    for name, sign in (("left_knee", 1), ("right_knee", 1), ("left_elbow", -1), ("right_elbow", -1)):
        turns[:, skeleton.index(name), 0] = sign * np.abs(draw.normal(size=n) * 0.6)
    sizes = 1 + 0.03 * draw.normal(size=(n, 1)) + np.zeros((n, skeleton.n_joints))
    azimuth = np.radians(draw.choice([70, -70, 108, -114], n) + draw.normal(size=n) * 30)
    upright = np.stack([np.zeros(n), azimuth, np.zeros(n)], -1)
    source = sample(skeleton, turns, sizes, upright, 5 + 0.4 * draw.normal(size=n))
    more = turns + draw.normal(size=turns.shape) * 0.28 * (bend > 0)
    more[:, skeleton.root_index, 0] += draw.normal(size=n) * 0.5
    wide = np.stack([np.zeros(n), draw.uniform(-np.pi, np.pi, n), np.zeros(n)], -1)
    sizes = sizes * (1 + 0.09 * draw.normal(size=sizes.shape))
    return source, sample(skeleton, more, sizes, wide, draw.uniform(2.6, 7, n))


def make_metrics(n: int = 800, seed: int = 0) -> list[dict[str, float]]:
    """Losses that fall, hardness that rises, as a loop writes them."""
    draw, t = np.random.default_rng(seed), np.linspace(0, 1, n)
    noise = draw.normal(size=(n, 6))
    return [
        {
            "iteration": i,
            "epoch": i // 40,
            "loss_generator": float(4.2 - 1.5 * t[i] + 0.3 * noise[i, 0]),
            "loss_d3d": float(0.9 * np.exp(-3 * t[i]) + 0.28 + 0.03 * noise[i, 1]),
            "loss_d2d": float(0.5 * np.exp(-2 * t[i]) + 0.22 + 0.03 * noise[i, 2]),
            "loss_lifter": float(0.09 * np.exp(-5 * t[i]) + 0.012 + 0.002 * noise[i, 3]),
            "hardness_ba": float(1.1 + 0.9 * t[i] + 0.08 * noise[i, 4]),
            "hardness_rt": float(1.3 + 1.6 * t[i] + 0.12 * noise[i, 5]),
            "kept_fraction": float(min(1, 0.52 + 0.46 * (1 - np.exp(-5 * t[i])) + 0.01 * noise[i, 0])),
            "learning_rate": float(1e-3 * (1 - 0.8 * t[i])),
            "validation_mpjpe_mm": float(48 + 90 * np.exp(-4 * t[i]) + noise[i, 1]),
            "validation_best_mpjpe_mm": float(47 + 90 * np.exp(-4 * t[i])),
            **{f"odds_articulation_{b}": float((1 + t[i] * (b - 2.5) / 4) / 6) for b in range(6)},
            **{f"odds_tilt_{b}": float(1 / 3 + t[i] * (b - 1) / 5) for b in range(3)},
        }
        for i in range(n)
    ]


def make_evaluation() -> EvaluationTable:
    """Nine rows, five columns."""
    rows = (
        "source_valid",
        "target_subject",
        "target_action",
        "target_hard",
        "target_dance_avatar",
        "target_sport_everyday",
        "target_acrobatics_deepmimic",
        "source_valid_3dhp",
        "target_hard_3dhp",
    )
    base = np.array([24, 46.4, 139.7, 114.6, 104.3, 86.6, 176, 124.7, 153.1])
    factor = np.array(
        [
            [1, 1.08, 0.95, 0.92],
            [1, 0.93, 0.86, 0.82],
            [1, 0.75, 0.53, 0.49],
            [1, 0.83, 0.73, 0.69],
            [1, 0.93, 0.94, 0.86],
            [1, 0.82, 0.75, 0.71],
            [1, 0.76, 0.61, 0.57],
            [1, 0.5, 0.4, 0.38],
            [1, 0.68, 0.62, 0.58],
        ]
    )
    mean = base[:, None] * factor
    return EvaluationTable(
        "MPJPE, frame mean, root excluded",
        rows,
        ("source_only", "random", "wide_random", "posemill"),
        mean,
        mean * 0.012,
        3,
        "source_only",
    )


def make_inputs(n: int = 1500, pairs: int = 6, skeleton_name: str = "h36m_17") -> ReportInputs:
    """A full report."""
    skeleton = load_skeleton(skeleton_name)
    source, augmented = make_samples(skeleton, n)
    size = np.full(2, IMAGE_PX, np.float32)
    shown = tuple(
        PosePair(
            f"07/07_0{i + 1} · walking · frame {31 * i + 12}",
            source.joints_camera_m[i],
            source.keypoints_px[i],
            size,
            augmented.joints_camera_m[i],
            augmented.keypoints_px[i],
            size,
        )
        for i in range(pairs)
    )
    return ReportInputs(
        title="CMU + HDM05, closed loop",
        subtitle="Recorded motion of seven people became 2D-3D pairs of many more bodies, poses and viewpoints, "
        "made as hard as the estimator could use.",
        skeleton=skeleton,
        source=source,
        augmented=augmented,
        pairs=shown,
        metrics=make_metrics(),
        counts=[
            RowCount(
                "Augmented poses",
                1_130_412,
                {"outside_image": 43_120, "behind_camera": 1_204, "not_finite": 3},
            )
        ],
        evaluations=[make_evaluation()],
        facts={
            "job": "build",
            "run": "r-5f0c2a91d7",
            "finished": "21 November 2026, 04:31 UTC",
            "recipe": "cmu_hdm05.yaml",
            "seed": "1",
            "executor": "ray, 4 augmentors",
        },
        seconds=1520.4,
        stage_seconds={"import": 21.3, "loop": 912.0, "augment": 141.2, "train": 433.0, "evaluate": 12.9},
        versions={
            "posemill": "0.1.0",
            "python": "3.11.9",
            "torch": "2.13.0",
            "ray": "2.60.0",
            "numpy": "2.4.6",
            "pyarrow": "26.0.1",
        },
        datasets=[
            DatasetFact("source", "s3://motion/out/datasets/source", "v000001", 79_505, 3, 36_254_000),
            DatasetFact(
                "augmented", "s3://motion/out/datasets/augmented", "v000001", 1_130_412, 12, 515_467_000
            ),
        ],
        recipe_yaml="job: build\nseed: 1\nsource: s3://motion/mocap\nloop:\n  epochs: 50\n",
        quarantined=[
            QuarantinedFact(
                "cmu_bvh/16/16_21.bvh",
                "frame 203",
                "import",
                "hip-relative speed of 31.2 m/s, at most 20 m/s is human",
            ),
            QuarantinedFact("hdm05/bd/HDM_bd_03.amc", "frames 0-11", "import", "joint left_wrist is NaN"),
        ],
        quarantined_total=2,
    )
