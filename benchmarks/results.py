"""The tables of docs/results.md from a `results` run, finished or not, and from one of `results_released`:
`python -m benchmarks.results DIR [--released DIR] [--write]`."""

import argparse
import json
from pathlib import Path

import numpy as np
import yaml

from benchmarks.document import write_below
from pipelines.build import SOURCE
from pipelines.context import RunContext
from pipelines.evaluate import evaluate_table
from pipelines.in_process import InProcessExecutor
from pipelines.pose_table import PairsSource, PoseTable, load_table
from pipelines.trained_lifter import load_trained_lifter

PROTOCOL = "frame_mean_with_root"
PLAIN, HARD_VIEWS = "h36m_like", "mpi_inf_3dhp_like"
ROWS = (
    ("source_valid", PLAIN),
    ("target_subject", PLAIN),
    ("target_action", PLAIN),
    ("target_hard", PLAIN),
    ("target_dance_avatar", PLAIN),
    ("target_sport_everyday", PLAIN),
    ("target_acrobatics_deepmimic", PLAIN),
    ("source_valid", HARD_VIEWS),
    ("target_subject", HARD_VIEWS),
    ("target_action", HARD_VIEWS),
    ("target_hard", HARD_VIEWS),
)
COLUMNS = ("source only", "random", "wide random", "released", "default")
ABLATIONS = ("no feedback", "no discriminators", "no wide base", "no placement")
BASELINE = "wide random"
# What the released code itself reaches with one seed, MPJPE in mm: section 5 of the PoseAug spec, None where silent.
PUBLISHED: dict[str, tuple[float | None, ...]] = {
    "source only": (24.0, 46.4, 139.7, 114.6, 104.3, 86.6, 176.0, 124.7, None, None, 153.1),
    "released": (28.2, 44.0, 114.0, 104.1, 98.1, 77.1, 153.8, 90.6, None, None, 124.5),
}
DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "results.md"
MARK = "<!-- measured: everything below is written by `python -m benchmarks.results DIR --write` -->"

Errors = dict[str, dict[int, dict[tuple[str, str], float]]]


def lifters_of(folder: Path) -> dict[tuple[str, int], Path]:
    """(variant, seed) -> file of every loop that is done; the build's own loop has its first seed in `loop/`."""
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    found = {
        (recipe.get("loop_name", "posemill"), recipe.get("seeds", [0])[0]): folder
        / "loop"
        / "lifter.safetensors"
    }
    for path in sorted(folder.glob("compare/*/seed-*/lifter.safetensors")):
        found[path.parent.parent.name, int(path.parent.name.removeprefix("seed-"))] = path
    return {key: path for key, path in found.items() if path.exists() and not key[0].startswith("_")}


def measure(folder: Path) -> Errors:
    """MPJPE of every estimator on every row; remembered beside the run, so that a later call measures the new ones."""
    memory = folder / "results.json"
    known: dict[str, dict[str, float]] = json.loads(memory.read_text()) if memory.exists() else {}
    table: PoseTable | None = None
    errors: Errors = {}
    for (name, seed), path in lifters_of(folder).items():
        key = f"{name}/{seed}"
        if key not in known:
            if table is None:
                source = str(folder / SOURCE)
                table = load_table([PairsSource(url=source, parts=("source_valid", "target_*"))])
            context = RunContext(str(folder), InProcessExecutor())
            rows = evaluate_table(load_trained_lifter(str(path)), table, (PROTOCOL,), False, context)
            known[key] = {f"{row.part}/{row.rig}": float(row.result.metrics["mpjpe_mm"]) for row in rows}
            memory.write_text(json.dumps(known, indent=1))
            print(f"measured {key}", flush=True)
        errors.setdefault(name, {})[seed] = {row: known[key]["/".join(row)] for row in ROWS}
    return errors


def _cell(seeds: dict[int, dict[tuple[str, str], float]], row: tuple[str, str]) -> str:
    values = [errors[row] for errors in seeds.values()]
    spread = f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
    return f"{np.mean(values):.1f}{spread}"


def _row_name(row: tuple[str, str]) -> str:
    return row[0] if row[1] == PLAIN else f"{row[0]}, 3DHP-like cameras"


def _change(errors: Errors, name: str, rows: list[tuple[str, str]]) -> float:
    """Mean over rows of the relative change against the baseline, over the seeds that both have."""
    seeds = sorted(set(errors[name]) & set(errors[BASELINE]))
    ratios = [
        np.mean([errors[name][s][row] for s in seeds]) / np.mean([errors[BASELINE][s][row] for s in seeds])
        for row in rows
    ]
    return float(np.mean(ratios) - 1.0)


def tables(errors: Errors) -> str:
    """The comparison and the ablations in Markdown."""
    columns = [name for name in COLUMNS if name in errors]
    count = max(len(seeds) for seeds in errors.values())
    lines = [f"MPJPE in mm ({PROTOCOL}), mean ± standard deviation over up to {count} seeds.", ""]
    change = BASELINE in columns and "default" in columns
    head = [*columns, "default against wide"] if change else columns
    lines += [f"| test | {' | '.join(head)} |", "|---" * (len(head) + 1) + "|"]
    for row in ROWS:
        cells = [_cell(errors[name], row) for name in columns]
        if change:
            cells.append(f"{_change(errors, 'default', [row]):+.1%}")
        lines.append(f"| {_row_name(row)} | {' | '.join(cells)} |")
    targets = [row for row in ROWS if row[0].startswith("target")]
    if BASELINE in errors:
        lines += [
            "",
            f"Mean change over the target rows against `{BASELINE}`, by the seeds that both have:",
            "",
        ]
        for name in (*columns, *(n for n in ABLATIONS if n in errors)):
            lines.append(f"- {name}: {_change(errors, name, targets):+.1%} ({len(errors[name])} seed(s))")
    shown = [name for name in ("default", *ABLATIONS) if name in errors]
    if len(shown) > 1:
        lines += ["", "What each part is worth: the loop without it, seed 0.", ""]
        lines += [f"| test | {' | '.join(shown)} |", "|---" * (len(shown) + 1) + "|"]
        for row in ROWS:
            cells = [f"{errors[name][0][row]:.1f}" for name in shown]
            lines.append(f"| {_row_name(row)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def released_table(errors: Errors) -> str:
    """The published loop at its full length beside what the released code itself reaches."""
    names = [name for name in PUBLISHED if name in errors]
    head = [cell for name in names for cell in (f"{name}, released code", f"{name}, posemill", "difference")]
    lines = [
        "PoseAug as released at its full length (50 + 50 epochs, batch 128, the last epoch), MPJPE in mm; the released"
        f" code's numbers are section 5 of the PoseAug spec; {len(errors[names[-1]])} seed(s).",
        "",
        f"| test | {' | '.join(head)} |",
        "|---" * (len(head) + 1) + "|",
    ]
    for index, row in enumerate(ROWS):
        cells: list[str] = []
        for name in names:
            theirs = PUBLISHED[name][index]
            ours = float(np.mean([seed[row] for seed in errors[name].values()]))
            difference = "" if theirs is None else f"{ours / theirs - 1.0:+.1%}"
            cells += ["" if theirs is None else f"{theirs:.1f}", _cell(errors[name], row), difference]
        lines.append(f"| {_row_name(row)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Print the tables; with `--write` put them into docs/results.md too."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="what `posemill run results` was given as out")
    parser.add_argument("--released", type=Path, help="what `posemill run results_released` was given as out")
    parser.add_argument("--write", action="store_true", help="write the tables into docs/results.md")
    arguments = parser.parse_args()
    text = tables(measure(arguments.folder))
    if arguments.released is not None:
        text += "\n\n" + released_table(measure(arguments.released))
    print(text)
    if arguments.write:
        write_below(DOCUMENT, MARK, text)


if __name__ == "__main__":
    main()
