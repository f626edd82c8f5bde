"""From `posemill run` on the command line to the first committed unit on disk."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.row import BenchmarkRow, time_row

REPOSITORY = Path(__file__).resolve().parents[1]
PATIENCE_S = 60.0
IMPORTS = "import torch, numpy, pyarrow, zarr, pydantic"
"""What any job has to import; the limit of its start."""


def measure() -> list[BenchmarkRow]:
    """Seconds to the first committed unit of the embedded source's import."""
    with tempfile.TemporaryDirectory() as folder:
        imports = min(_seconds_of_imports() for _ in range(2))
        seconds = min(_seconds_to_first_commit(Path(folder) / str(repeat)) for repeat in range(2))
    name = "`posemill run import` to the first committed shard"
    return [time_row(name, seconds, imports, "importing torch, pyarrow and zarr")]


def _seconds_of_imports() -> float:
    started_s = time.perf_counter()
    subprocess.run([sys.executable, "-c", IMPORTS], check=True, cwd=REPOSITORY)
    return time.perf_counter() - started_s


def _seconds_to_first_commit(out: Path) -> float:
    command = [sys.executable, "-m", "jobs.cli", "run", "import", "--set", f"out={out}"]
    started_s = time.perf_counter()
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not _committed(out):
            if process.poll() is not None and not _committed(out):
                raise RuntimeError(
                    f"{' '.join(command)} ended with {process.returncode} and committed nothing"
                )
            if time.perf_counter() - started_s > PATIENCE_S:
                raise RuntimeError(f"{' '.join(command)} committed nothing in {PATIENCE_S:g} s")
            time.sleep(0.01)
        return time.perf_counter() - started_s
    finally:
        process.kill()
        process.wait()


def _committed(out: Path) -> bool:
    return any(out.glob("commits/*/*.json"))
