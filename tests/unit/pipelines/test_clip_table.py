"""Clips that share a key are refused, with a way out that fits where they come from."""

from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.errors import PlanError
from pipelines.stages.clip_table import TakenClip, refuse_repeated_clips, write_clip_table
from storage.object_store import open_store

CLIP = TakenClip("walk", "anna", "walk", "source_train", 30.0, 40, "a/take.npz")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (("a/take.npz", "b/take.npz"), r"from a/take\.npz and from b/take\.npz.*options\.index_csv"),
        (("embedded:seed=0", "embedded:seed=1"), r"from embedded:seed=0 and .*another output \(--out\)"),
    ],
)
def test_a_repeated_key_is_refused(tmp_path: Path, files: tuple[str, str], words: str) -> None:
    store = open_store(tmp_path)
    for unit, file in zip(("u0", "u1"), files, strict=True):
        write_clip_table(store, "import-1", unit, [replace(CLIP, source_file=file)])
    with pytest.raises(PlanError, match=words):
        refuse_repeated_clips(store, "import-1")
