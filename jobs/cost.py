"""What a job will cost: the `cost` part of a recipe, and hours turned into money."""

import math
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field


class CostSettings(BaseModel):
    """Prices of the nodes that the job runs on; only `posemill plan` reads them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    price_per_hour: float = Field(ge=0)
    """Of one node, as the cloud bills it."""
    currency: str = Field(default="USD", min_length=1, max_length=8)
    workers_per_node: int = Field(default=1, ge=1)
    nodes: int | None = Field(default=None, ge=1)
    """How many there are; None takes as many as the executor's workers fill."""


@dataclass(frozen=True)
class Cost:
    """Nodes for some hours."""

    nodes: int
    node_hours: float
    money: float
    currency: str

    def text(self) -> str:
        """`12.40 USD: 4 nodes, 10.3 node hours`."""
        unit = "node" if self.nodes == 1 else "nodes"
        return f"{self.money:,.2f} {self.currency}: {self.nodes:,} {unit}, {self.node_hours:,.2f} node hours"


def workers_on_nodes(settings: CostSettings | None, workers: int) -> int:
    """How many of the executor's workers there is room for."""
    if settings is None or settings.nodes is None:
        return workers
    return min(workers, settings.nodes * settings.workers_per_node)


def cost_of(settings: CostSettings, workers: int, hours: float) -> Cost:
    """What `hours` of `workers` cost; a node that is filled in part is paid in full."""
    nodes = settings.nodes or math.ceil(workers / settings.workers_per_node)
    return Cost(nodes, nodes * hours, nodes * hours * settings.price_per_hour, settings.currency)
