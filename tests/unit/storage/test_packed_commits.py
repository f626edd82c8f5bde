import tracemalloc
from functools import reduce

import numpy as np

from poses.identity import stable_id
from storage.commit import FileEntry, UnitCommit
from storage.packed_commits import PackedCommits
from storage.statistics import Statistics, ValueRange, pair_statistics
from tests.unit.storage.samples import make_pairs

STATISTICS = pair_statistics(make_pairs(40))


def commit(unit: str, run: str = "run", rows: int = 4) -> UnitCommit:
    file = FileEntry(
        path=f"pairs/{stable_id(unit):016x}.parquet", kind="pairs", rows=rows, bytes=10, sha256="0" * 64
    )
    return UnitCommit(
        run_id=run, unit_id=unit, writer_id="w", files=(file,), rows=rows, statistics=STATISTICS
    )


def test_what_comes_out_is_what_went_in_bit_for_bit() -> None:
    commits = [commit("b"), commit("a/%", rows=7)]
    packed = PackedCommits(commits)
    assert list(packed) == commits
    assert packed == commits
    assert packed != commits[:1]
    assert (packed[1], packed[:1], len(packed)) == (commits[1], commits[:1], 2)
    assert PackedCommits() == []
    assert PackedCommits(packed) == commits


def test_a_unit_counts_once_and_units_come_in_the_order_asked_for() -> None:
    before, now = (
        PackedCommits([commit("u1"), commit("u3")]),
        PackedCommits([commit("u2"), commit("u1", rows=9)]),
    )
    chosen = before.of_units("run", ["u3", "u2", "u1"], now)
    assert [(one.unit_id, one.rows) for one in chosen] == [("u3", 4), ("u2", 4), ("u1", 9)]


def test_keys_are_those_of_the_commits_and_sorted() -> None:
    packed = PackedCommits([commit("c"), commit("a/b"), commit("b", run="another")])
    assert list(packed.by_key().keys()) == sorted(one.key for one in packed)
    assert [one.unit_id for one in packed.by_key(without=["run/c"])] == ["b", "a/b"]


def test_a_commit_takes_little_memory() -> None:
    made = [commit(f"u{number}") for number in range(200)]
    tracemalloc.start()
    packed = PackedCommits(made)
    size_bytes = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(packed) == 200
    assert size_bytes / 200 < 2_500


def test_statistics_added_up_at_once_are_those_added_one_by_one() -> None:
    parts = [pair_statistics(make_pairs(30, seed=seed)) for seed in range(5)]
    parts.append(
        Statistics(counts={"subject": {"new": 2}}, ranges={"x": ValueRange.of(np.asarray([np.nan]))})
    )
    assert Statistics.merge_all(parts) == reduce(Statistics.merged, parts, Statistics())
    assert Statistics.merge_all([]) == Statistics()
