"""Checkpoints: exact, atomic, and clear about damage."""

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from estimators.checkpoints import (
    checkpoint_from_bytes,
    checkpoint_to_bytes,
    load_checkpoint,
    load_module_state,
    pack,
    save_checkpoint,
    unpack,
)
from estimators.errors import CheckpointError

TENSORS = {
    "a/x": torch.arange(6.0).view(2, 3),
    "a/n": torch.tensor(3),
    "b/r": torch.arange(4, dtype=torch.uint8),
}


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "c.safetensors"
    save_checkpoint(path, TENSORS, {"epoch": 3, "rate": 0.1, "names": ["p", "q"]})
    loaded = load_checkpoint(path)
    assert loaded.metadata == {"epoch": 3, "rate": 0.1, "names": ["p", "q"]}
    assert loaded.tensors.keys() == TENSORS.keys()
    for name, value in TENSORS.items():
        assert torch.equal(loaded.tensors[name], value)
        assert loaded.tensors[name].dtype == value.dtype
    assert os.listdir(path.parent) == ["c.safetensors"]


def test_equal_contents_give_equal_bytes() -> None:
    reordered = dict(reversed(TENSORS.items()))
    assert checkpoint_to_bytes(TENSORS, {"a": 1}) == checkpoint_to_bytes(reordered, {"a": 1})


def test_metadata_keeps_its_order() -> None:
    metadata = checkpoint_from_bytes(checkpoint_to_bytes({}, {"z": 1, "a": {"y": 1, "b": 2}})).metadata
    assert list(metadata) == ["z", "a"]
    assert list(metadata["a"]) == ["y", "b"]


def test_shared_and_strided_tensors_are_saved_by_value() -> None:
    base = torch.arange(12.0).view(3, 4)
    data = checkpoint_to_bytes({"whole": base, "turned": base.t(), "row": base[1]}, {})
    assert torch.equal(checkpoint_from_bytes(data).tensors["turned"], base.t())


@pytest.mark.parametrize("cut", [4, 60, -1])
def test_truncated_files_are_named(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "c.safetensors"
    path.write_bytes(checkpoint_to_bytes(TENSORS, {})[:cut])
    with pytest.raises(CheckpointError, match=r"c\.safetensors: not a readable safetensors file"):
        load_checkpoint(path)


def test_foreign_missing_and_unserialisable(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.safetensors"
    save_file({"x": torch.zeros(2)}, foreign)
    with pytest.raises(CheckpointError, match="without posemill's metadata"):
        load_checkpoint(foreign)
    with pytest.raises(CheckpointError, match="no such checkpoint file"):
        load_checkpoint(tmp_path / "absent")
    with pytest.raises(CheckpointError, match="plain JSON"):
        checkpoint_to_bytes({}, {"bad": object()})
    with pytest.raises(CheckpointError, match="plain JSON"):
        checkpoint_to_bytes({}, {"bad": float("nan")})


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, TENSORS, {"version": 1})

    def broken(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(path, TENSORS, {"version": 2})
    assert load_checkpoint(path).metadata == {"version": 1}
    assert os.listdir(tmp_path) == ["c.safetensors"]


def test_pack_and_unpack() -> None:
    assert unpack(pack(a={"x": torch.ones(1)}, ab={"x": torch.zeros(1)}), "a") == {"x": torch.ones(1)}


def test_module_state_names_what_does_not_fit() -> None:
    linear = torch.nn.Linear(2, 2)
    with pytest.raises(CheckpointError, match="'bias' is missing"):
        load_module_state(linear, {"weight": torch.zeros(2, 2)}, "here")
    with pytest.raises(CheckpointError, match="unknown tensor 'extra'"):
        load_module_state(linear, {**linear.state_dict(), "extra": torch.zeros(1)}, "here")
    with pytest.raises(CheckpointError, match=r"wants shape \[2, 2\], got \[3, 2\]"):
        load_module_state(linear, {**linear.state_dict(), "weight": torch.zeros(3, 2)}, "here")
