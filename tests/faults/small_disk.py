"""A disk of a few MB for a script: tmpfs in a mount namespace of its own, gone with the process."""

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def _unshared(disk: Path, size_kb: int, command: list[str]) -> subprocess.CompletedProcess[str]:
    mount = f'mount -t tmpfs -o size={size_kb}k posemill "$0" && exec "$@"'
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, str(disk), *command],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@cache
def can_mount() -> bool:
    """Whether this machine lets a process mount a disk for itself."""
    return shutil.which("unshare") is not None and _unshared(Path("/mnt"), 64, ["true"]).returncode == 0


def run_on_small_disk(disk: Path, size_kb: int, script: str) -> subprocess.CompletedProcess[str]:
    """Runs a Python script with an empty disk of that size at the folder `disk`, its `sys.argv[1]`."""
    disk.mkdir(parents=True, exist_ok=True)
    return _unshared(disk, size_kb, [sys.executable, "-c", script, str(disk)])
