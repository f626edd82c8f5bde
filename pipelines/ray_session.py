"""Connecting to Ray, and saying in words why a pool cannot be placed instead of waiting for it."""

import logging
import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pipelines.errors import PoolError
from pipelines.executor import WorkerResources
from pipelines.node_labels import NodeOffer, labels_of, labels_text, labels_there, matches

_REPOSITORY = Path(__file__).resolve().parent.parent
_EPSILON = 1e-6


class RaySettings(BaseModel):
    """Which Ray to use. All of it is run-time knobs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: str | None = None
    """Of a running cluster ("auto", "ray://..."); None starts a private Ray on this machine and ends it afterwards."""
    num_cpus: int | None = Field(default=None, ge=1)
    """CPUs of a private Ray; None takes the machine's."""
    num_gpus: int | None = Field(default=None, ge=0)
    object_store_mb: int = Field(default=200, ge=80)
    """Of a private Ray. Paths travel, tensors stay in the actors, so little is needed."""
    runtime_env: dict[str, Any] = {}
    """Passed on to Ray for a running cluster, such as {"working_dir": "."}."""


def connect(settings: RaySettings) -> bool:
    """Connect to Ray unless this process is connected.

    Returns:
        True if this call connected, so that the caller shall disconnect.

    Raises:
        PoolError: if the cluster at `address` cannot be reached.
    """
    import ray

    if ray.is_initialized():
        return False
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": False}
    if settings.address is not None:
        try:
            with _own_sigterm():
                ray.init(address=settings.address, runtime_env=settings.runtime_env or None, **quiet)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise PoolError(
                f"no Ray cluster at {settings.address!r}: {error}; start one (`ray up cluster.yaml`), or leave the "
                "address out to use this machine"
            ) from error
        return True
    # a private Ray has token authentication by default, and would announce it on every start
    logging.getLogger("ray._private.authentication.authentication_token_setup").setLevel(logging.ERROR)
    with environment(_of_workers(settings.runtime_env.get("env_vars", {}))), _own_sigterm():
        ray.init(
            address="local",
            num_cpus=settings.num_cpus,
            num_gpus=settings.num_gpus,
            object_store_memory=settings.object_store_mb * 2**20,
            include_dashboard=False,
            **quiet,
        )
    return True


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Ray sets a handler of its own for SIGTERM in the driver; one that was there before is put back."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    if callable(before) and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)


@contextmanager
def environment(wanted: Mapping[str, str]) -> Iterator[None]:
    """Environment variables that are put back at the end."""
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _of_workers(more: Mapping[str, str]) -> dict[str, str]:
    """Environment that a private Ray's processes inherit; a runtime_env would cost seconds per worker instead."""
    paths = [str(_REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", **more}


def disconnect() -> None:
    """End the connection; a private Ray ends with it."""
    import ray

    ray.shutdown()


def node_resources() -> tuple[list[NodeOffer], dict[str, float]]:
    """Resources of every living node, and what is free in the whole cluster."""
    import ray

    return list(living_nodes().values()), dict(ray.available_resources())


def living_nodes() -> dict[str, NodeOffer]:
    """Resources and labels of every living node by Ray's id of it."""
    import ray

    return {
        node["NodeID"]: NodeOffer(node["Resources"], node.get("Labels") or {})
        for node in ray.nodes()
        if node["Alive"]
    }


def workers_that_fit(
    wanted: WorkerResources, nodes: Sequence[Mapping[str, float]], available: Mapping[str, float]
) -> int:
    """How many workers can be placed now, on nodes with the wanted labels; one worker never spans two nodes."""
    per_node = sum(_times(wanted, node) for node in nodes if matches(labels_of(node), wanted.labels))
    return min(per_node, _times(wanted, available))


def on_labels(wanted: WorkerResources) -> str:
    """Where a worker may run, for an error."""
    return f" on nodes with {labels_text(wanted.labels)}" if wanted.labels else ""


def _times(wanted: WorkerResources, offered: Mapping[str, float]) -> int:
    counts = [
        int((offered.get(name, 0.0) + _EPSILON) / amount)
        for name, amount in (("CPU", wanted.num_cpus), ("GPU", wanted.num_gpus))
        if amount > 0
    ]
    return min(counts, default=10_000)


def total_resources(nodes: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """CPUs and GPUs of all nodes."""
    return {name: sum(node.get(name, 0.0) for node in nodes) for name in ("CPU", "GPU")}


def placement_error(
    name: str,
    n_workers: int,
    min_workers: int,
    wanted: WorkerResources,
    nodes: Sequence[Mapping[str, float]],
    available: Mapping[str, float],
) -> PoolError:
    """The error of a pool that has no room, with what was asked, what there is, and what to do."""
    total = total_resources(nodes)
    if not any(matches(labels_of(node), wanted.labels) for node in nodes):
        there = labels_there(wanted.labels, [labels_of(node) for node in nodes])
        advice = (
            f"they have {there}: add such a node, wait for one (wait_for_nodes_s), or take the labels out"
        )
    elif workers_that_fit(wanted, nodes, total) >= min_workers:
        advice = "wait for the other pools and jobs to end, or ask for fewer workers"
    elif workers_that_fit(wanted, nodes, total):
        advice = "ask for fewer workers, or add nodes"
    else:
        advice = "no single node can hold one worker: ask for less per worker, or add a larger node"
    return PoolError(
        f"pool {name!r}: wanted {n_workers} worker(s) (at least {min_workers}) of {wanted.num_cpus:g} CPU and "
        f"{wanted.num_gpus:g} GPU each{on_labels(wanted)}; the cluster has {len(nodes)} node(s) with "
        f"{total['CPU']:g} CPU and {total['GPU']:g} GPU, of which {available.get('CPU', 0.0):g} CPU and "
        f"{available.get('GPU', 0.0):g} GPU are free, room for {workers_that_fit(wanted, nodes, available)}; {advice}"
    )
