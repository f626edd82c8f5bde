"""The crew as Ray actors: every augmentor and the trainer in a process (and on a GPU) of its own.

Actors are not restarted by Ray: a member that dies takes the round with it, and the driver raises a new crew from the
last checkpoint, so that a loss never leaves the members at different rounds.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray
import torch
from ray.exceptions import (
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayActorError,
    RayTaskError,
    WorkerCrashedError,
)

from pipelines.closed_loop.augmentors import LoopAugmentor
from pipelines.closed_loop.checkpoint import LoopState, MemberState
from pipelines.closed_loop.crew import AUGMENTOR_NAME, TRAINER_NAME, UNPAIRED_NAME, name_complaints
from pipelines.closed_loop.errors import CrewLostError
from pipelines.closed_loop.trainer_worker import TrainerWorker
from pipelines.closed_loop.unpaired_member import RepNetMember, RepNetWeights
from pipelines.executor import WorkerResources
from pipelines.node_labels import require_node
from pipelines.ray_session import node_resources, placement_error, total_resources, workers_that_fit

_LOST = (RayActorError, WorkerCrashedError, NodeDiedError, ObjectLostError, OutOfMemoryError)
"""A member, its node, or what it had made is gone; `RayActorError` covers actors that died or cannot be reached."""
_POOL = "closed loop"
_LABELLED_ROOM_S = 60.0
"""How long a trainer that is bound to labelled nodes may wait for room on them, at least."""


class _Member:
    """Builds its member where it runs, with few torch threads, and passes calls on.

    It is built in a call of its own and not in the constructor: Ray takes an error there for the actor's death.
    """

    _member: Any

    def setup(self, build: Callable[[], Any], torch_threads: int) -> None:
        torch.set_num_threads(torch_threads)
        self._member = build()

    def ping(self) -> None:
        """Answers as soon as the actor has a place."""

    def state(self) -> MemberState:
        return self._member.state()

    def load_state(self, state: MemberState) -> None:
        self._member.load_state(state)


class _AugmentorActor(_Member):
    _member: LoopAugmentor

    def produce(self, round_index: int, first_batch: int, n_batches: int, weights: Any) -> Any:
        return self._member.produce(round_index, first_batch, n_batches, weights)

    def complaints(self) -> tuple[str, ...]:
        return self._member.complaints()


class _TrainerActor(_Member):
    """Chunks arrive as arguments that Ray has resolved."""

    _member: TrainerWorker

    def consume(self, round_index: int, share: float, *chunks: Any) -> tuple[Any, Any]:
        return self._member.consume(round_index, list(chunks), share)

    def pretrain(self, round_index: int) -> Any:
        return self._member.pretrain(round_index)

    def weights(self) -> Any:
        return self._member.weights()

    def wants_supervision(self) -> bool:
        return self._member.wants_supervision

    def hear(self, weights: RepNetWeights, rounds_learned: int) -> None:
        self._member.hear(weights, rounds_learned)


class _UnpairedActor(_Member):
    _member: RepNetMember

    def learn(self, *chunks: Any) -> dict[str, float]:
        return self._member.learn(list(chunks))

    def weights(self) -> RepNetWeights:
        return self._member.weights()


class RayCrew:
    """Augmentor and trainer actors; handles are object references.

    Args:
        build_augmentors: Build one augmentor each, where its actor runs.
        build_trainer: Builds the trainer, where its actor runs.
        resources: What each member needs.
        wait_for_nodes_s: Above 0, nodes may come and go (an autoscaler's): all members are asked for at once, and wait
            so long for a node. At 0 the members must fit on the nodes that there are.
        trainer_labels: Labels of the node for the trainer; keeps it off spot nodes.
        build_unpaired: Builds RepNet, where its actor runs; None in a loop without unpaired data.

    Raises:
        PoolError: if the members cannot be placed.
        CrewLostError: if one dies while it is built; what a builder itself raises comes as it is.
    """

    def __init__(
        self,
        build_augmentors: Sequence[Callable[[], LoopAugmentor]],
        build_trainer: Callable[[], TrainerWorker],
        resources: WorkerResources,
        wait_for_nodes_s: float = 0.0,
        trainer_labels: Mapping[str, str] | None = None,
        build_unpaired: Callable[[], RepNetMember | None] | None = None,
    ) -> None:
        unpaired_builds = [] if build_unpaired is None else [build_unpaired]
        builds = [build_trainer, *build_augmentors, *unpaired_builds]
        members = len(builds)
        labels = dict(trainer_labels or {})
        if wait_for_nodes_s == 0:
            if labels:
                require_node(f"{_POOL}, trainer", labels, ray.nodes())
            wait_for_room(members, resources)
        options = {
            "num_cpus": resources.num_cpus,
            "num_gpus": resources.num_gpus,
            "max_restarts": 0,
            "max_task_retries": 0,
        }
        augmentor_class: Any = ray.remote(_AugmentorActor)
        trainer_class: Any = ray.remote(_TrainerActor)
        self._augmentors: list[Any] = [augmentor_class.options(**options).remote() for _ in build_augmentors]
        self._trainer: Any = trainer_class.options(**options, label_selector=labels or None).remote()
        unpaired_class: Any = ray.remote(_UnpairedActor)
        self._unpaired: list[Any] = [unpaired_class.options(**options).remote() for _ in unpaired_builds]
        self._supervises = False
        try:
            if wait_for_nodes_s > 0 or labels:  # a node with the labels may have no room for the trainer
                room_s = _LABELLED_ROOM_S if labels else 0.0
                self._wait_for_nodes(resources, max(wait_for_nodes_s, room_s))
            self._get_all(
                [
                    member.setup.remote(build, resources.torch_threads)
                    for member, build in zip(self._members, builds, strict=True)
                ]
            )
            if self._unpaired:
                self._supervises = self.get(self._trainer.wants_supervision.remote())
        except BaseException:
            self.close()
            raise

    @property
    def _members(self) -> list[Any]:
        return [self._trainer, *self._augmentors, *self._unpaired]

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

    def learn_unpaired(self, chunks: list[Any]) -> Any:
        return self._unpaired[0].learn.remote(*chunks) if self._unpaired else None

    def supervise(self, rounds_learned: int) -> None:
        if self._supervises:
            self.get(self._trainer.hear.remote(self._unpaired[0].weights.remote(), rounds_learned))

    def ready(self, handles: list[Any]) -> Any:
        done, _ = ray.wait(handles, num_returns=1, fetch_local=False)
        return done[0]

    def get(self, handle: Any) -> Any:
        """See `Crew.get`. What a member raised is raised here, with the member's traceback as its cause."""
        try:
            return ray.get(handle)
        except RayTaskError as error:
            origin = _origin(error)
            if isinstance(origin, _LOST):
                raise CrewLostError(f"a member of the loop was lost: {_one_line(origin)}") from error
            raise origin from error
        except _LOST as error:
            raise CrewLostError(f"a member of the loop was lost: {_one_line(error)}") from error

    def complaints(self) -> tuple[str, ...]:
        return name_complaints(self._get_all([member.complaints.remote() for member in self._augmentors]))

    def state(self, rounds_done: int) -> LoopState:
        states = self._get_all([member.state.remote() for member in self._members])
        return LoopState(rounds_done, dict(zip(self._names(), states, strict=True)))

    def load_state(self, state: LoopState) -> None:
        self._get_all(
            [
                member.load_state.remote(state.members[name])
                for name, member in zip(self._names(), self._members, strict=True)
            ]
        )

    def close(self) -> None:
        """Kill the actors, so that their resources are free for the next stage."""
        if ray.is_initialized():
            for member in self._members:
                ray.kill(member, no_restart=True)

    def _wait_for_nodes(self, resources: WorkerResources, wait_for_nodes_s: float) -> None:
        """Wait until every member runs somewhere; that they are asked for is what makes an autoscaler add nodes."""
        calls = [member.ping.remote() for member in self._members]
        _, homeless = ray.wait(calls, num_returns=len(calls), timeout=wait_for_nodes_s, fetch_local=False)
        if homeless:
            raise placement_error(_POOL, len(calls), len(calls), resources, *node_resources())
        self._get_all(calls)

    def _names(self) -> list[str]:
        augmentors = (AUGMENTOR_NAME.format(index=index) for index in range(self.n_augmentors))
        return [TRAINER_NAME, *augmentors, *(UNPAIRED_NAME for _ in self._unpaired)]

    def _get_all(self, handles: list[Any]) -> list[Any]:
        return [self.get(handle) for handle in handles]


def _origin(error: RayTaskError) -> BaseException:
    """What went wrong in the first place: an error travels on through the calls that waited for its result."""
    origin: BaseException = error
    while isinstance(origin, RayTaskError) and isinstance(origin.cause, BaseException):
        origin = origin.cause
    return origin


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def wait_for_room(members: int, resources: WorkerResources, patience_s: float = 15.0) -> None:
    """Wait until other pools (or a lost crew) have given back what all members need: a loop cannot begin with fewer.

    Raises:
        PoolError: at once if the nodes are too small, else if there is still no room after `patience_s`.
    """
    started_s = time.monotonic()
    while True:
        nodes, available = node_resources()
        if workers_that_fit(resources, nodes, available) >= members:
            return
        possible = workers_that_fit(resources, nodes, total_resources(nodes)) >= members
        if not possible or time.monotonic() - started_s >= patience_s:
            raise placement_error(_POOL, members, members, resources, nodes, available)
        time.sleep(0.1)
