"""`make bench`: run every benchmark, print the table, write it to docs/benchmarks.md with `--write`."""

import argparse
import importlib
import platform
from pathlib import Path

import torch

from benchmarks.document import with_rows_replaced, write_below
from benchmarks.row import BenchmarkRow

MODULES = (
    "bench_poseaug",
    "bench_videopose",
    "bench_lifters",
    "bench_repnet",
    "bench_storage",
    "bench_mass_augment",
    "bench_first_shard",
    "bench_pool",
    "bench_scaling",
)
DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"
MARK = "<!-- measured: everything below is written by `make bench WRITE=--write` -->"


def processor_name() -> str:
    """The processor as the system names it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def table(rows: list[BenchmarkRow]) -> str:
    """The rows as a Markdown table."""

    def number(value: float | None) -> str:
        return "-" if value is None else f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"

    lines = [
        "| what | figure | unit | limit in the same run | of the limit | goal |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        limit = "-" if row.limit is None else f"{number(row.limit)} ({row.limit_name})"
        ratio = "-" if row.ratio is None else f"{row.ratio:.0%}"
        goal = "-" if row.goal is None else f"{row.goal:.0%}"
        name = f"{row.name} ({row.note})" if row.note else row.name
        lines.append(f"| {name} | {number(row.value)} | {row.unit} | {limit} | {ratio} | {goal} |")
    return "\n".join(lines)


def machine() -> str:
    """One line that says what the figures were measured on."""
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "no GPU"
    return f"{processor_name()}, {torch.get_num_threads()} torch thread(s), {gpu}, torch {torch.__version__}"


def main() -> None:
    """Measure everything, or what `--only` names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=MODULES, help=f"some of {', '.join(MODULES)}")
    parser.add_argument("--write", action="store_true", help="write the table, or these rows of it, to docs")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"posemill benchmarks on {machine()}", flush=True)
    rows: list[BenchmarkRow] = []
    for name in arguments.only:
        print(f"- {name} ...", flush=True)
        rows.extend(importlib.import_module(f"benchmarks.{name}").measure())
    text = table(rows)
    print(text)
    if arguments.write:
        text = f"Measured on {machine()}.\n\n{text}"
        if arguments.only != MODULES:
            text = with_rows_replaced(DOCUMENT.read_text().split(MARK)[1].strip(), text)
        write_below(DOCUMENT, MARK, text)


if __name__ == "__main__":
    main()
