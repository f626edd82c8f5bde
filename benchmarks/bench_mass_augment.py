"""Mass augmentation end to end, beside the augmentor's frozen generator alone on the same poses.

End to end is the job as a user runs it: plan, read, draw noise, generate, project, filter, write Parquet, digest,
commit, publish. The generator alone gets the same poses in the same portions, with its noise drawn before. Both have
one torch thread; the job's writer has a thread of its own, which wants a second core. The figures are taken in turns,
and the fastest of each counts. The second row counts processor time of all threads instead of the clock's: what is left
of the generator's rate on a single core, and a figure that other processes on the machine disturb less.
"""

import tempfile
import time
from pathlib import Path

import torch

from augment.poseaug.frozen_generator import FrozenGenerator
from augment.poseaug.generator import HEADS, PoseAugGenerator
from augment.poseaug.learner import PoseAugLearner
from augment.poseaug.settings import poseaug_preset
from augment.poseaug.trained import export_augmentor
from benchmarks.row import BenchmarkRow, rate_row
from benchmarks.source import source_pairs, write_dataset
from estimators.checkpoints import checkpoint_to_bytes
from pipelines.augmentors import TrainedAugmentorSettings
from pipelines.context import RunContext
from pipelines.in_process import InProcessExecutor
from pipelines.mass_augment import AugmentSettings, run_augment
from poses.batch import PoseBatch

ROWS = 65_536
COPIES = 2
REPEATS = 2


def measure() -> list[BenchmarkRow]:
    """Poses a second, end to end and of the generator alone, by the clock and by processor time."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    pairs = source_pairs(ROWS)
    learner = PoseAugLearner(poseaug_preset("default"), pairs.skeleton, seed=1)
    _stand_before_the_camera(learner.generator)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_dataset(folder / "source", pairs)
        checkpoint = folder / "augmentor.safetensors"
        checkpoint.write_bytes(checkpoint_to_bytes(*export_augmentor(learner)))
        settings = AugmentSettings(
            source=str(folder / "source"),
            augmentor=TrainedAugmentorSettings(kind="poseaug", checkpoint=str(checkpoint)),
            copies=COPIES,
            device=device,
        )
        jobs: list[_Seconds] = []
        alone: list[_Seconds] = []
        kept = 0
        for repeat in range(REPEATS):
            alone.append(_seconds_of_generator(learner.generator, pairs, settings.micro_rows, device))
            context = RunContext(str(folder / f"out{repeat}"), InProcessExecutor(), seed=1)
            watch = _Stopwatch()
            kept = run_augment(settings, context).n_pairs
            jobs.append(watch.seconds())
    size = f"{ROWS * COPIES:,} poses, {kept / (ROWS * COPIES):.0%} of them kept and written"
    rates = [ROWS * COPIES / min(taken) for taken in zip(*jobs, strict=True)]
    limits = [ROWS / min(taken) for taken in zip(*alone, strict=True)]
    limit_name = "frozen generator alone"
    rows = [
        rate_row(f"mass augmentation ({size})", rates[0], "poses/s", limits[0], limit_name, goal=0.7),
        rate_row("the same by processor time of all threads", rates[1], "poses/s", limits[1], limit_name),
    ]
    return rows if device == "cpu" else rows[:1]


_Seconds = tuple[float, float]
"""By the clock, and processor time of all threads."""


class _Stopwatch:
    def __init__(self) -> None:
        self._started_s = (time.perf_counter(), time.process_time())

    def seconds(self) -> _Seconds:
        return time.perf_counter() - self._started_s[0], time.process_time() - self._started_s[1]


def _stand_before_the_camera(generator: PoseAugGenerator) -> None:
    """Make an untrained generator's poses usable: small changes, about five metres before the camera.

    The cost of a pose does not depend on it; an untrained generator's poses would mostly be refused and not written.
    """
    motion = generator.rigid_motion
    with torch.no_grad():
        for head in (generator.bone_angle.head, generator.bone_length.head, motion.rotation_head):
            head.output.weight *= 0.02
            head.output.bias.zero_()
        motion.translation_head.output.weight *= 0.02
        motion.translation_head.output.bias.copy_(torch.tensor([0.0, 0.0, 5.0**0.5]))


def _seconds_of_generator(
    generator: PoseAugGenerator, pairs: PoseBatch, micro_rows: int, device: str
) -> _Seconds:
    frozen = FrozenGenerator(generator.to(device).eval())
    joints = torch.from_numpy(pairs.joints_camera_m).to(device)
    noise = torch.randn(len(pairs), len(HEADS), generator.settings.noise_size, device=device)
    portions = list(zip(joints.split(micro_rows), noise.split(micro_rows), strict=True))
    frozen(*portions[0])
    if device == "cuda":
        torch.cuda.synchronize()
    watch = _Stopwatch()
    for portion in portions:
        frozen(*portion)
    if device == "cuda":
        torch.cuda.synchronize()
    return watch.seconds()
