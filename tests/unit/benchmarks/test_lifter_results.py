"""The table of lifters: rows by lifter and arm, change within a lifter."""

from pathlib import Path

import yaml

from benchmarks.lifter_results import lifter_and_arm, table, updates_of
from benchmarks.results import ROWS


def _errors(value: float) -> dict[int, dict[tuple[str, str], float]]:
    return {0: dict.fromkeys(ROWS, value)}


def test_a_variant_names_its_lifter_and_its_arm() -> None:
    assert lifter_and_arm("semgcn non-local, wide random") == ("semgcn non-local", "wide random")


def test_changes_are_within_a_lifter_and_missing_arms_are_left_out() -> None:
    lines = table(
        {
            "semgcn, source only": _errors(100.0),
            "semgcn, default": _errors(80.0),
            "stgcn, default": _errors(60.0),
        },
        {"semgcn, source only": 3200, "semgcn, default": 3200, "stgcn, default": 1600},
    ).splitlines()
    assert len(lines) == 4 + 3
    assert lines[5].startswith("| semgcn | 3,200 | default | 80.0 |")
    assert lines[5].endswith("| 80.0 | -20.0% |")
    assert lines[6].endswith("| 60.0 |  |")


def test_updates_are_those_of_the_recipe(tmp_path: Path) -> None:
    recipe = {
        "loop_name": "mlp, default",
        "loop": {"lifter_steps": 3200},
        "compare": {"mlp, source only": {"diet": "real"}, "gcn, default": {"lifter_steps": 800}},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert updates_of(tmp_path) == {"mlp, default": 3200, "mlp, source only": 3200, "gcn, default": 800}
