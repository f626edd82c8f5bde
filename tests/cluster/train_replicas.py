"""What workers of Ray Train run in tests, where they can import it."""

import os
import signal
from pathlib import Path
from typing import Any

import ray.train

from estimators.lifters.training.trainer import LifterTrainer
from pipelines.train_on_ray import ReplicaJob, train_replica

DIES_AT = 6


def dies_once(job: ReplicaJob) -> None:
    """The second worker is SIGKILLed in mid-epoch, at its first attempt; an attempt leaves a mark."""
    mark = Path(job.out_url) / "died"
    second = ray.train.get_context().get_world_rank() == 1
    step = LifterTrainer.step

    def dying(self: Any, *arguments: Any) -> float:
        if self.steps == DIES_AT and second and not mark.exists():
            mark.write_text("")
            os.kill(os.getpid(), signal.SIGKILL)
        return step(self, *arguments)

    LifterTrainer.step = dying  # pyright: ignore[reportAttributeAccessIssue]
    train_replica(job)
