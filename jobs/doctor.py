"""What this machine has, what posemill needs, and what to do where the two differ."""

import importlib.metadata
import os
import platform
import re
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from jobs.cluster_access import TOKEN_FILE_VARIABLE, TOKEN_VARIABLE, cluster_at, probe
from jobs.errors import ClusterError

Level = Literal["ok", "note", "problem"]
_MIN_PYTHON = (3, 11)
_MIN_MEMORY_BYTES = 4e9
_MIN_DISK_BYTES = 5e9
_PINNED = ("torch", "ray", "numpy", "pyarrow", "zarr", "fsspec", "pydantic", "typer", "rich", "safetensors")
_EXTRAS = {"s3fs": "s3:// URLs", "gcsfs": "gs:// URLs", "adlfs": "abfs:// URLs"}


@dataclass(frozen=True)
class Check:
    """One line of the doctor's report."""

    name: str
    level: Level
    found: str
    advice: str = ""


def examine(folder: str = ".") -> list[Check]:
    """All checks; `folder` is where runs shall be written."""
    return [
        _python(), _cores(), _memory(), _disk(folder), *_versions(), _torch(), _ray(), *_object_stores(),
    ]  # fmt: skip


def examine_cluster(address: str | None) -> list[Check]:
    """Checks of the cluster behind a job API: does it answer, does it take our token, would it take anyone's jobs?

    Raises:
        RecipeError: if the address cannot be used.
    """
    cluster = cluster_at(address)
    try:
        access = probe(cluster)
    except ClusterError as error:
        return [Check("cluster", "problem", "no job API", str(error))]
    name = "cluster token"
    if access.open_to_all:
        token = Check(
            name, "problem", "takes jobs from anyone", "start it with RAY_AUTH_MODE=token, see cluster.yaml"
        )
    elif access.accepted:
        token = Check(name, "ok", "wanted, and ours is right")
    elif cluster.token is None:
        token = Check(
            name, "problem", "wanted, and there is none", f"set {TOKEN_VARIABLE} or {TOKEN_FILE_VARIABLE}"
        )
    else:
        token = Check(
            name, "problem", "ours is refused", "`ray get-auth-token` on the head shows the right one"
        )
    here = installed_versions(("ray",)).get("ray", "none")
    same = access.ray_version in ("", here)
    advice = "" if same else f"here it is {here}; jobs run with the cluster's"
    found = f"Ray {access.ray_version or 'of unknown version'} at {cluster.address}"
    return [Check("cluster", "ok" if same else "note", found, advice), token]


def to_json(checks: list[Check]) -> dict[str, Any]:
    """Plain JSON values."""
    return {
        "ok": all(check.level != "problem" for check in checks),
        "checks": [asdict(check) for check in checks],
    }


def lines(checks: list[Check]) -> list[str]:
    """For a reader: a mark, what was looked at, what was found, what to do."""
    marks = {"ok": "ok  ", "note": "note", "problem": "BAD "}
    width = max(len(check.name) for check in checks)
    return [
        f"{marks[c.level]}  {c.name:<{width}}  {c.found}" + (f"  ({c.advice})" if c.advice else "")
        for c in checks
    ]


def own_version() -> str:
    """posemill's version, from its metadata, else from pyproject.toml beside it."""
    try:
        return importlib.metadata.version("posemill")
    except importlib.metadata.PackageNotFoundError:
        project = Path(__file__).resolve().parent.parent / "pyproject.toml"
        found = (
            re.search(r'^version = "([^"]+)"', project.read_text(), re.MULTILINE)
            if project.is_file()
            else None
        )
        return found[1] if found else "unknown"


def pins() -> dict[str, str]:
    """Package -> version that posemill asks for, from its own metadata, else from pyproject.toml beside it."""
    try:
        wanted = importlib.metadata.requires("posemill") or []
    except importlib.metadata.PackageNotFoundError:
        project = Path(__file__).resolve().parent.parent / "pyproject.toml"
        wanted = (
            re.findall(r'^\s*"([^"]+==[^"]+)",?$', project.read_text(), re.MULTILINE)
            if project.is_file()
            else []
        )
    found = (re.match(r"([A-Za-z0-9_.-]+)(?:\[[^\]]*\])?\s*==\s*([^;\s]+)", line) for line in wanted)
    return {match[1].lower(): match[2] for match in found if match}


def installed_versions(packages: tuple[str, ...] = _PINNED) -> dict[str, str]:
    """Package -> installed version, without those that are not there."""
    versions: dict[str, str] = {}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def usable_cores() -> int:
    """Cores that this process may use: its affinity and its container's quota count."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    quota = _first_line("/sys/fs/cgroup/cpu.max").split()
    if len(quota) == 2 and quota[0].isdigit() and int(quota[1]) > 0:
        cores = min(cores, max(1, round(int(quota[0]) / int(quota[1]))))
    return cores


def memory_bytes() -> int | None:
    """Memory of this machine, or of its container where that is less; None where it cannot be told."""
    found = re.search(r"MemTotal:\s+(\d+) kB", _read("/proc/meminfo"))
    machine = int(found[1]) * 1024 if found else None
    limit = _first_line("/sys/fs/cgroup/memory.max")
    if limit.isdigit():
        return min(int(limit), machine) if machine else int(limit)
    return machine


def _python() -> Check:
    version = platform.python_version()
    if sys.version_info[:2] < _MIN_PYTHON:
        return Check("python", "problem", version, "posemill needs Python 3.11 or newer")
    return Check("python", "ok", f"{version} on {platform.system()} {platform.machine()}")


def _cores() -> Check:
    cores = usable_cores()
    advice = "" if cores > 1 else "one core works, but the augmentors and the trainer take turns"
    return Check("cores", "ok" if cores > 1 else "note", str(cores), advice)


def _memory() -> Check:
    size = memory_bytes()
    if size is None:
        return Check("memory", "note", "unknown")
    few = size < _MIN_MEMORY_BYTES
    return Check(
        "memory", "problem" if few else "ok", f"{size / 1e9:.1f} GB", "posemill needs 4 GB" if few else ""
    )


def _disk(folder: str) -> Check:
    place = Path(folder).expanduser().resolve()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    few = free < _MIN_DISK_BYTES
    advice = "runs of any size need more; give another `out`" if few else ""
    return Check("disk", "note" if few else "ok", f"{free / 1e9:.0f} GB free at {place}", advice)


def _versions() -> list[Check]:
    wanted, have = pins(), installed_versions()
    checks: list[Check] = []
    for package in _PINNED:
        pin, version = wanted.get(package), have.get(package)
        if version is None:
            checks.append(
                Check(package, "problem", "not installed", f"pip install {package}=={pin}" if pin else "")
            )
        elif pin and version.partition("+")[0] != pin:
            checks.append(Check(package, "note", version, f"posemill was tested with {pin}"))
        else:
            checks.append(Check(package, "ok", version))
    return checks


def _torch() -> Check:
    try:
        import torch
    except ImportError as error:
        return Check("gpu", "problem", f"torch does not load: {error}", "pip install torch, see README.md")
    if not torch.cuda.is_available():
        return Check("gpu", "ok", f"none; torch uses the CPU with {torch.get_num_threads()} threads")
    names = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    found = ", ".join(f"{gpu.name} ({gpu.total_memory / 1e9:.0f} GB)" for gpu in names)
    return Check("gpu", "ok", found)


def _ray() -> Check:
    address = os.environ.get("RAY_ADDRESS")
    if address:
        return Check(
            "ray cluster",
            "ok",
            f"RAY_ADDRESS is {address}; recipes use it with executor.pool.ray.address=auto",
        )
    return Check(
        "ray cluster", "ok", "none; recipes with executor.kind=ray start a private one on this machine"
    )


def _object_stores() -> list[Check]:
    have = installed_versions(tuple(_EXTRAS))
    return [
        Check(package, "ok" if package in have else "note", have.get(package, "not installed"),
              "" if package in have else f"only needed for {use}: pip install {package}")
        for package, use in _EXTRAS.items()
    ]  # fmt: skip


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return ""


def _first_line(path: str) -> str:
    return _read(path).partition("\n")[0].strip()
