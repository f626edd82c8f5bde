"""RepNet without any 2D-3D pair, beside the supervised SimpleBaseline; its cameras against the true ones:
`python -m benchmarks.repnet_results DATASET_DIR [--out DIR] [--steps N] [--write]`.

RepNet gets the 3D poses of `source_train` and the 2D of another part, by default `target_subject`, other
people in other clips; the baseline gets the pairs of `source_train`. Both train with the jobs that users
have, resume where they were stopped, and are measured under named protocols; the error that allows
reflections stands under its own.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.document import write_below
from benchmarks.results import HARD_VIEWS, PLAIN, ROWS
from estimators.lifters.repnet.camera import camera_parts
from estimators.lifters.repnet.flat_pose import normalise_keypoints, unflatten_joints
from estimators.lifters.repnet.judge import RepNetJudge, import_judge
from estimators.lifters.repnet.torso import AlignedPoses, align_to_torso
from pipelines.context import RunContext
from pipelines.evaluate import evaluate_table
from pipelines.in_process import InProcessExecutor
from pipelines.pose_table import PairsSource, load_table
from pipelines.progress import RecordingProgress
from pipelines.train import run_train
from pipelines.train_settings import TrainSettings
from pipelines.train_unpaired import CRITIC_FILE, LIFTER_FILE, TrainUnpairedSettings, run_train_unpaired
from pipelines.trained_lifter import load_trained_lifter, read_checkpoint
from poses.batch import PoseBatch
from poses.cameras import CAMERA_FIELDS
from storage.reader import Dataset

PROTOCOL, REFLECTED = "frame_mean_with_root", "released_repnet"
DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "results_repnet.md"
MARK = "<!-- measured: everything below is written by `python -m benchmarks.repnet_results DIR --write` -->"
Row = tuple[str, str]


@dataclass(frozen=True)
class CameraErrors:
    """Of the cameras of many poses.

    Attributes:
        rotation_deg: Angle between the camera network's rotation and the true one, body frame to camera.
        scale_percent: |s / s_true - 1|, s_true = f / (mean depth) in the normalised image. best_rotation_deg:
        The same angle for the weak-perspective camera fitted to the true 3D and 2D: what is left is
            perspective, which such a camera cannot tell from a turn.
    """

    rotation_deg: np.ndarray
    scale_percent: np.ndarray
    best_rotation_deg: np.ndarray


class _Printed(RecordingProgress):
    """Messages on the terminal."""

    def log(self, message: str) -> None:
        """Print and remember."""
        print(message, flush=True)
        super().log(message)


def camera_errors(judge: RepNetJudge, pairs: PoseBatch) -> CameraErrors:
    """Errors of the cameras that the network finds from the 2D of pairs alone."""
    joints, keypoints = torch.from_numpy(pairs.joints_camera_m), torch.from_numpy(pairs.keypoints_px)
    aligned = align_to_torso(joints, pairs.skeleton, judge.settings.torso)
    with torch.inference_mode():
        found = torch.cat([judge.lifter.estimate(chunk).camera for chunk in keypoints.split(1024)])
    normalised = normalise_keypoints(keypoints)
    image = unflatten_joints(normalised.flat, 2)
    body = aligned.joints_m.double()
    normal = body.transpose(1, 2) @ body
    best = torch.linalg.solve(normal, body.transpose(1, 2) @ image.double()).transpose(1, 2)
    true_rotation = aligned.rotation.transpose(1, 2)
    parts = camera_parts(found)
    scale = parts.scale / _true_scale(pairs, aligned, normalised.spread)
    return CameraErrors(
        _angle_deg(parts.rotation, true_rotation),
        (100 * (scale - 1).abs()).numpy(),
        _angle_deg(camera_parts(best).rotation, true_rotation),
    )


def _true_scale(pairs: PoseBatch, aligned: AlignedPoses, spread_px: Tensor) -> Tensor:
    """Normalised image units per metre of the body frame, by focal length and mean depth."""
    focal = torch.from_numpy(pairs.camera_px[:, [CAMERA_FIELDS.index("fx"), CAMERA_FIELDS.index("fy")]]).mean(
        1
    )
    depth = torch.from_numpy(pairs.joints_camera_m[..., 2]).mean(1)
    return focal / depth / aligned.scale / spread_px


def _angle_deg(one: Tensor, other: Tensor) -> np.ndarray:
    between = (one.double().transpose(1, 2) @ other.double()).diagonal(dim1=1, dim2=2).sum(1)
    return torch.rad2deg(torch.acos(((between - 1) / 2).clamp(-1.0, 1.0))).numpy()


def train_both(arguments: argparse.Namespace) -> tuple[Path, Path]:
    """Folders of RepNet and of the supervised baseline, trained or found trained."""
    data, out = str(arguments.dataset), arguments.out
    pairs = {"url": data, "parts": ["source_train"], "rigs": [PLAIN]}
    valid = {"url": data, "parts": ["source_valid"], "rigs": [PLAIN]}
    values: dict[str, Any] = {
        "poses": [pairs],
        "keypoints": [{**pairs, "parts": [arguments.keypoints]}],
        "validation": [valid],
        "preset": arguments.preset,
        "batch_rows": arguments.batch_rows,
        "steps": arguments.steps,
        "validate_every": max(1, arguments.steps // 10),
        "checkpoint_every": max(1, min(1000, arguments.steps // 10)),
    }
    settings = TrainUnpairedSettings.model_validate(values)
    network, trainer = settings.chosen_network(), settings.chosen_trainer()
    changes = {} if arguments.rate is None else {"learning_rate": arguments.rate}
    if arguments.preset == "default":
        changes |= {"schedule": {"kind": "cosine", "steps": arguments.steps}}
    settings = TrainUnpairedSettings.model_validate(
        {
            **values,
            "network": {**network.model_dump(), "width": arguments.width or network.width},
            "trainer": {**trainer.model_dump(), **changes},
        }
    )
    repnet, baseline = out / "repnet", out / "supervised"
    executor = InProcessExecutor()
    run_train_unpaired(settings, RunContext(str(repnet), executor, arguments.seed, _Printed()))
    supervised = TrainSettings.model_validate(
        {
            "data": [pairs],
            "validation": [valid],
            "lifter": {"kind": "simple_baseline", "dropout": 0.0, "output_gain": 0.0},
            "trainer": {
                "loss": "l2",
                "learning_rate": 6e-4,
                "schedule": {"kind": "cosine", "steps": arguments.supervised_steps},
            },
            "batch_rows": 256,
            "steps": arguments.supervised_steps,
        }
    )
    run_train(supervised, RunContext(str(baseline), executor, arguments.seed, _Printed()))
    return repnet, baseline


def measure(
    dataset: Path, repnet: Path, baseline: Path, step: int
) -> tuple[dict[Row, list[float]], dict[Row, CameraErrors]]:
    """Errors (baseline P2, RepNet P2, RepNet with reflections) and cameras of every row, of every `step`-th pose."""
    url = str(dataset)
    table = load_table([PairsSource(url=url, parts=("source_valid", "target_*"))])
    table = table.take(np.arange(0, len(table), step))
    context = RunContext(str(repnet), InProcessExecutor())
    errors: dict[Row, list[float]] = {}
    for folder, protocols in ((baseline, (PROTOCOL,)), (repnet, (PROTOCOL, REFLECTED))):
        lifter = load_trained_lifter(str(folder / LIFTER_FILE))
        for row in evaluate_table(lifter, table, protocols, False, context):
            name = "pa_mpjpe_mm" if row.result.protocol == PROTOCOL else "pa_mpjpe_reflection_mm"
            errors.setdefault((row.part, row.rig), []).append(float(row.result.metrics[name]))
    judge = import_judge(read_checkpoint(str(repnet / CRITIC_FILE)), str(repnet / CRITIC_FILE))
    pairs = Dataset.open(url).read_pairs()
    part, rig = pairs.extra["part"].astype(str), pairs.extra["rig"].astype(str)
    cameras: dict[Row, CameraErrors] = {}
    for row in errors:
        rows = np.flatnonzero((part == row[0]) & (rig == row[1]))[::step]
        cameras[row] = camera_errors(judge, pairs.take(rows))
    return errors, cameras


def report(
    errors: dict[Row, list[float]], cameras: dict[Row, CameraErrors], arguments: argparse.Namespace
) -> str:
    """Both tables in Markdown."""
    lines = [
        f"RepNet, preset {arguments.preset}, width {arguments.width or 'of the preset'}: {arguments.steps:,} steps of"
        f" {arguments.batch_rows}, the 3D of `source_train` and the 2D of `{arguments.keypoints}`, no pair; the last"
        f" step's weights. SimpleBaseline: the pairs of `source_train`, {arguments.supervised_steps:,} steps of 256,"
        f" chosen on `source_valid`. Seed {arguments.seed}.",
        "",
        f"PA-MPJPE in mm ({PROTOCOL}); the last column is another measure ({REFLECTED}: reflections allowed) and is"
        " lower by definition.",
        "",
        "| test | SimpleBaseline, pairs | RepNet, no pairs | RepNet, reflections allowed |",
        "|---|---|---|---|",
    ]
    ordered = [row for row in ROWS if row in errors]
    for row in ordered:
        values = " | ".join(f"{value:.1f}" for value in errors[row])
        lines.append(f"| {_name(row, arguments.keypoints)} | {values} |")
    lines += [
        "",
        "RepNet's cameras against the true ones. The last column is the best weak-perspective camera for the true 3D.",
        "",
        "| test | rotation error, mean (median) | scale error, mean (median) | rotation error of the best |",
        "|---|---|---|---|",
    ]
    for row in ordered:
        found = cameras[row]
        lines.append(
            f"| {_name(row, arguments.keypoints)} | {found.rotation_deg.mean():.1f}° "
            f"({np.median(found.rotation_deg):.1f}°) | {found.scale_percent.mean():.1f} % "
            f"({np.median(found.scale_percent):.1f} %) | {found.best_rotation_deg.mean():.1f}° |"
        )
    return "\n".join(lines)


def _name(row: Row, keypoints: str) -> str:
    seen = " (its 2D was seen)" if row == (keypoints, PLAIN) else ""
    return f"{row[0]}{', 3DHP-like cameras' if row[1] == HARD_VIEWS else ''}{seen}"


def main() -> None:
    """Train (or find trained), measure, print; with `--write` put the tables into docs/results_repnet.md too."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path, help="a dataset with the parts of split.json")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/repnet_results"), help="where both are trained"
    )
    parser.add_argument("--keypoints", default="target_subject", help="the part whose 2D is learned from")
    parser.add_argument("--preset", default="default", choices=["default", "code", "paper"])
    parser.add_argument("--steps", type=int, default=60_000)
    parser.add_argument("--batch-rows", type=int, default=64)
    parser.add_argument("--width", type=int, help="of RepNet's hidden layers, if not the preset's")
    parser.add_argument("--rate", type=float, help="first learning rate, if not the preset's")
    parser.add_argument("--supervised-steps", type=int, default=3200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--every", type=int, default=1, help="measure every n-th pose")
    parser.add_argument("--write", action="store_true", help="write the tables into docs/results_repnet.md")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    repnet, baseline = train_both(arguments)
    text = report(*measure(arguments.dataset, repnet, baseline, arguments.every), arguments)
    print(text)
    if arguments.write:
        write_below(DOCUMENT, MARK, text)


if __name__ == "__main__":
    main()
