"""How many workers of several stages stand side by side on the nodes: pure, so that it can be told first.

First one worker of each stage is placed, the largest first, then the stages take turns: no stage can fill the cluster
before the others have their first. Ray places the actors itself, so this is what is possible, not where.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipelines.errors import PoolError
from pipelines.executor import WorkerResources
from pipelines.node_labels import NodeOffer, labels_of, labels_there, matches
from pipelines.ray_session import on_labels, placement_error, total_resources, workers_that_fit

Offer = Mapping[str, float]
_EPSILON = 1e-6
_NAMES = ("CPU", "GPU")


@dataclass(frozen=True)
class Demand:
    """What one stage wants."""

    name: str
    resources: WorkerResources
    workers: int


def needs_of(resources: WorkerResources) -> dict[str, float]:
    """What one worker holds, by Ray's names."""
    return {"CPU": resources.num_cpus, "GPU": resources.num_gpus}


class Room:
    """What is left of the nodes, and of the cluster as a whole, while workers are placed in mind.

    Args:
        nodes: Every node's resources.
        available: What is free in the whole cluster; other jobs may hold a part of the nodes.
    """

    def __init__(self, nodes: Sequence[Offer], available: Offer) -> None:
        self.nodes = [
            NodeOffer({name: node.get(name, 0.0) for name in _NAMES}, labels_of(node)) for node in nodes
        ]
        self.available = {name: available.get(name, 0.0) for name in _NAMES}

    def take(self, resources: WorkerResources) -> bool:
        """Place one worker where it leaves the least, on a node without GPU if it needs none; False without room."""
        needs = needs_of(resources)
        if not _holds(self.available, needs):
            return False
        fitting = [
            node for node in self.nodes if _holds(node, needs) and matches(node.labels, resources.labels)
        ]
        if not fitting:
            return False
        chosen = min(
            fitting, key=lambda node: (node["GPU"] > 0 and needs["GPU"] == 0, node["GPU"], node["CPU"])
        )
        for name, amount in needs.items():
            chosen[name] -= amount
            self.available[name] -= amount
        return True


def _holds(offered: Mapping[str, float], needs: Mapping[str, float]) -> bool:
    return all(offered[name] + _EPSILON >= amount for name, amount in needs.items())


def allocate(demands: Sequence[Demand], nodes: Sequence[Offer], available: Offer) -> list[int]:
    """Workers of every stage that fit together, up to what each wants; 0 for one without a place beside the others."""
    if len(demands) == 1:
        one = demands[0]
        return [min(one.workers, workers_that_fit(one.resources, nodes, available))]
    room = Room(nodes, available)
    counts = [0] * len(demands)
    by_size = sorted(range(len(demands)), key=lambda index: _size(demands[index].resources), reverse=True)
    for index in by_size:
        counts[index] = int(room.take(demands[index].resources))
    open_stages = [index for index in range(len(demands)) if counts[index]]
    while open_stages:
        open_stages = [
            index
            for index in open_stages
            if counts[index] < demands[index].workers and room.take(demands[index].resources)
        ]
        for index in open_stages:
            counts[index] += 1
    return counts


def _size(resources: WorkerResources) -> tuple[float, float]:
    return resources.num_gpus, resources.num_cpus


def chain_error(
    name: str, demands: Sequence[Demand], counts: Sequence[int], nodes: Sequence[Offer], available: Offer
) -> PoolError:
    """The error of a chain of which not every stage has room for a worker."""
    if len(demands) == 1:
        one = demands[0]
        return placement_error(name, one.workers, 1, one.resources, nodes, available)
    homeless = [demand for demand, count in zip(demands, counts, strict=True) if count == 0]
    total = total_resources(nodes)
    if all(allocate([Demand(d.name, d.resources, 1) for d in demands], nodes, total)):
        advice = "wait for the other pools and jobs to end"
    elif strangers := [
        demand
        for demand in homeless
        if not any(matches(labels_of(node), demand.resources.labels) for node in nodes)
    ]:
        wanted_labels = strangers[0].resources.labels
        advice = f"its nodes have {labels_there(wanted_labels, [labels_of(node) for node in nodes])}: add such a node"
    elif any(not workers_that_fit(demand.resources, nodes, total) for demand in homeless):
        advice = "no single node can hold such a worker: ask for less per worker, or add a larger node"
    else:
        advice = "every stage needs one worker at the same time: ask for less per worker, or add nodes"
    wanted = ", ".join(f"{demand.name} ({_words(demand.resources)})" for demand in demands)
    return PoolError(
        f"chain {name!r}: no room for a worker of {' and '.join(repr(demand.name) for demand in homeless)} beside one "
        f"of every other stage; wanted at least one each of {wanted}; the cluster has {len(nodes)} node(s) with "
        f"{total['CPU']:g} CPU and {total['GPU']:g} GPU, of which {available.get('CPU', 0.0):g} CPU and "
        f"{available.get('GPU', 0.0):g} GPU are free; {advice}"
    )


def _words(resources: WorkerResources) -> str:
    return f"{resources.num_cpus:g} CPU, {resources.num_gpus:g} GPU{on_labels(resources)}"
