import numpy as np
import pytest

from jobs.errors import ReportError
from jobs.report.evaluation import evaluation_table, evaluation_tables
from jobs.report.inputs import EvaluationTable, ReportInputs
from jobs.report.learning import kept_fraction, other_panels, series_of, steering_panels, steps_of
from jobs.report.results import headlines, improvement, table_view
from poses.skeleton import load_skeleton
from tests.unit.jobs.report_samples import make_evaluation, make_inputs


def row(part: str, value: float | None, **more: object) -> dict[str, object]:
    return {
        "part": part,
        "rig": "r",
        "protocol": "frame_mean_with_root",
        "metrics": {"mpjpe_mm": value},
        **more,
    }


def test_variants_become_columns_and_seeds_a_spread() -> None:
    rows = [row("valid", v, variant="a", seed=i) for i, v in enumerate((10.0, 12.0))]
    rows += [row("valid", 9.0, variant="b", seed=0), row("hard", None, variant="b", seed=0)]
    rows += [row("valid", 8.0, variant="c", seed=0)]
    (table,) = evaluation_tables({"rows": rows, "baseline": "b", "loop": "a"})
    assert (table.rows, table.columns) == (("valid", "hard"), ("b", "c", "a"))
    assert (table.baseline, table.seeds) == ("b", 2)
    np.testing.assert_allclose(table.mean, [[9, 8, 11], [np.nan] * 3])
    assert table.spread is not None
    assert table.spread[0, 2] == pytest.approx(np.sqrt(2))
    assert np.isnan(table.spread[0, 0])
    assert "root joint counted (frame_mean_with_root)" in table.protocol


def test_protocols_never_share_a_table() -> None:
    other = {**row("valid", 30.0), "protocol": "action_mean_with_root"}
    assert len(evaluation_tables({"rows": [row("valid", 10.0), other]})) == 2
    with pytest.raises(
        ReportError, match="one named protocol, got action_mean_with_root, frame_mean_with_root"
    ):
        evaluation_table([row("valid", 10.0), other])
    with pytest.raises(ReportError, match=r"got \(none named\)"):
        evaluation_tables({"rows": [{"part": "valid", "metrics": {"mpjpe_mm": 1.0}}]})


def test_repnets_error_has_a_table_of_its_own() -> None:
    rows: list[dict[str, object]] = [
        {
            **row("valid", 0.0, variant=name),
            "protocol": "released_repnet",
            "metrics": {"pa_mpjpe_reflection_mm": v},
        }
        for name, v in (("a", 40.0), ("b", 30.0))
    ]
    (table,) = evaluation_tables({"rows": rows})
    assert table.protocol.startswith("PA-MPJPE with reflections (RepNet's), as RepNet's released evaluation")
    np.testing.assert_allclose(table.mean, [[40, 30]])


def test_a_checkpoint_chosen_on_the_test_split_says_so() -> None:
    rows = [row("target_a", 10.0, variant="a", selected_on="test"), row("target_a", 12.0, variant="b")]
    (table,) = evaluation_tables({"rows": rows, "baseline": "a"})
    assert table.columns == ("a (checkpoint chosen on the test split)", "b")
    assert table.baseline == table.columns[0]
    (single,) = evaluation_tables({"rows": [row("target_a", 10.0, selected_on="test")]})
    assert single.protocol.endswith("checkpoint chosen on the test split")


def test_rigs_are_named_where_there_are_several() -> None:
    (table,) = evaluation_tables({"rows": [row("valid", 1.0), {**row("valid", 2.0), "rig": "q"}]})
    assert table.rows == ("valid, r", "valid, q")


def test_one_estimator_gives_a_table_of_metrics() -> None:
    rows = [{**row("valid", 50.0), "metrics": {"mpjpe_mm": 50.0, "pck_150": 0.91, "auc": None, "odd": 1.0}}]
    (table,) = evaluation_tables({"rows": rows})
    assert table.kind == "metrics"
    assert table.columns == ("MPJPE, mm", "PCK at 150 mm, %", "AUC, %")
    np.testing.assert_allclose(table.mean, [[50, 91, np.nan]])
    assert [cell.text for cell in table_view(table).rows[0][1]] == ["50.0", "91.0", "–"]


@pytest.mark.parametrize("document", [None, [], {}, {"rows": 3}, {"rows": [3]}, {"rows": [{"part": "x"}]}])
def test_other_documents_are_refused(document: object) -> None:
    with pytest.raises(ReportError, match="wanted"):
        evaluation_tables(document)


def test_cells_tell_the_change_against_the_baseline_and_the_best() -> None:
    table = EvaluationTable("p", ("target_a",), ("base", "x", "y"), np.array([[100.0, 80.0, 120.0]]))
    base, better, worse = table_view(table).rows[0][1]
    assert (base.change, better.change, worse.change) == ("", "−20 %", "+20 %")
    assert (better.trend, worse.trend) == ("better", "worse")
    assert [cell.best for cell in (base, better, worse)] == [False, True, False]
    assert worse.bar == pytest.approx(1)


def test_the_headline_counts_unseen_rows_only() -> None:
    mean = np.array([[10.0, 20.0], [100.0, 50.0], [100.0, 70.0]])
    table = EvaluationTable("p", ("source_valid", "target_a", "target_b"), ("base", "ours"), mean)
    assert improvement(table) == (pytest.approx(-0.4), "unseen motion", "ours")
    assert improvement(EvaluationTable("p", ("a",), ("base",), np.ones((1, 1)))) is None
    assert improvement(EvaluationTable("p", ("a",), ("b", "c"), np.full((1, 2), np.nan))) is None


def test_headlines_say_what_came_in_and_what_went_out() -> None:
    values = {headline.label: headline.value for headline in headlines(make_inputs(n=20, pairs=0))}
    assert values["source poses in"] == "79.5 k"
    assert values["new 2D-3D pairs out"] == "1.13 M"
    assert values["of augmented poses kept"] == "96.2 %"
    assert values["error on unseen motion"].startswith("−")
    assert headlines(ReportInputs(title="x", skeleton=load_skeleton("h36m_16"))) == []


def test_the_sample_table_is_what_the_page_shows() -> None:
    assert len(table_view(make_evaluation()).rows) == 9


def test_steps_are_iterations_where_they_grow_else_lines() -> None:
    assert steps_of([{"iteration": 5}, {"iteration": 9}])[1] == "iteration"
    assert steps_of([{"iteration": 9}, {"iteration": 5}, {"epoch": 1}])[1] == "record"
    assert steps_of([])[0].size == 0


def test_series_have_nan_where_nothing_was_recorded() -> None:
    np.testing.assert_array_equal(series_of([{"a": 1}, {}, {"a": "x"}], "a"), [1, np.nan, np.nan])  # pyright: ignore[reportArgumentType]


def test_odds_become_one_panel_a_factor_and_no_other_measurement() -> None:
    lines = [{"odds_tilt_0": 0.5, "odds_tilt_1": 0.5, "odds_new_0": 1.0, "extra": 1.0}]
    assert [panel.title for panel in steering_panels(lines)] == ["new", "Tilt of the body"]
    assert [panel.title for panel in other_panels(lines)] == ["extra"]


def test_the_kept_part_is_counted_where_counts_were_written() -> None:
    lines = [
        {"fakes": 80, "rejected": {"outside_image": 10, "not_selected": 10}, "kept_fraction": 0.1},
        {"kept_fraction": 0.5},
        {"fakes": 0, "rejected": {}},
    ]
    np.testing.assert_array_equal(kept_fraction(lines), [0.9, 0.5, np.nan])


def test_rows_go_rig_by_rig_and_what_was_trained_on_comes_last() -> None:
    rows = [
        {**row(part, 1.0), "rig": rig}
        for part in ("source_train", "source_valid", "target_a")
        for rig in ("h36m_like", "mpi_inf_3dhp_like")
    ]
    (table,) = evaluation_tables({"rows": rows[:1] + rows[2:]})
    assert table.rows == (
        "source_valid, H36M-like cameras",
        "target_a, H36M-like cameras",
        "source_valid, 3DHP-like cameras",
        "target_a, 3DHP-like cameras",
        "source_train, H36M-like cameras (trained on)",
    )
