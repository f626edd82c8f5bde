import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.errors import StoreError
from storage.paths import checked_data_path, checked_path, name_part


@given(st.text(min_size=1, max_size=40))
@settings(max_examples=60, deadline=None)
def test_a_checked_path_stays_below_the_root(path: str) -> None:
    try:
        checked = checked_path(path)
    except StoreError:
        return
    depth = 0
    for part in checked.split("/"):
        assert part not in ("", ".", "..")
        depth += 1
    assert depth >= 1
    assert not checked.startswith("/")
    assert "\\" not in checked


@given(st.text(min_size=1, max_size=40), st.text(min_size=1, max_size=40))
@settings(max_examples=60, deadline=None)
def test_different_ids_have_different_names(first: str, second: str) -> None:
    def name(identifier: str) -> str | None:
        try:
            return checked_path(name_part(identifier))
        except (StoreError, UnicodeEncodeError):
            return None

    assert first == second or name(first) is None or name(first) != name(second)


def test_an_id_with_slashes_is_one_part() -> None:
    assert name_part("cmu/07.bvh#0-100 copy=2") == "cmu%2F07.bvh%230-100%20copy=2"


@pytest.mark.parametrize("identifier", ["", ".hidden", "..", "x" * 300])
def test_ids_that_cannot_name_a_file_are_refused(identifier: str) -> None:
    with pytest.raises(StoreError, match="cannot name a file"):
        name_part(identifier)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/etc/passwd", "absolute"),
        ("..", "'..'"),
        ("pairs/../../x", "'..'"),
        ("pairs/..", "'..'"),
        ("c:/windows", "drive or a scheme"),
        ("s3://other/x", "drive or a scheme"),
        ("pairs\\..\\x", "backslash"),
        ("pairs/a\nb", "does not show"),
        ("pairs/a\x00b", "does not show"),
        ("pairs/a\u202eb", "does not show"),
        ("pairs/a\ud800b", "does not show"),
        ("pairs/*.parquet", "wildcard"),
        ("pairs/x?versionId=1", "wildcard"),
        ("pairs/" + "x" * 300, "longer"),
        ("/".join(["abcdefgh"] * 200), "longer"),
    ],
)
def test_odd_paths_are_refused_with_the_reason(path: str, reason: str) -> None:
    with pytest.raises(StoreError, match=reason):
        checked_path(path)


@pytest.mark.parametrize(
    "path",
    [
        "README.md", "pairs", "pairs/x", "pairs/.x.parquet", "pairs/a/b.parquet", "pairs/a b.parquet",
        "pairs/[ab].parquet", "pairs/%2e%2e.parquet", "pairs/a.zarr", "sequences/a.parquet", "manifests/v000001.json",
        ".scratch/x.parquet", "pairs/é.parquet", "pairs/~root.parquet", "pairs/$HOME.parquet",
    ],
)  # fmt: skip
def test_a_data_file_is_named_as_writers_name_them(path: str) -> None:
    with pytest.raises(StoreError, match="path"):
        checked_data_path(path)


@pytest.mark.parametrize(
    "path", [f"pairs/{'a1' * 12}.parquet", "sequences/a.zarr", "quarantine/A-1_2.parquet"]
)
def test_plain_data_files_pass(path: str) -> None:
    assert checked_data_path(path) == path
