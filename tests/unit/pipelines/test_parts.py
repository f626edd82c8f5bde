"""Parts of clips by file and by subject, and the rigs that see them."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from pipelines.errors import SettingsError
from pipelines.parts import RigSettings, SplitSettings, load_split


def split_file(tmp_path: Path, split: object) -> str:
    path = tmp_path / "split.json"
    path.write_text(json.dumps({"split": split}))
    return str(path)


def test_a_file_names_the_part_of_each_clip_and_leaves_the_others_out(tmp_path: Path) -> None:
    file = split_file(tmp_path, {"source_train": ["a/1"], "target_x": ["b/1"], "pairs": [["a", "b"]]})
    split = load_split(SplitSettings(file=file))
    assert split.part_of("a/1", "anyone") == "source_train"
    assert split.part_of("b/1@000120", "anyone") == "target_x", "a clip that was cut keeps its part"
    assert split.part_of("c/1", "anyone") is None
    assert load_split(SplitSettings(file=file, unlisted="keep")).part_of("c/1", "anyone") == ""


@pytest.mark.parametrize(
    ("split", "words"),
    [
        ({"other": ["a"]}, "no part matches source_.*its parts are other"),
        ({"source_a": ["x"], "target_b": ["x"]}, "clip 'x' of part 'target_b' is in part 'source_a' too"),
        ({"source_a": [["x", "y"]]}, "no clip key"),
        ([1], "wanted JSON with"),
    ],
)
def test_a_split_file_that_cannot_be_used_says_why(tmp_path: Path, split: object, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        load_split(SplitSettings(file=split_file(tmp_path, split)))


def test_a_missing_split_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"absent\.json"):
        load_split(SplitSettings(file=str(tmp_path / "absent.json")))


def test_subjects_fall_into_parts_by_share_and_never_into_two() -> None:
    split = load_split(SplitSettings(shares={"a": 0.7, "b": 0.3}))
    parts = [split.part_of(f"clip {n}", f"person {n}") for n in range(2000)]
    assert 0.66 < parts.count("a") / len(parts) < 0.74
    assert split.part_of("one", "person 5") == split.part_of("another", "person 5")
    again = load_split(SplitSettings(shares={"a": 0.7, "b": 0.3}, salt="x"))
    assert [again.part_of("", f"person {n}") for n in range(50)] != parts[:50]


def test_shares_must_sum_to_one() -> None:
    with pytest.raises(ValidationError, match=r"add up to 1, got 0\.9"):
        SplitSettings(shares={"a": 0.5, "b": 0.4})


def test_the_first_pattern_that_fits_names_the_rigs() -> None:
    rigs = RigSettings()
    assert rigs.rigs_of("source_train") == ("h36m_like",)
    assert rigs.rigs_of("source_valid") == rigs.rigs_of("target_hard") == ("h36m_like", "mpi_inf_3dhp_like")
    with pytest.raises(SettingsError, match="no pattern fits part 'other'"):
        RigSettings(by_part={"source_*": ("h36m_like",)}).rigs_of("other")
