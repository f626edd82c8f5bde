"""What every test needs before anything is imported, and what tests of several folders share."""

import os
import shutil
from pathlib import Path

import pytest

# A loaded machine takes longer than Ray's 30 s to start a node.
os.environ.setdefault("RAY_raylet_start_wait_time_s", "120")
os.environ.setdefault("RAY_agent_register_timeout_ms", "120000")


@pytest.fixture(scope="session")
def built_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small source dataset of `tests.unit.pipelines.cases`, which nobody writes to."""
    from tests.unit.pipelines.cases import make_source

    url = tmp_path_factory.mktemp("built_source") / "source"
    make_source(url)
    return url


@pytest.fixture(scope="module")
def source(built_source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the small source dataset for one module."""
    return Path(shutil.copytree(built_source, tmp_path_factory.mktemp("source"), dirs_exist_ok=True))
