import pytest
from pydantic import ValidationError

from pipelines.closed_loop.settings import ClosedLoopSettings
from pipelines.errors import PoolError
from pipelines.knobs import recipe_of
from pipelines.node_labels import matches, require_node

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
