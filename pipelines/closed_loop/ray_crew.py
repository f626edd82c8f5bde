"""The crew as Ray actors: every augmentor and the trainer in a process (and on a GPU) of its own.

Actors are not restarted by Ray: a member that dies takes the round with it, and the driver raises a new crew from the
last checkpoint, so that a loss never leaves the members at different rounds.
"""

from collections.abc import Callable
from typing import Any

import ray
import torch
from ray.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    RayActorError,
    RayTaskError,
    WorkerCrashedError,
)

from pipelines.closed_loop.augmentors import LoopAugmentor
from pipelines.closed_loop.checkpoint import LoopState, MemberState
from pipelines.closed_loop.crew import AUGMENTOR_NAME, TRAINER_NAME
from pipelines.closed_loop.errors import CrewLostError
from pipelines.closed_loop.trainer_worker import TrainerWorker

_LOST = (ActorDiedError, ActorUnavailableError, RayActorError, WorkerCrashedError)


class _AugmentorActor:
    """Builds its augmentor where it runs, with one torch thread, and passes calls on."""

    def __init__(self, build: Callable[[], LoopAugmentor], torch_threads: int) -> None:
        torch.set_num_threads(torch_threads)
        self._augmentor = build()

    def produce(self, round_index: int, first_batch: int, n_batches: int, weights: Any) -> Any:
        return self._augmentor.produce(round_index, first_batch, n_batches, weights)

    def state(self) -> MemberState:
        return self._augmentor.state()

    def load_state(self, state: MemberState) -> None:
        self._augmentor.load_state(state)


class _TrainerActor:
    """Builds its trainer where it runs and passes calls on; chunks arrive as arguments that Ray has resolved."""

    def __init__(self, build: Callable[[], TrainerWorker], torch_threads: int) -> None:
        torch.set_num_threads(torch_threads)
        self._trainer = build()

    def consume(self, round_index: int, share: float, *chunks: Any) -> tuple[Any, Any]:
        return self._trainer.consume(round_index, list(chunks), share)

    def pretrain(self, round_index: int) -> Any:
        return self._trainer.pretrain(round_index)

    def weights(self) -> Any:
        return self._trainer.weights()

    def state(self) -> MemberState:
        return self._trainer.state()

    def load_state(self, state: MemberState) -> None:
        self._trainer.load_state(state)


class RayCrew:
    """Augmentor and trainer actors; handles are object references."""

    def __init__(
        self,
        build_augmentors: list[Callable[[], LoopAugmentor]],
        build_trainer: Callable[[], TrainerWorker],
        augmentor_resources: dict[str, float],
        trainer_resources: dict[str, float],
        torch_threads: int = 1,
    ) -> None:
        augmentor_class = ray.remote(_AugmentorActor)
        trainer_class = ray.remote(_TrainerActor)
        fixed = {"max_restarts": 0, "max_task_retries": 0}
        self._augmentors = [
            augmentor_class.options(**fixed, **augmentor_resources).remote(build, torch_threads)
            for build in build_augmentors
        ]
        self._trainer = trainer_class.options(**fixed, **trainer_resources).remote(
            build_trainer, torch_threads
        )

    @property
    def n_augmentors(self) -> int:
        return len(self._augmentors)

    def produce(
        self, augmentor: int, round_index: int, first_batch: int, n_batches: int, weights: Any
    ) -> Any:
        return self._augmentors[augmentor].produce.remote(round_index, first_batch, n_batches, weights)

    def consume(self, round_index: int, chunks: list[Any], share: float) -> tuple[Any, Any]:
        report, weights = self._trainer.consume.options(num_returns=2).remote(round_index, share, *chunks)
        return report, weights

    def pretrain(self, round_index: int) -> Any:
        return self._trainer.pretrain.remote(round_index)

    def weights(self) -> Any:
        return self._trainer.weights.remote()

    def ready(self, handles: list[Any]) -> Any:
        done, _ = ray.wait(handles, num_returns=1)
        return done[0]

    def get(self, handle: Any) -> Any:
        try:
            return ray.get(handle)
        except RayTaskError as error:
            cause = error.cause
            if isinstance(cause, _LOST):
                raise CrewLostError(f"an actor of the loop died: {cause}") from error
            raise error.as_instanceof_cause() from error
        except _LOST as error:
            raise CrewLostError(f"an actor of the loop died: {error}") from error

    def state(self, rounds_done: int) -> LoopState:
        names = [TRAINER_NAME, *(AUGMENTOR_NAME.format(index=i) for i in range(self.n_augmentors))]
        handles = [member.state.remote() for member in [self._trainer, *self._augmentors]]
        return LoopState(
            rounds_done, {name: self.get(handle) for name, handle in zip(names, handles, strict=True)}
        )

    def load_state(self, state: LoopState) -> None:
        handles = [self._trainer.load_state.remote(state.members[TRAINER_NAME])]
        for index, augmentor in enumerate(self._augmentors):
            handles.append(augmentor.load_state.remote(state.members[AUGMENTOR_NAME.format(index=index)]))
        for handle in handles:
            self.get(handle)

    def close(self) -> None:
        """Kill the actors, so that their resources are free for the next stage."""
        for member in [self._trainer, *self._augmentors]:
            ray.kill(member)
