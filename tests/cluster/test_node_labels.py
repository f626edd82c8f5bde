"""Trainer, pools and stages of chains stay on the nodes that labels name, on a cluster of two nodes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.closed_loop import ray_crew
from pipelines.errors import PoolError
from pipelines.executor import WorkerResources
from pipelines.plan import Unit
from pipelines.ray_pool import RayPoolExecutor, RayPoolSettings
from pipelines.stage_chain import StageSpec
from tests.cluster import loop_members
from tests.cluster.placed_stage import PlacedLink, PlacedSink, PlacedStage
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


UNITS = [Unit(f"u{number}", "test") for number in range(6)]


def market_of() -> dict[str, str]:
    import ray

    return {node["NodeID"]: node["Labels"][MARKET] for node in ray.nodes()}


def test_a_pool_stays_on_nodes_with_its_labels() -> None:
    """The on-demand node has room for one of three workers; the spot node would have it for all."""
    pool = RayPoolExecutor(RayPoolSettings(workers=3, labels={MARKET: "on-demand"}))
    report = pool.run(PlacedStage, UNITS, lambda _: None)
    assert {market_of()[commit.writer_id] for commit in report.commits} == {"on-demand"}
    assert len(report.commits) == len(UNITS)


def test_every_stage_of_a_chain_has_labels_of_its_own() -> None:
    stages = [
        StageSpec("link", PlacedLink, WorkerResources(0.5, labels={MARKET: "spot"}), workers=2),
        StageSpec("sink", PlacedSink, WorkerResources(0.5), workers=2),
    ]
    pool = RayPoolExecutor(RayPoolSettings(labels={MARKET: "!spot"}))
    report = pool.run_chain(stages, UNITS, lambda _: None)
    markets = market_of()
    placed = {tuple(markets[node] for node in commit.writer_id.split()) for commit in report.commits}
    assert placed == {("spot", "on-demand")}


def test_a_pool_without_such_a_node_says_which_labels_there_are() -> None:
    pool = RayPoolExecutor(RayPoolSettings(workers=1, labels={MARKET: "reserved"}))
    words = r"on nodes with ray.io/market-type=reserved.*they have .*market-type=on-demand, .*add such a node"
    with pytest.raises(PoolError, match=words):
        pool.run(PlacedStage, UNITS, lambda _: None)
