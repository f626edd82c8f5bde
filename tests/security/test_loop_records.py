"""A loop's checkpoint record that is damaged or forged: refused by our error, and no file outside is read."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines.closed_loop.checkpoint import LoopCheckpoints, LoopState, MemberState
from pipelines.closed_loop.errors import LoopStateError
from poses.errors import PosemillError
from storage.object_store import open_store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A loop with one checkpoint."""
    state = LoopState(2, {"trainer": MemberState({"w": torch.ones(3)}, {"step": 4})})
    checkpoints(tmp_path / "out").save(state)
    return tmp_path / "out"


def checkpoints(folder: Path) -> LoopCheckpoints:
    return LoopCheckpoints(open_store(folder), "loop/checkpoints", "digest")


def rewrite(folder: Path, **changes: Any) -> None:
    record = folder / "loop" / "checkpoints" / "round-000002.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), **changes}))


def test_a_sound_record_is_read(folder: Path) -> None:
    state = checkpoints(folder).load_latest()
    assert state is not None
    assert state.members["trainer"].scalars == {"step": 4}


@pytest.mark.parametrize(
    "changes",
    [
        {"members": None},
        {"members": []},
        {"members": {"trainer": 3}},
        {"members": {"trainer": {"path": 3, "sha256": "x", "scalars": {}}}},
        {"members": {"trainer": {"path": "x", "sha256": "x"}}},
        {"rounds_done": "2"},
        {"attempt": None},
    ],
)
def test_a_record_of_another_shape_is_refused(folder: Path, changes: dict[str, Any]) -> None:
    rewrite(folder, **changes)
    with pytest.raises(LoopStateError, match=r"round-000002\.json: wanted members"):
        checkpoints(folder).load_latest()


def test_a_record_is_no_bomb_of_brackets(folder: Path) -> None:
    (folder / "loop" / "checkpoints" / "round-000002.json").write_text("[" * 50_000)
    with pytest.raises(LoopStateError):
        checkpoints(folder).load_latest()


@pytest.mark.parametrize("path", ["../outside", "/etc/passwd", "loop/../../outside"])
def test_a_record_cannot_name_a_file_outside(folder: Path, path: str) -> None:
    (folder.parent / "outside").write_bytes(b"x")
    entry = {"path": path, "sha256": hashlib.sha256(b"x").hexdigest(), "scalars": {}}
    rewrite(folder, members={"trainer": entry})
    with pytest.raises(PosemillError, match="wanted a relative path below"):
        checkpoints(folder).load_latest()


def test_a_forged_file_with_the_right_digest_is_still_only_tensors(folder: Path) -> None:
    open_store(folder).write_bytes("loop/checkpoints/data/forged", b"\x80\x04cos\nsystem\n.")
    digest = hashlib.sha256(b"\x80\x04cos\nsystem\n.").hexdigest()
    rewrite(
        folder, members={"trainer": {"path": "loop/checkpoints/data/forged", "sha256": digest, "scalars": {}}}
    )
    with pytest.raises(LoopStateError, match="wanted a safetensors file"):
        checkpoints(folder).load_latest()
