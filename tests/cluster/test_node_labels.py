"""The closed loop's trainer stays on the nodes that a recipe's labels name, on a cluster of two nodes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.closed_loop import ray_crew
from pipelines.errors import PoolError
from pipelines.executor import WorkerResources
from tests.cluster import loop_members
from tests.cluster.placed_trainer import placed_trainer

pytestmark = [pytest.mark.ray, pytest.mark.xdist_group("node_labels")]

MARKET = "ray.io/market-type"


@pytest.fixture(scope="module", autouse=True)
def two_nodes() -> Iterator[None]:
    """A head on a spot node with more room than the on-demand node."""
    import ray
    from ray.cluster_utils import Cluster

    repository = str(Path(__file__).resolve().parents[2])
    patch = pytest.MonkeyPatch()
    patch.setenv("PYTHONPATH", repository)
    small = {"object_store_memory": 80 * 2**20}
    cluster = Cluster()
    cluster.add_node(num_cpus=4, labels={MARKET: "spot"}, include_dashboard=False, **small)
    cluster.add_node(num_cpus=1, labels={MARKET: "on-demand"}, **small)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR", configure_logging=False)
    yield
    ray.shutdown()
    cluster.shutdown()
    patch.undo()


def test_the_trainer_is_placed_by_its_labels() -> None:
    """Without labels Ray fills the driver's own node first, which is the spot node here."""
    import ray

    market_of = {node["NodeID"]: node["Labels"][MARKET] for node in ray.nodes()}
    crew = ray_crew.RayCrew(
        [loop_members.broken_augmentor],
        placed_trainer,
        WorkerResources(num_cpus=0.5),
        trainer_labels={MARKET: "on-demand"},
    )
    try:
        assert market_of[crew.get(crew.weights())] == "on-demand"
    finally:
        crew.close()


def test_labels_that_no_node_has_are_named() -> None:
    with pytest.raises(PoolError, match=r"wanted a node with ray.io/market-type=reserved; the 2 node.*spot"):
        ray_crew.RayCrew(
            [loop_members.broken_augmentor],
            placed_trainer,
            WorkerResources(num_cpus=0.5),
            trainer_labels={MARKET: "reserved"},
        )
