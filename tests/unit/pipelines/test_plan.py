"""The run id depends on what decides the result and on nothing else; another plan is refused with the difference."""

import json

import pytest
from pydantic import BaseModel, ConfigDict

from pipelines.errors import PlanError, PlanMismatchError
from pipelines.knobs import knob, recipe_of
from pipelines.plan import (
    Plan,
    Unit,
    freeze_plan,
    make_plan,
    plan_from_json,
    plan_path,
    plan_to_json,
    refusal_of,
    stored_plans,
)
from pipelines.plan_difference import describe_difference
from storage.local_store import LocalStore
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


def test_the_order_of_a_mapping_is_part_of_the_recipe() -> None:
    class Split(BaseModel):
        shares: dict[str, float]

    def planned(shares: dict[str, float]) -> Plan:
        return make_plan("import", Split(shares=shares), 0, plan().units, {}, version="v1")

    one, other = planned({"valid": 0.5, "train": 0.5}), planned({"train": 0.5, "valid": 0.5})
    assert one.run_id != other.run_id
    assert 'recipe.shares.(order): ["valid", "train"] there, absent now' in describe_difference(one, other)
    kept = plan_from_json(plan_to_json(one), "plan.json")
    assert list(kept.settings["shares"]) == ["valid", "train"]


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


def test_of_two_plans_that_begin_at_the_same_moment_one_gives_way(tmp_path, monkeypatch) -> None:
    store, put = open_store(tmp_path), LocalStore.put_if_absent
    first, second = plan(), plan(seed=1)

    def put_late(self: LocalStore, path: str, data: bytes) -> bool:
        """The other job has looked before as well, and writes its plan right before this one."""
        monkeypatch.setattr(LocalStore, "put_if_absent", put)
        assert put(self, plan_path(second.run_id), plan_to_json(second))
        return put(self, path, data)

    monkeypatch.setattr(LocalStore, "put_if_absent", put_late)
    with pytest.raises(PlanMismatchError, match=f"same moment, with the plan {second.run_id}; this one is"):
        freeze_plan(store, first)
    assert [kept.run_id for kept in stored_plans(store)] == [second.run_id]
    assert freeze_plan(store, second)
    monkeypatch.setattr(LocalStore, "put_if_absent", put_late)
    assert not freeze_plan(open_store(tmp_path / "on top"), first, accept_other_plan=True)


def test_difference_counts_files_and_names_the_first() -> None:
    text = describe_difference(plan(inputs={"a": "1", "c": "1"}), plan(inputs={"b": "1", "c": "2"}))
    assert "inputs: 1 changed: c (1 there, 2 now)" in text
    assert "inputs: 1 only there: a" in text
    assert "inputs: 1 only now: b" in text
    many = describe_difference(plan(inputs={}), plan(inputs={f"f{i:02}": "1" for i in range(30)}))
    assert "30 only now: f00, f01, f02 and 27 more" in many
    weights = describe_difference(plan(weights={"generator": "aa"}), plan(weights={"generator": "bb"}))
    assert weights == "  weights: 1 changed: generator (aa there, bb now)"


def test_changed_code_is_told_with_both_ways_on(tmp_path) -> None:
    store = open_store(tmp_path)
    freeze_plan(store, plan())
    edited = make_plan("augment", Recipe(), 0, plan().units, {"a.parquet": "11"}, version="v2")
    told = refusal_of(store, edited)
    assert "code version: v1 there, v2 now: posemill's code was edited or updated since" in told
    assert "Nothing but the code changed" in told
    assert "POSEMILL_CODE_VERSION=v1 posemill run" in told
    assert "--on-top" in told
    both = refusal_of(store, make_plan("augment", Recipe(copies=9), 0, plan().units, {}, version="v2"))
    assert "Nothing but the code changed" not in both
    assert refusal_of(store, plan()) == ""


def test_the_nearest_of_several_plans_is_compared(tmp_path) -> None:
    store = open_store(tmp_path)
    freeze_plan(store, plan(Recipe(copies=1, inner=Inner(gain=7.0)), seed=5))
    freeze_plan(store, plan(Recipe(copies=2)), accept_other_plan=True)
    with pytest.raises(
        PlanMismatchError, match=r"What changed:\n  recipe\.copies: 2 there, 3 now\nNothing was"
    ):
        freeze_plan(store, plan(Recipe(copies=3)))


def test_settings_are_kept_with_knobs_and_without_secrets(tmp_path) -> None:
    class Located(Recipe):
        source: str = knob("s3://user:word@bucket/poses?X-Amz-Signature=abc")

    made = make_plan("augment", Located(), 0, plan().units, {})
    known = plan_from_json(plan_to_json(made), "plan.json")
    assert known.settings["workers"] == 2
    assert known.settings["source"] == "s3://***@bucket/poses?***"
    assert b"word" not in plan_to_json(made)
