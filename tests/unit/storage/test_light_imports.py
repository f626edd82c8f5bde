"""Reading and writing datasets costs no imports that they do not use: workers and commands start in half a second."""

import subprocess
import sys

HEAVY = ("torch", "zarr", "pandas", "fsspec", "ray")


def test_reading_and_writing_pairs_imports_nothing_heavy() -> None:
    script = (
        "import sys, storage.reader, storage.writer, pipelines.executor, pipelines.worker, benchmarks.mirror\n"
        f"print(*[name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
