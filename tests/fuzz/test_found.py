"""Inputs that broke a reader once: each is refused by one of our errors now."""

import pytest

from tests.fuzz.targets import SPLIT, TARGETS, survives
from tests.unit.storage.importers.motion_files import asf_text

FOUND = {
    "plan: a number of 5,000 digits is a ValueError, no JSONDecodeError": ("plan", b'{"format": ' + b"1" * 5000 + b"}"),
    "plan: bytes that are no UTF-8": ("plan", b'{"format": "\xff\xfe\xfd"}'),
    "plan: 50,000 brackets": ("plan", b"[" * 50_000),
    "plan: a payload that is a list": (
        "plan",
        b'{"format": 1, "run_id": "r", "job": "j", "recipe": {}, "inputs": {}, "weights": {}, "code_version": "c",'
        b' "units": [{"unit_id": "a", "kind": "k", "rows": 1, "payload": []}]}',
    ),
    "checkpoint: metadata that is no JSON": ("checkpoint", b"posemill"),
    "asf: :units angle without a word": (
        "asf_amc",
        asf_text().replace("angle deg", "angle").replace("root lhipjoint", "root").encode() + SPLIT + b"1\n",
    ),
    "pickle: a memo index of 2**31 - 1": ("pickle", b"\x80\x02Nr\xff\xff\xff\x7f."),
    "pickle: an integer of a million bytes": ("pickle", b"\x80\x02\x8b\x40\x42\x0f\x00" + b"\x7f" * 1_000_000 + b"."),
    "recipe: a date that does not exist": ("recipe", b"job: 2001-99-99\n"),
    "recipe: a bomb of aliases": ("recipe", b"a: &a [x,x]\n" + b"".join(
        b"%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n" % (i + 1, i + 1, *[i] * 8) for i in range(97, 110)
    )),
}  # fmt: skip


@pytest.mark.parametrize("name", FOUND)
def test_it_is_refused(name: str) -> None:
    target, data = FOUND[name]
    assert not survives(TARGETS[target], data)


def checkpoint_with(metadata: str) -> bytes:
    """A sound safetensors file with this text for posemill's metadata."""
    import torch
    from safetensors.torch import save

    return save({"a": torch.zeros(2)}, metadata={"posemill": metadata})


@pytest.mark.parametrize(
    "metadata", ["", "{", "[]", "3", "null", '{"format": 1}', '{"format": 1, "metadata": []}', "[" * 50_000]
)
def test_metadata_of_a_checkpoint_may_be_anything(metadata: str) -> None:
    assert not survives(TARGETS["checkpoint"], checkpoint_with(metadata))
