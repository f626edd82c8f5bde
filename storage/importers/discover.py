"""Which files below a folder can be imported, and as what."""

import fnmatch
import os
from pathlib import Path

from storage.errors import ImporterError
from storage.importers.deepmimic import is_deepmimic
from storage.importers.h36m_npz import MEMBER
from storage.importers.options import ImportOptions
from storage.importers.safe_npz import NpzArchive

FORMAT_OF_SUFFIX = {
    ".bvh": "bvh",
    ".amc": "asf_amc",
    ".npz": "npz",
    ".txt": "deepmimic",
    ".json": "deepmimic",
}
SHOWN_FILES = 8


def discover(path: Path, options: ImportOptions) -> list[Path]:
    """The importable files at a path, sorted; the path itself if it is a file.

    Args:
        path: A file, or a folder that is searched with all its subfolders (links to folders are not
            followed).
        options: `include` and `exclude` globs on the path below the root, with `/` between folders.

    Raises:
        ImporterError: if the path does not exist, or there is nothing to import: names what was looked for.
    """
    if path.is_file():
        return [path]
    if not path.exists():
        parent = next((folder for folder in path.parents if folder.exists()), None)
        raise ImporterError(f"{path}: no such file or folder; the path exists up to {parent}")
    root = import_root(path, options)
    found, others, left_out = [], [], 0
    for folder, _, names in os.walk(path):
        for name in names:
            file = Path(folder) / name
            if not _is_motion_file(file):
                others.append(file)
            elif _is_wanted(relative_name(file, root), options):
                found.append(file)
            else:
                left_out += 1
    if not found:
        seen = ", ".join(sorted({file.name for file in others})[:SHOWN_FILES]) or "no files at all"
        filtered = f"; {left_out} files were left out by include and exclude" if left_out else ""
        raise ImporterError(
            f"{path}: nothing to import: wanted files ending in {', '.join(FORMAT_OF_SUFFIX)} in it or its "
            f"subfolders, found {seen}{filtered}"
        )
    return sorted(found)


def _is_motion_file(file: Path) -> bool:
    name = FORMAT_OF_SUFFIX.get(file.suffix.lower())
    return name is not None and (name != "deepmimic" or is_deepmimic(file))


def format_of(path: Path) -> str:
    """A name out of `registry.READERS`: by the file's suffix, and for npz and JSON by what is in it.

    Raises:
        ImporterError: for other file names.
    """
    name = FORMAT_OF_SUFFIX.get(path.suffix.lower())
    if name is None or not _is_motion_file(path):
        raise ImporterError(
            f"{path}: cannot tell the format; wanted a name ending in {', '.join(FORMAT_OF_SUFFIX)}"
        )
    if name != "npz":
        return name
    with NpzArchive(path) as archive:
        return "h36m_npz" if MEMBER in archive.names else "clips_npz"


def import_root(path: Path, options: ImportOptions) -> Path:
    """The folder that clip keys are relative to."""
    if options.root is not None:
        return options.root
    return path if path.is_dir() else path.parent


def relative_name(file: Path, root: Path) -> str:
    """The file's path below the root without suffix, `/` between folders; its stem if it lies elsewhere."""
    try:
        below = file.resolve().relative_to(root.resolve())
    except ValueError:
        return file.stem
    return below.with_suffix("").as_posix()


def _is_wanted(name: str, options: ImportOptions) -> bool:
    included = not options.include or any(fnmatch.fnmatchcase(name, glob) for glob in options.include)
    return included and not any(fnmatch.fnmatchcase(name, glob) for glob in options.exclude)
