"""The table of docs/lifters.md from a `lifters` run, finished or not:
`python -m benchmarks.lifter_results DIR [--write]`.

A row is one lifter trained one way; its columns are the tests of docs/results.md."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import yaml

from benchmarks.document import write_below
from benchmarks.results import PLAIN, PROTOCOL, ROWS, SOURCE, Errors, lifters_of
from pipelines.evaluate import predict
from pipelines.pose_table import PairsSource, PoseTable, load_table
from pipelines.trained_lifter import TrainedLifter, load_trained_lifter
from poses.protocols import evaluate

ARMS = ("source only", "wide random", "default")
DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "lifters.md"
MARK = "<!-- measured: everything below is written by `python -m benchmarks.lifter_results DIR --write` -->"


def lifter_and_arm(variant: str) -> tuple[str, str]:
    """`semgcn, wide random` is lifter `semgcn` under the arm `wide random`."""
    lifter, _, arm = variant.rpartition(", ")
    return lifter, arm


def target_mean(errors: dict[tuple[str, str], float]) -> float:
    """Mean MPJPE in mm over the target rows, each of the same weight."""
    return float(np.mean([value for (part, _), value in errors.items() if part.startswith("target")]))


def measure(folder: Path, every: int) -> Errors:
    """MPJPE of every lifter on every n-th frame of each test; remembered beside the run.

    Windows of temporal lifters are cut from all frames. Frames of a clip resemble each other, so that few of them say
    as much as all.
    """
    memory = folder / f"lifters_every_{every}.json"
    known: dict[str, dict[str, float]] = json.loads(memory.read_text()) if memory.exists() else {}
    errors: Errors = {}
    table: PoseTable | None = None
    for (name, seed), path in lifters_of(folder).items():
        key = f"{name}/{seed}"
        if key not in known:
            if table is None:
                source = PairsSource(url=str(folder / SOURCE), parts=("source_valid", "target_*"))
                table = load_table([source]).in_time_order()
            lifter = load_trained_lifter(str(path))
            known[key] = {f"{part}/{rig}": _error_mm(lifter, table, part, rig, every) for part, rig in ROWS}
            memory.write_text(json.dumps(known, indent=1))
            print(f"measured {key}", flush=True)
        errors.setdefault(name, {})[seed] = {row: known[key]["/".join(row)] for row in ROWS}
    return errors


def _error_mm(lifter: TrainedLifter, table: PoseTable, part: str, rig: str, every: int) -> float:
    wanted = np.flatnonzero((table.part == part) & (table.rig == rig))[::every]
    predicted = predict(lifter, table, wanted=wanted)
    target = torch.from_numpy(table.joints_root_m[wanted])
    return float(evaluate(PROTOCOL, predicted, target, table.skeleton).metrics["mpjpe_mm"])


def updates_of(folder: Path) -> dict[str, int]:
    """How many updates each variant of a run's recipe trains its lifter for."""
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    own, compare = recipe["loop"]["lifter_steps"], recipe["compare"]
    return {recipe["loop_name"]: own} | {
        name: loop.get("lifter_steps", own) for name, loop in compare.items()
    }


def table(errors: Errors, updates: Mapping[str, int]) -> str:
    """The lifters in Markdown, arm by arm; seeds are averaged."""
    tests = [f"{part.replace('_', ' ')}{'' if rig == PLAIN else ', 3DHP-like'}" for part, rig in ROWS]
    lines = [
        f"MPJPE in mm ({PROTOCOL}). Change: of the target mean against the same lifter's `source only`.",
        "",
        f"| lifter | updates | trained with | {' | '.join(tests)} | target mean | change |",
        "|---" * (len(tests) + 5) + "|",
    ]
    for lifter in dict.fromkeys(lifter_and_arm(name)[0] for name in errors):
        alone = errors.get(f"{lifter}, {ARMS[0]}")
        for arm in ARMS:
            seeds = errors.get(f"{lifter}, {arm}")
            if seeds is None:
                continue
            cells = [f"{np.mean([one[row] for one in seeds.values()]):.1f}" for row in ROWS]
            mean = float(np.mean([target_mean(one) for one in seeds.values()]))
            change = ""
            if alone is not None and arm != ARMS[0]:
                change = f"{mean / np.mean([target_mean(one) for one in alone.values()]) - 1.0:+.1%}"
            lines.append(
                f"| {lifter} | {updates[f'{lifter}, {arm}']:,} | {arm} | {' | '.join(cells)} | {mean:.1f} | {change} |"
            )
    return "\n".join(lines)


def main() -> None:
    """Print the table; with `--write` put it into docs/lifters.md too."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="what `posemill run lifters` was given as out")
    parser.add_argument("--write", action="store_true", help="write the table into docs/lifters.md")
    parser.add_argument("--every", type=int, default=20, help="measure every n-th frame")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    text = table(measure(arguments.folder, arguments.every), updates_of(arguments.folder))
    print(text)
    if arguments.write:
        write_below(DOCUMENT, MARK, text)


if __name__ == "__main__":
    main()
