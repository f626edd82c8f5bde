"""Where tests find shared data and golden numbers; they skip with a reason where these are absent."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


def shared_path(*parts: str) -> Path:
    """Path below the shared folder; skips the test when it is not on this machine."""
    root = Path(os.environ.get("POSEMILL_SHARED", REPOSITORY.parent / "shared"))
    path = root.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"{path} is not on this machine (set POSEMILL_SHARED to the shared folder)")
    return path


def golden_path(name: str) -> Path:
    """A golden file: the repository's copy (synthetic inputs), else the shared one, else skip."""
    local = REPOSITORY / "tests" / "golden" / "data" / name
    return local if local.exists() else shared_path("golden", name)
