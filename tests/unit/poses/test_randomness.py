"""Row-keyed randomness: independence of batches, and statistical quality."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import poses.randomness as randomness
from poses.errors import PoseShapeError
from poses.identity import derive_ids, stable_id
from poses.randomness import RowRandom

few = settings(max_examples=15, deadline=None)
ids = st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=40)
PINNED_UNIFORM = [[5523183, 7525465], [1034646, 1559119], [3494292, 8775611]]
PINNED_NORMAL = [[1064066101, 3203262219], [3192314004, 3213231774], [3214435098, 3206791432]]
PINNED_ID = 6664054815801166682
KINDS = ("normal", "uniform")


def draw(kind: str, row_id: np.ndarray, n: int, copy: int | np.ndarray = 0, stream: str = "s") -> np.ndarray:
    return getattr(RowRandom(3, "test", row_id, copy), kind)(n, stream=stream)


@pytest.mark.parametrize("kind", KINDS)
@few
@given(row_ids=ids, n=st.integers(1, 50), data=st.data())
def test_rows_do_not_depend_on_order_or_batch(
    kind: str, row_ids: list[int], n: int, data: st.DataObject
) -> None:
    row_id = np.asarray(row_ids, np.int64)
    whole = draw(kind, row_id, n)
    order = np.asarray(data.draw(st.permutations(range(len(row_id)))))
    assert np.array_equal(draw(kind, row_id[order], n), whole[order])
    cut = data.draw(st.integers(0, len(row_id)))
    parts = [draw(kind, part, n) for part in (row_id[:cut], row_id[cut:])]
    assert np.array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("kind", KINDS)
def test_every_length_alignment_and_block_size_gives_the_same_bits(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    row_id = np.arange(300, dtype=np.int64)
    whole = draw(kind, row_id, 75)
    for n in (1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 74):
        assert np.array_equal(draw(kind, row_id, n), whole[:, :n])
    for rows in (1, 2, 3, 5, 13, 64, 299):
        assert np.array_equal(draw(kind, row_id[300 - rows :], 75), whole[300 - rows :])
    for block in (1, 7, 38, 100, 1_000_000):
        monkeypatch.setattr(randomness, "BLOCK_PAIRS", block)
        assert np.array_equal(draw(kind, row_id, 75), whole)


def test_everything_named_in_the_key_matters() -> None:
    row_id = np.arange(4, dtype=np.int64)
    base = RowRandom(1, "a", row_id, 0).uniform(8, stream="x")
    others = (
        RowRandom(2, "a", row_id, 0).uniform(8, stream="x"),
        RowRandom(1, "b", row_id, 0).uniform(8, stream="x"),
        RowRandom(1, "a", row_id + 4, 0).uniform(8, stream="x"),
        RowRandom(1, "a", row_id, 1).uniform(8, stream="x"),
        RowRandom(1, "a", row_id, 0).uniform(8, stream="y"),
    )
    for other in others:
        assert not np.isclose(other, base).any()
    copies = np.asarray([0, 1, 0, 1], np.int64)
    mixed = RowRandom(1, "a", row_id, copies).uniform(8, stream="x")
    assert np.array_equal(mixed[::2], base[::2])
    assert np.array_equal(mixed[1::2], others[3][1::2])


def test_the_numbers_are_pinned_for_ever() -> None:
    """A change here changes every dataset ever made with a seed."""
    random = RowRandom(0, "pinned", np.asarray([0, 1, 2**62], np.int64), 5)
    assert (random.uniform(2, stream="u") * 2**24).astype(int).tolist() == PINNED_UNIFORM
    np.testing.assert_array_equal(random.normal(2, stream="n").view(np.uint32).tolist(), PINNED_NORMAL)


def test_normals_are_normal_and_independent() -> None:
    table = draw("normal", np.arange(8000, dtype=np.int64), 64).astype(np.float64)
    flat = table.ravel()
    count = len(flat)
    assert np.isfinite(flat).all()
    assert abs(flat.mean()) < 4 / np.sqrt(count)
    assert abs(flat.var() - 1) < 4 * np.sqrt(2 / count)
    assert abs((flat**3).mean()) < 4 * np.sqrt(15 / count)
    assert abs((flat**4).mean() - 3) < 4 * np.sqrt(96 / count)
    assert stats.kstest(flat[:200_000], "norm").pvalue > 1e-3
    for power in (table, np.abs(table) - np.abs(table).mean()):
        for lag in (1, 2, 3, 32):
            assert abs((power[lag:] * power[:-lag]).mean()) < 5 / np.sqrt(count)
            assert abs((power[:, lag:] * power[:, :-lag]).mean()) < 5 / np.sqrt(count * (64 - lag) / 64)
    correlation = np.corrcoef(table, rowvar=False) - np.eye(64)
    assert np.abs(correlation).max() < 5 / np.sqrt(8000)


def test_polynomials_have_float32_accuracy() -> None:
    bits = np.concatenate([np.arange(2**12), np.linspace(0, 2**24 - 1, 100_001)]).astype(np.uint32)
    exact = np.sqrt(-2 * np.log((bits + 1.0) / 2**24))
    np.testing.assert_allclose(randomness._radius(bits.copy()), exact, rtol=4e-7, atol=2e-7)
    words = np.linspace(0, 2**32 - 1, 100_001).astype(np.uint32)
    cosine, sine = randomness._point_on_circle(words.copy())
    np.testing.assert_allclose(cosine.astype(float) ** 2 + sine.astype(float) ** 2, 1, atol=4e-7)
    angles = np.sort(np.arctan2(sine, cosine))
    np.testing.assert_allclose(angles, np.linspace(-np.pi, np.pi, 100_001), atol=2e-4)


def test_uniforms_are_even_in_every_bit_and_neighbouring_keys_avalanche() -> None:
    values = draw("uniform", np.arange(20_000, dtype=np.int64), 8)
    assert values.min() >= 0
    assert values.max() < 1
    counts = np.bincount((values * 256).astype(int).ravel(), minlength=256)
    assert stats.chisquare(counts).pvalue > 1e-3
    words = (values * 2**24).astype(np.int64)
    for bit in range(24):
        assert abs(((words >> bit) & 1).mean() - 0.5) < 4 * 0.5 / np.sqrt(values.size)
    flipped = words[0::2] ^ words[1::2]  # rows whose ids differ in their lowest bit
    share = np.asarray([((flipped >> bit) & 1).mean() for bit in range(24)])
    assert np.abs(share - 0.5).max() < 4 * 0.5 / np.sqrt(flipped.size)


def test_integers_cover_their_range() -> None:
    values = RowRandom(0, "i", np.arange(2000, dtype=np.int64)).integers(3, 5)
    assert sorted(set(values.ravel().tolist())) == [0, 1, 2, 3, 4]


def test_copies_must_fit_the_rows() -> None:
    with pytest.raises(PoseShapeError, match="one copy number or 3"):
        RowRandom(0, "x", np.arange(3, dtype=np.int64), np.zeros(2, np.int64))


@few
@given(
    row_ids=st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=50, unique=True),
    copy=st.integers(0, 1000),
)
def test_derived_ids_stay_unique_and_fit_63_bits(row_ids: list[int], copy: int) -> None:
    source = np.asarray(row_ids, np.int64)
    derived = derive_ids(source, 1, "poseaug", copy)
    assert len(set(derived.tolist())) == len(row_ids)
    assert (derived >= 0).all()
    assert np.array_equal(derive_ids(source, 1, "poseaug", np.full(len(source), copy)), derived)
    assert np.array_equal(derive_ids(source[::-1].copy(), 1, "poseaug", copy), derived[::-1])
    assert not np.array_equal(derive_ids(source, 2, "poseaug", copy), derived)
    assert not np.array_equal(derive_ids(source, 1, "poseaug", copy + 1), derived)


def test_stable_ids_tell_parts_apart() -> None:
    assert stable_id("ab", "c") != stable_id("a", "bc")
    assert stable_id(1) != stable_id("1")
    assert stable_id("cmu_bvh/07/07_01", 3) == PINNED_ID
    assert 0 <= stable_id("x") < 2**63
