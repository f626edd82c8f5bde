"""A training run as several processes of Ray Train: replicas that share every batch and average their gradients.

Ray Train starts the processes, gives them a process group (NCCL where every worker has a whole GPU, else gloo), and
starts them anew when one is lost; they go on from our last checkpoint, so that a lost worker costs the steps since then
and changes no number. Our checkpoints are the only ones: what Ray Train keeps of its own is removed at the end.

The first replica reports to a board, an actor that the driver reads; an error that would come again (settings, data,
numbers that are no longer finite) is pinned there, and ends the run instead of being tried again.
"""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from estimators.data_parallel import Replicas
from pipelines.closed_loop.ray_crew import wait_for_room
from pipelines.context import RunContext
from pipelines.errors import PoolError
from pipelines.executor import WorkerResources
from pipelines.in_process import InProcessExecutor
from pipelines.node_labels import require_node
from pipelines.progress import Progress
from pipelines.ray_pool import RayPoolExecutor
from pipelines.ray_session import RaySettings, connect, disconnect, environment
from pipelines.train_settings import TrainSettings
from pipelines.training_run import TrainResult, train_here
from poses.errors import PosemillError
from storage.object_store import open_store

_TELL_EVERY_S = 0.5
_NAME = "train workers"
_RAY_TRAIN = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths stay those of the recipe
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "1",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "300",  # a loaded machine imports torch slowly
}
"""What Ray Train reads from the environment of the driver."""


class Board:
    """What the replicas tell the driver; hosted by an actor."""

    def __init__(self) -> None:
        self._told: list[tuple[str, tuple[Any, ...]]] = []
        self._error: PosemillError | None = None
        self._result: TrainResult | None = None

    def tell(self, what: str, arguments: tuple[Any, ...]) -> None:
        """A call on the driver's progress."""
        self._told.append((what, arguments))

    def take(self) -> list[tuple[str, tuple[Any, ...]]]:
        """The calls since the last time."""
        told, self._told = self._told, []
        return told

    def pin(self, error: PosemillError) -> None:
        """An error that another attempt would meet again; the first one stays."""
        self._error = self._error or error

    def pinned(self) -> PosemillError | None:
        """That error, if there is one."""
        return self._error

    def finish(self, result: TrainResult) -> None:
        """The run is done."""
        self._result = result

    def result(self) -> TrainResult | None:
        """What it left; None while it is not done."""
        return self._result


class BoardProgress:
    """A progress that tells the board; steps are told in portions."""

    def __init__(self, board: Any) -> None:
        self._board = board
        self._steps: dict[str, int] = {}
        self._told_s = time.monotonic()

    def start(self, task: str, total: int | None, unit: str = "units", done: int = 0) -> None:
        self._board.tell.remote("start", (task, total, unit, done))

    def advance(self, task: str, amount: int = 1) -> None:
        self._steps[task] = self._steps.get(task, 0) + amount
        if time.monotonic() - self._told_s > _TELL_EVERY_S:
            self._tell_steps()

    def finish(self, task: str) -> None:
        self._tell_steps()
        self._board.tell.remote("finish", (task,))

    def log(self, message: str) -> None:
        self._tell_steps()
        self._board.tell.remote("log", (message,))

    def _tell_steps(self) -> None:
        for task, amount in self._steps.items():
            self._board.tell.remote("advance", (task, amount))
        self._steps.clear()
        self._told_s = time.monotonic()


@dataclass(frozen=True)
class ReplicaJob:
    """What every replica gets."""

    settings: TrainSettings
    run_id: str
    out_url: str
    seed: int
    torch_threads: int
    board: Any


def train_replica(job: ReplicaJob) -> None:
    """What a worker of Ray Train runs: its share of the training, from the last checkpoint on."""
    import ray
    import ray.train
    import ray.train.torch

    if _asked(job.board.pinned) is not None:
        return
    torch.set_num_threads(job.torch_threads)
    settings = job.settings
    if settings.gpus_per_worker:
        device = ray.train.torch.get_device()
        torch.cuda.set_device(device)
        settings = settings.model_copy(update={"device": str(device)})
    context = RunContext(job.out_url, InProcessExecutor(), job.seed, BoardProgress(job.board))
    replicas = Replicas()
    try:
        result = train_here(settings, job.run_id, context, replicas, ray.train.report)
    except PosemillError as error:
        if not isinstance(error, OSError):  # a store may answer again
            ray.get(job.board.pin.remote(error))
        raise
    if replicas.rank == 0:
        ray.get(job.board.finish.remote(result))


def train_on_ray(
    settings: TrainSettings,
    run_id: str,
    context: RunContext,
    replica: Callable[[ReplicaJob], None] = train_replica,
) -> TrainResult:
    """Train with `settings.workers` processes, on the executor's Ray or on a private one on this machine.

    Args:
        settings: Of the job.
        run_id: Of its plan.
        context: Where to write and whom to tell.
        replica: What every worker runs; tests put their own around it.

    Raises:
        PoolError: if the workers cannot be placed, or more of them were lost than `max_failures` allows.
        PosemillError: whatever the run itself found wrong.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    with _ray(context):
        resources = _resources(settings)
        if _wait_for_nodes_s(context) == 0:
            if settings.worker_labels:
                require_node(_NAME, settings.worker_labels, ray.nodes())
            wait_for_room(settings.workers, resources)
        beside_driver = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        board: Any = ray.remote(Board).options(num_cpus=0, scheduling_strategy=beside_driver).remote()
        job = ReplicaJob(settings, run_id, context.out_url, context.seed, resources.torch_threads, board)
        with _relayed(board, context.progress):
            failure = _fit(settings, run_id, context, partial(replica, job))
        pinned: PosemillError | None = _asked(board.pinned)
        if pinned is not None:
            raise pinned
        result: TrainResult | None = _asked(board.result)
    if result is None:
        raise PoolError(
            f"{_NAME}: {failure or 'they ended without a result'}; more losses than max_failures = "
            f"{settings.max_failures} allows. Run the same again to go on from the last checkpoint"
        )
    return result


def _asked(method: Any) -> Any:
    """What the board answers."""
    import ray

    return ray.get(method.remote())


def _fit(
    settings: TrainSettings, run_id: str, context: RunContext, replica: Callable[[], None]
) -> Exception | None:
    """Run Ray Train to its end; the error that it gave up with."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchConfig, TorchTrainer

    store = open_store(context.out_url)
    folder = f"runs/{run_id}/ray_train"
    per_worker = {"CPU": settings.cpus_per_worker, "GPU": settings.gpus_per_worker}
    with environment(_RAY_TRAIN):
        trainer = TorchTrainer(
            replica,
            torch_config=TorchConfig(backend="nccl" if settings.gpus_per_worker >= 1 else "gloo"),
            scaling_config=ScalingConfig(
                num_workers=settings.workers,
                use_gpu=settings.gpus_per_worker > 0,
                resources_per_worker={name: amount for name, amount in per_worker.items() if amount},
                label_selector=dict(settings.worker_labels) or None,
            ),
            run_config=RunConfig(
                name=uuid.uuid4().hex,
                storage_path=store.arrow_path(folder),
                storage_filesystem=store.arrow_filesystem(),
                failure_config=FailureConfig(max_failures=settings.max_failures),
            ),
        )
        try:
            trainer.fit()
        except TrainingFailedError as error:
            return error
        finally:
            store.delete_tree(folder)
    return None


def _resources(settings: TrainSettings) -> WorkerResources:
    return WorkerResources(num_cpus=settings.cpus_per_worker, num_gpus=settings.gpus_per_worker)


def _wait_for_nodes_s(context: RunContext) -> float:
    executor = context.executor
    return executor.settings.wait_for_nodes_s if isinstance(executor, RayPoolExecutor) else 0.0


@contextmanager
def _ray(context: RunContext) -> Iterator[None]:
    """The executor's Ray, or one for this run."""
    if isinstance(context.executor, RayPoolExecutor):
        context.executor.connect()
        yield
        return
    connected_here = connect(RaySettings())
    try:
        yield
    finally:
        if connected_here:
            disconnect()


@contextmanager
def _relayed(board: Any, progress: Progress) -> Iterator[None]:
    """Passes what the board is told on to the progress, from one thread, until the end."""
    import ray

    ended = threading.Event()

    def relay() -> None:
        while True:
            last = ended.wait(_TELL_EVERY_S)
            for what, arguments in ray.get(board.take.remote()):
                getattr(progress, what)(*arguments)
            if last:
                return

    thread = threading.Thread(target=relay, name="posemill-train-board", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
