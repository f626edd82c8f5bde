"""From one unit to rows, hours and money; what the output has already, and what it would refuse."""

from pathlib import Path

import pytest

from jobs.cost import CostSettings, cost_of, workers_on_nodes
from jobs.errors import RecipeError
from jobs.planning import plan_recipe
from jobs.probing import ProbeDone, ProbeExecutor
from jobs.running import run_recipe
from pipelines.plan import Unit
from storage.commit import FileEntry, UnitCommit
from storage.reader import Dataset

SMALL = ["motion.n_clips=5", "view.frame_step=30", "clips_per_unit=2"]
PRICES = "cost={price_per_hour: 3.0, currency: EUR, workers_per_node: 2}"


def test_nodes_are_paid_in_full_for_all_hours() -> None:
    cost = cost_of(
        CostSettings(price_per_hour=1.5, currency="EUR", workers_per_node=4), workers=10, hours=2.0
    )
    assert (cost.nodes, cost.node_hours, cost.money) == (3, 6.0, 9.0)
    assert cost.text() == "9.00 EUR: 3 nodes, 6.00 node hours"
    named = CostSettings(price_per_hour=1.0, workers_per_node=2, nodes=3)
    assert workers_on_nodes(named, 10) == 6
    assert workers_on_nodes(None, 10) == 10
    assert cost_of(named, 2, 1.0).nodes == 3


def test_a_plan_gives_rows_hours_and_money_and_leaves_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    summary = plan_recipe("import", [*SMALL, f"out={out}", PRICES])
    assert summary.units == {"generate": 3}
    assert summary.probe is not None
    assert summary.estimate is not None
    assert (summary.probe.unit_rows, summary.probe.warm) == (2, True)
    assert summary.estimate.pairs == round(2.5 * summary.probe.pairs)
    assert summary.estimate.bytes == round(2.5 * summary.probe.bytes)
    assert summary.estimate.hours == pytest.approx(2.5 * summary.probe.seconds / 3600)
    cost = summary.estimate.cost
    assert cost is not None
    assert (cost.nodes, cost.currency) == (1, "EUR")
    assert cost.money == pytest.approx(3.0 * summary.estimate.hours)
    assert "EUR: 1 node" in "\n".join(summary.lines())
    assert not out.exists()


def test_workers_take_turns_and_nodes_limit_them(tmp_path: Path) -> None:
    ray = ["executor.kind=ray", "executor.pool.workers=8"]
    prices = "cost={price_per_hour: 1, nodes: 1, workers_per_node: 2}"
    summary = plan_recipe("import", [*SMALL, f"out={tmp_path / 'out'}", prices, *ray])
    assert summary.workers == 2
    assert summary.probe is not None
    assert summary.estimate is not None
    assert summary.estimate.hours == pytest.approx(2 * (2.5 / 3) * summary.probe.seconds / 3600)
    assert "room for 2 of the 8 workers" in summary.remarks[0]
    assert summary.to_dict()["estimate"]["cost"]["nodes"] == 1


def test_rows_of_other_parts_are_not_counted(tmp_path: Path) -> None:
    """The part that is asked for stands in a corner of one file; most units have nothing to make."""
    source = tmp_path / "source"
    run_recipe("import", [*SMALL, "split.shares={source_train: 0.4, source_valid: 0.6}", f"out={source}"])
    recipe = ["augmentor.kind=wide", f"source={source}", "rows_per_unit=16", "copies=3", "copies_per_unit=2"]
    summary = plan_recipe("augment", [*recipe, f"out={tmp_path / 'planned'}"])
    run_recipe("augment", [*recipe, f"out={tmp_path / 'done'}"])
    made = Dataset.open(tmp_path / "done").n_pairs
    assert summary.estimate is not None
    assert made > 0
    assert summary.estimate.pairs == pytest.approx(made, rel=0.15)


def test_what_is_done_is_not_planned_again_and_a_refusal_is_told(tmp_path: Path) -> None:
    recipe = [*SMALL, f"out={tmp_path}"]
    run_recipe("import", recipe, quiet=True)
    files = sorted(path for path in tmp_path.rglob("*"))
    again = plan_recipe("import", recipe)
    assert (again.units_done, again.refused) == (3, "")
    assert again.estimate is not None
    assert (again.estimate.pairs, again.estimate.hours) == (0, 0.0)
    other = plan_recipe("import", [*recipe, "motion.n_clips=6"], probe=False)
    assert other.units_done == 0
    assert "recipe.motion.n_clips: 5 there, 6 now" in other.refused
    assert any("--on-top" in line for line in other.lines())
    assert files == sorted(path for path in tmp_path.rglob("*"))


def test_prices_are_checked() -> None:
    with pytest.raises(
        RecipeError, match=r"unknown key 'price_per_hou' under 'cost'; did you mean 'price_per_hour'"
    ):
        plan_recipe("import", ["out=x", "cost={price_per_hou: 1}"])


class FakeStage:
    """Commits without writing."""

    def setup(self) -> None:
        """Nothing to load."""

    def run(self, unit: Unit, bad_rows: object = ()) -> UnitCommit:
        """One commit of 10 bytes a row."""
        del bad_rows
        file = FileEntry(
            path="pairs/a.parquet", kind="pairs", rows=unit.rows, bytes=10 * unit.rows, sha256="0" * 64
        )
        return UnitCommit(run_id="r", unit_id=unit.unit_id, writer_id="w", files=(file,), rows=unit.rows)


def test_a_single_unit_is_measured_cold() -> None:
    with pytest.raises(ProbeDone) as ended:
        ProbeExecutor(as_worker=True).run(FakeStage, [Unit("u0", "x", {}, rows=7)], lambda _: None)
    probe = ended.value.probe
    assert (probe.unit_id, probe.unit_rows, probe.bytes, probe.warm) == ("u0", 7, 70, False)


def test_a_job_without_units_says_why_there_is_no_estimate(tmp_path: Path) -> None:
    run_recipe("import", [*SMALL, f"out={tmp_path / 'in'}"], quiet=True)
    data = [f"{name}.0.url={tmp_path / 'in'}" for name in ("data", "validation")]
    summary = plan_recipe("train", [*data, f"out={tmp_path / 'out'}", PRICES])
    assert summary.estimate is None
    assert "no probe, so neither time nor cost" in "\n".join(summary.lines())
