import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.errors import StoreError
from storage.paths import checked_path, name_part


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
