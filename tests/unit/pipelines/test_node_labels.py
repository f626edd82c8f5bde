import pytest
from pydantic import ValidationError

from pipelines.closed_loop.settings import ClosedLoopSettings
from pipelines.errors import PoolError
from pipelines.executor import WorkerResources
from pipelines.knobs import recipe_of
from pipelines.node_labels import NodeOffer, matches, require_node
from pipelines.placement import Demand, allocate, chain_error
from pipelines.ray_pool import RayPoolExecutor, RayPoolSettings
from pipelines.ray_session import placement_error, workers_that_fit
from pipelines.stage_chain import StageSpec

MARKET = "ray.io/market-type"


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        ("spot", {"spot"}),
        ("!spot", {"on-demand", None}),
        ("in(spot, reserved)", {"spot"}),
        ("!in(spot,reserved)", {"on-demand", None}),
    ],
)
def test_selectors_are_rays(wanted: str, fits: set[str | None]) -> None:
    for value in ("spot", "on-demand", None):
        labels = {} if value is None else {MARKET: value}
        assert matches(labels, {MARKET: wanted}) == (value in fits)


def test_all_labels_must_hold() -> None:
    assert matches({"a": "1", "b": "2"}, {"a": "1", "b": "!3"})
    assert not matches({"a": "1", "b": "3"}, {"a": "1", "b": "!3"})


def test_a_dead_node_does_not_count() -> None:
    nodes = [{"Alive": False, "Labels": {MARKET: "on-demand"}}, {"Alive": True, "Labels": {MARKET: "spot"}}]
    require_node("x", {MARKET: "spot"}, nodes)
    with pytest.raises(PoolError, match=r"wanted a node with .*on-demand; the 1 node\(s\).*market-type=spot"):
        require_node("x", {MARKET: "on-demand"}, nodes)


@pytest.mark.parametrize("labels", [{"a b": "x"}, {"a": ""}, {"a": "x; y"}, {"a": "in()"}, {"a": "!!x"}])
def test_what_ray_would_refuse_is_refused_in_the_recipe(labels: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="wants labels such as"):
        ClosedLoopSettings.model_validate({"trainer_labels": labels})


def test_placement_is_no_part_of_the_plan() -> None:
    placed = ClosedLoopSettings.model_validate({"trainer_labels": {MARKET: "on-demand"}})
    assert recipe_of(placed) == recipe_of(ClosedLoopSettings())


SPOT, ON_DEMAND = {MARKET: "spot"}, {MARKET: "on-demand"}
NODES = [NodeOffer({"CPU": 4.0}, SPOT), NodeOffer({"CPU": 2.0}, ON_DEMAND), NodeOffer({"CPU": 1.0}, {})]
FREE = {"CPU": 7.0}


@pytest.mark.parametrize(
    ("labels", "count"), [({}, 7), (SPOT, 4), (ON_DEMAND, 2), ({MARKET: "!spot"}, 3), ({"zone": "a"}, 0)]
)
def test_only_nodes_with_the_labels_have_room(labels: dict[str, str], count: int) -> None:
    wanted = WorkerResources(labels=labels)
    assert workers_that_fit(wanted, NODES, FREE) == count
    assert allocate([Demand("pool", wanted, 9)], NODES, FREE) == [count]


def test_stages_of_a_chain_get_room_on_their_own_nodes() -> None:
    link = Demand("link", WorkerResources(labels=SPOT), 9)
    sink = Demand("sink", WorkerResources(labels=ON_DEMAND), 9)
    assert allocate([link, sink], NODES, FREE) == [4, 2]
    assert allocate([sink, Demand("last", WorkerResources(2.0, labels=ON_DEMAND), 1)], NODES, FREE) == [0, 1]


def test_a_pool_and_a_chain_without_such_a_node_say_which_labels_there_are() -> None:
    wanted = WorkerResources(labels={MARKET: "reserved"})
    words = (
        r"with ray.io/market-type=reserved.*market-type=on-demand, ray.io/market-type=spot: add such a node"
    )
    for error in (
        placement_error("pool", 2, 1, wanted, NODES, FREE),
        chain_error(
            "chain", [Demand("a", WorkerResources(), 1), Demand("b", wanted, 1)], [1, 0], NODES, FREE
        ),
    ):
        with pytest.raises(PoolError, match=words):
            raise error


def test_a_stages_labels_win_over_those_of_the_pool() -> None:
    pool = RayPoolExecutor(RayPoolSettings(labels={**SPOT, "zone": "a"}))
    stage = StageSpec("s", list, WorkerResources(0.5, labels=ON_DEMAND))
    labelled = pool._labelled(stage).resources
    assert (labelled.num_cpus, dict(labelled.labels)) == (0.5, {**ON_DEMAND, "zone": "a"})


def test_a_wrong_label_of_a_pool_is_refused_in_the_recipe() -> None:
    with pytest.raises(ValidationError, match="wants labels such as"):
        RayPoolSettings.model_validate({"labels": {"a b": "x"}})
