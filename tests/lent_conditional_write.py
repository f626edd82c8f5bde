"""A conditional write for fsspec's memory, so that tests have a remote store without a server."""

import threading
from typing import Any

import pytest

from storage.conditional import CONDITIONAL_WRITES, ConditionalWrite

_LOCK = threading.Lock()


def _create(filesystem: Any, path: str, data: bytes) -> None:
    with _LOCK:
        filesystem.pipe_file(path, data, mode="create")


@pytest.fixture
def lent_conditional_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """`memory://` can commit while this lasts; in earnest it is refused."""
    monkeypatch.setitem(CONDITIONAL_WRITES, "memory", ConditionalWrite("a lock", _create))
