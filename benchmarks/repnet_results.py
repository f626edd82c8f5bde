"""RepNet without any 2D-3D pair, beside the supervised SimpleBaseline; its cameras against the true ones:
`python -m benchmarks.repnet_results DATASET_DIR [--out DIR] [--steps N] [--also code] [--write]`.

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
from estimators.lifters.repnet.settings import PresetName, repnet_preset
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
SUPERVISED_ROWS = 128
Row = tuple[str, str]


@dataclass(frozen=True)
class CameraErrors:
    """Of the cameras of many poses.

    Attributes:
        rotation_deg: Angle between the camera network's rotation and the true one, body frame to camera.
        scale_percent: |s / s_true - 1|, s_true = f / (mean depth) in the normalised image.
        is_flipped: Whether the camera with its third column negated, which makes the same image of the pose
            mirrored in depth, is nearer to the true one.
        best_rotation_deg: The angle of the weak-perspective camera fitted to the true 3D and 2D: what is left is
            perspective, which such a camera cannot tell from a turn.
    """

    rotation_deg: np.ndarray
    scale_percent: np.ndarray
    is_flipped: np.ndarray
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
    rotation_deg = _angle_deg(parts.rotation, true_rotation)
    flipped_deg = _angle_deg(camera_parts(found * torch.tensor([1.0, 1.0, -1.0])).rotation, true_rotation)
    return CameraErrors(
        rotation_deg,
        (100 * (scale - 1).abs()).numpy(),
        flipped_deg < rotation_deg,
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


def train_all(arguments: argparse.Namespace) -> tuple[Path, dict[str, Path]]:
    """Folders of the supervised baseline and of RepNet by preset, trained or found trained."""
    data, out, executor = str(arguments.dataset), arguments.out, InProcessExecutor()
    pairs = {"url": data, "parts": ["source_train"], "rigs": [PLAIN]}
    valid = {"url": data, "parts": ["source_valid"], "rigs": [PLAIN]}
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
            "batch_rows": SUPERVISED_ROWS,
            "steps": arguments.supervised_steps,
        }
    )
    baseline = arguments.supervised or out / "supervised"
    if arguments.supervised is None:
        run_train(supervised, RunContext(str(baseline), executor, arguments.seed, _Printed()))
    unpaired = {
        "poses": [pairs],
        "keypoints": [{**pairs, "parts": [arguments.keypoints]}],
        "validation": [valid],
    }
    folders: dict[str, Path] = {}
    for preset, steps in runs(arguments).items():
        folders[preset] = out / f"repnet_{preset}"
        settings = unpaired_settings(preset, steps, unpaired, arguments)
        run_train_unpaired(settings, RunContext(str(folders[preset]), executor, arguments.seed, _Printed()))
    return baseline, folders


def runs(arguments: argparse.Namespace) -> dict[PresetName, int]:
    """Steps of RepNet by preset."""
    also = {} if arguments.also is None else {arguments.also: arguments.also_steps or arguments.steps}
    return {arguments.preset: arguments.steps, **also}


def unpaired_settings(
    preset: PresetName, steps: int, data: dict[str, Any], arguments: argparse.Namespace
) -> TrainUnpairedSettings:
    """How a preset is trained: its networks and losses, at one rate with a cosine over the steps.

    The published schedules are for a million steps; squeezed into a few thousand they leave `code` where it began.
    """
    chosen = repnet_preset(preset)
    changes = {"learning_rate": arguments.rate, "schedule": {"kind": "cosine", "steps": steps}}
    return TrainUnpairedSettings.model_validate(
        {
            **data,
            "preset": preset,
            "network": {**chosen.network.model_dump(), "width": arguments.width or chosen.network.width},
            "trainer": {**chosen.trainer.model_dump(), **changes},
            "batch_rows": arguments.batch_rows,
            "steps": steps,
            "validate_every": max(1, steps // 10),
            "checkpoint_every": max(1, min(1000, steps // 10)),
        }
    )


def measure(
    dataset: Path, baseline: Path, repnets: dict[str, Path], step: int
) -> tuple[dict[Row, list[float]], dict[str, dict[Row, CameraErrors]]]:
    """Errors and cameras of every row, of every `step`-th pose.

    Returns:
        Errors of the baseline, then of each RepNet its error and that with reflections; cameras by preset.
    """
    url = str(dataset)
    table = load_table([PairsSource(url=url, parts=("source_valid", "target_*"))])
    table = table.take(np.arange(0, len(table), step))
    context = RunContext(str(baseline), InProcessExecutor())
    errors: dict[Row, list[float]] = {}
    wanted = [(baseline, (PROTOCOL,)), *((folder, (PROTOCOL, REFLECTED)) for folder in repnets.values())]
    for folder, protocols in wanted:
        lifter = load_trained_lifter(str(folder / LIFTER_FILE))
        found = evaluate_table(lifter, table, protocols, False, context)
        for protocol in protocols:
            name = "pa_mpjpe_mm" if protocol == PROTOCOL else "pa_mpjpe_reflection_mm"
            for row in found:
                if row.result.protocol == protocol:
                    errors.setdefault((row.part, row.rig), []).append(float(row.result.metrics[name]))
    pairs = Dataset.open(url).read_pairs()
    part, rig = pairs.extra["part"].astype(str), pairs.extra["rig"].astype(str)
    cameras: dict[str, dict[Row, CameraErrors]] = {}
    for preset, folder in repnets.items():
        judge = import_judge(read_checkpoint(str(folder / CRITIC_FILE)), str(folder / CRITIC_FILE))
        cameras[preset] = {
            row: camera_errors(judge, pairs.take(np.flatnonzero((part == row[0]) & (rig == row[1]))[::step]))
            for row in errors
        }
    return errors, cameras


def report(
    errors: dict[Row, list[float]], cameras: dict[str, dict[Row, CameraErrors]], arguments: argparse.Namespace
) -> str:
    """The table of errors and one of cameras for each preset, in Markdown."""
    lengths = ", ".join(f"`{preset}` {steps:,} steps" for preset, steps in runs(arguments).items())
    ordered = [row for row in ROWS if row in errors]
    heads = ["test", "SimpleBaseline, pairs"]
    for preset in cameras:
        heads += [f"RepNet `{preset}`, no pairs", f"`{preset}`, reflections allowed"]
    lines = [
        f"RepNet by preset, hidden layers of {arguments.width or 'the preset'}: {lengths} of {arguments.batch_rows}"
        f" poses, rate {arguments.rate:g} with a cosine; the 3D of `source_train` and the 2D of"
        f" `{arguments.keypoints}`, no pair of theirs; the last step's"
        f" weights. SimpleBaseline: {_of_baseline(arguments)}. Seed {arguments.seed}; measured on every"
        f" {_ordinal(arguments.every)}pose.",
        "",
        f"PA-MPJPE in mm ({PROTOCOL}); where reflections are allowed it is another measure ({REFLECTED}), lower by"
        " definition.",
        "",
        *_table_head(heads),
    ]
    lines += [
        _table_line(_name(row, arguments.keypoints), *(f"{value:.1f}" for value in errors[row]))
        for row in ordered
    ]
    for preset, of_rows in cameras.items():
        lines += [
            "",
            f"Cameras of RepNet `{preset}` against the true ones. Flipped: nearer to the truth with its depth turned"
            " around. The last column is the best weak-perspective camera for the true 3D.",
            "",
            *_table_head(
                ["test", "rotation error, mean (median)", "flipped", "scale error, mean (median)", "best"]
            ),
        ]
        lines += [_camera_line(_name(row, arguments.keypoints), of_rows[row]) for row in ordered]
    return "\n".join(lines)


def _of_baseline(arguments: argparse.Namespace) -> str:
    if arguments.supervised is not None:
        return f"trained before (`{'/'.join(arguments.supervised.parts[-2:])}`)"
    return (
        f"the pairs of `source_train`, {arguments.supervised_steps:,} steps of {SUPERVISED_ROWS}, chosen on"
        " `source_valid`"
    )


def _camera_line(name: str, found: CameraErrors) -> str:
    turn, scale = found.rotation_deg, found.scale_percent
    return _table_line(
        name,
        f"{turn.mean():.1f}° ({np.median(turn):.1f}°)",
        f"{100 * found.is_flipped.mean():.1f} %",
        f"{scale.mean():.1f} % ({np.median(scale):.1f} %)",
        f"{found.best_rotation_deg.mean():.1f}°",
    )


def _table_head(names: list[str]) -> list[str]:
    return [_table_line(*names), "|" + "---|" * len(names)]


def _table_line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _ordinal(every: int) -> str:
    return "" if every == 1 else f"{every}th "


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
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--also", choices=["default", "code", "paper"], help="a second preset beside it")
    parser.add_argument("--also-steps", type=int, help="of the second preset, if not as many")
    parser.add_argument("--batch-rows", type=int, default=64)
    parser.add_argument("--width", type=int, help="of RepNet's hidden layers, if not the preset's")
    parser.add_argument("--rate", type=float, default=1e-3, help="first learning rate, of every preset")
    parser.add_argument(
        "--supervised", type=Path, help="folder of a SimpleBaseline trained before; else it is"
    )
    parser.add_argument("--supervised-steps", type=int, default=3200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--every", type=int, default=1, help="measure every n-th pose")
    parser.add_argument("--write", action="store_true", help="write the tables into docs/results_repnet.md")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    text = report(*measure(arguments.dataset, *train_all(arguments), arguments.every), arguments)
    print(text)
    if arguments.write:
        write_below(DOCUMENT, MARK, text)


if __name__ == "__main__":
    main()
