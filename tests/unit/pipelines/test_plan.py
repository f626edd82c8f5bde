"""The run id depends on what decides the result and on nothing else; another plan is refused with the difference."""

import json

import pytest
from pydantic import BaseModel, ConfigDict

from pipelines.errors import PlanError, PlanMismatchError
from pipelines.knobs import knob, recipe_of
from pipelines.plan import (
    Plan,
    Unit,
    describe_difference,
    freeze_plan,
    make_plan,
    plan_from_json,
    plan_path,
    plan_to_json,
    stored_plans,
)
from storage.object_store import open_store


class Inner(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    gain: float = 1.0
    threads: int = knob(1)


class Recipe(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    copies: int = 4
    workers: int = knob(2, ge=1)
    inner: Inner = Inner()
    more: tuple[Inner, ...] = ()


BASE = Recipe()


def plan(recipe: Recipe = BASE, seed: int = 0, **changes: dict[str, str]) -> Plan:
    inputs = changes.get("inputs", {"a.parquet": "11"})
    units = [Unit("u0", "augment", {"copy": 1}, rows=3)]
    return make_plan("augment", recipe, seed, units, inputs, changes.get("weights"), version="v1")


def test_knobs_stay_out_at_every_depth() -> None:
    recipe = recipe_of(Recipe(more=(Inner(threads=9),)))
    assert recipe == {"copies": 4, "inner": {"gain": 1.0}, "more": [{"gain": 1.0}]}


def test_run_id_ignores_knobs_and_nothing_else() -> None:
    base = plan().run_id
    assert base.startswith("augment-")
    assert plan(Recipe(workers=8, inner=Inner(threads=7))).run_id == base
    others = [
        plan(Recipe(copies=5)),
        plan(Recipe(inner=Inner(gain=2.0))),
        plan(seed=1),
        plan(inputs={"a.parquet": "12"}),
        plan(weights={"generator": "aa"}),
        make_plan("augment", Recipe(), 0, [Unit("u0", "augment")], {"a.parquet": "11"}, version="v2"),
    ]
    assert len({base, *(other.run_id for other in others)}) == len(others) + 1


def test_plan_comes_back_from_json() -> None:
    original = plan()
    assert plan_from_json(plan_to_json(original), "plan.json") == original


@pytest.mark.parametrize("data", [b"{", b"{}", b'{"format": 99}'])
def test_damaged_plan_is_named(data: bytes) -> None:
    with pytest.raises(PlanError, match=r"runs/x/plan\.json"):
        plan_from_json(data, "runs/x/plan.json")


def test_plan_needs_units_with_unique_ids() -> None:
    with pytest.raises(PlanError, match="nothing to do"):
        make_plan("import", Recipe(), 0, [], {})
    with pytest.raises(PlanError, match="two units are called 'u'"):
        make_plan("import", Recipe(), 0, [Unit("u", "import"), Unit("u", "import")], {})


def test_frozen_once_and_resumed(tmp_path) -> None:
    store = open_store(tmp_path)
    assert not freeze_plan(store, plan())
    written = store.read_bytes(plan_path(plan().run_id))
    assert freeze_plan(store, plan(Recipe(workers=16)))
    assert store.read_bytes(plan_path(plan().run_id)) == written
    assert json.loads(written)["recipe"]["copies"] == 4


def test_other_plan_is_refused_with_the_difference(tmp_path) -> None:
    store = open_store(tmp_path)
    freeze_plan(store, plan())
    with pytest.raises(PlanMismatchError, match=r"recipe\.copies: 4 there, 8 now"):
        freeze_plan(store, plan(Recipe(copies=8)))
    assert [known.run_id for known in stored_plans(store)] == [plan().run_id]
    assert not freeze_plan(store, plan(Recipe(copies=8)), accept_other_plan=True)
    assert len(stored_plans(store)) == 2


def test_difference_names_added_and_removed_keys() -> None:
    text = describe_difference(plan(inputs={"a": "1"}), plan(inputs={"b": "1"}))
    assert 'inputs.a: "1" there, absent now' in text
    assert 'inputs.b: absent there, "1" now' in text
    many = describe_difference(plan(inputs={}), plan(inputs={f"f{i}": "1" for i in range(30)}))
    assert "more differences" in many
