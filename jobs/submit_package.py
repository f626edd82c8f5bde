"""What travels to a cluster with a job: the checkout and the recipe, in one zip that is the job's working directory.

Left out: hidden files and folders (.git, .venv, .env), outputs and data, build products, anything that looks like a
key, and every symbolic link, which could bring in files from beside the checkout. Equal content gives equal bytes, so
that a cluster that has the package is not sent it again.
"""

import fnmatch
import os
import stat
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jobs.errors import RecipeError

RECIPE_FOLDER = "submitted"
EXCLUDED_AT_TOP = ("out", "data", "runs", "build", "dist", "benchmarks", "tests", "docs")
"""Folders left out at the top only: `storage/data`, say, would be code."""
EXCLUDED = ("__pycache__", "*.pyc", "*.egg-info", "node_modules")
SECRET_NAMES = (
    "*.pem", "*.key", "*.p12", "*.pfx", "id_rsa*", "id_ed25519*", "auth_token*", "credentials*", "*.env", "*secret*",
)  # fmt: skip
MAX_BYTES = 200 * 2**20
"""Ray keeps packages in the head's memory."""
_EPOCH = (2020, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Package:
    """A packed working directory."""

    files: int
    bytes: int
    secrets_left_out: tuple[str, ...]
    """Paths that were left out because of their names."""


def checkout_folder() -> Path | None:
    """The folder that holds the running code, if it is a checkout and not an installation."""
    root = Path(__file__).resolve().parent.parent
    return root if (root / "pyproject.toml").is_file() else None


def pack(folder: Path | None, recipe_name: str, recipe_text: str, target: Path) -> Package:
    """Write the zip.

    Args:
        folder: The checkout; None where the cluster has posemill installed, so that only the recipe travels.
        recipe_name: A file name.
        recipe_text: The recipe as YAML.
        target: The zip file to write.

    Raises:
        RecipeError: if the folder is missing or holds more than a working directory may.
    """
    if folder is not None and not folder.is_dir():
        raise RecipeError(f"--working-dir {folder}: there is no such folder; give the checkout of posemill")
    secrets: list[str] = []
    files = sorted(_files(folder, secrets)) if folder is not None else []
    _check_size(folder, files)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name, path in files:
            executable = bool(path.stat().st_mode & stat.S_IXUSR)
            _add(archive, name, path.read_bytes(), executable)
        _add(archive, recipe_path(recipe_name), recipe_text.encode(), False)
    return Package(len(files) + 1, target.stat().st_size, tuple(sorted(secrets)))


def recipe_path(recipe_name: str) -> str:
    """Where the recipe stands in the working directory."""
    plain = "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in recipe_name)
    return f"{RECIPE_FOLDER}/{plain.lstrip('.') or 'recipe.yaml'}"


def _files(folder: Path, secrets: list[str]) -> Iterator[tuple[str, Path]]:
    """(path in the zip, file) of all that travels."""
    for parent, folders, names in os.walk(folder):
        here = Path(parent)
        at_top = here == folder
        folders[:] = [
            name for name in sorted(folders) if _is_wanted(name, at_top) and not (here / name).is_symlink()
        ]
        for name in names:
            path = here / name
            if not _is_wanted(name, at_top) or path.is_symlink() or not path.is_file():
                continue
            inside = path.relative_to(folder).as_posix()
            if any(fnmatch.fnmatch(name.lower(), pattern) for pattern in SECRET_NAMES):
                secrets.append(inside)
            else:
                yield inside, path


def _is_wanted(name: str, at_top: bool) -> bool:
    if name.startswith(".") or (at_top and name in (*EXCLUDED_AT_TOP, RECIPE_FOLDER)):
        return False
    return not any(fnmatch.fnmatch(name, pattern) for pattern in EXCLUDED)


def _check_size(folder: Path | None, files: list[tuple[str, Path]]) -> None:
    by_top: Counter[str] = Counter()
    for name, path in files:
        by_top[name.partition("/")[0]] += path.stat().st_size
    if by_top.total() > MAX_BYTES:
        top = ", ".join(f"{name} {size / 2**20:,.0f} MiB" for name, size in by_top.most_common(3))
        raise RecipeError(
            f"--working-dir {folder}: {by_top.total() / 2**20:,.0f} MiB, more than the {MAX_BYTES / 2**20:,.0f} that "
            f"travel with a job ({top}); put data on object storage, or name folders of yours out/ or data/"
        )


def _add(archive: zipfile.ZipFile, name: str, content: bytes, executable: bool) -> None:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = (stat.S_IFREG | (0o755 if executable else 0o644)) << 16
    archive.writestr(entry, content)
