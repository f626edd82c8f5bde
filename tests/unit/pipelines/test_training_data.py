"""Mixed batches: shares, passes, mirrors and replicas, all a function of seed and step."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.errors import SettingsError
from pipelines.mapped_rows import MappedRows
from pipelines.pose_table import PairsSource, Windows, load_table
from pipelines.training_data import EndlessRows, MixedBatches, ReplicaShare, rows_of_each
from poses.skeleton import load_skeleton
from tests.unit.pipelines.cases import make_source

SKELETON = load_skeleton("h36m_16")


class Numbered:
    """Rows whose keypoints and joints hold their source's and their own number."""

    def __init__(self, source: int, count: int) -> None:
        self._source, self._count = source, count

    def __len__(self) -> int:
        return self._count

    def inputs(self, rows: np.ndarray) -> torch.Tensor:
        values = torch.from_numpy(np.stack([np.full(len(rows), self._source), rows], 1)).float()
        return values[:, None].repeat(1, 16, 1)

    def targets(self, rows: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(rows)[:, None, None].float().repeat(1, 16, 3)


def batches(batch_rows: int = 8, mirror: float = 0.0, share: ReplicaShare | None = None) -> MixedBatches:
    sources = [Numbered(1, 7), Numbered(2, 50)]
    return MixedBatches(
        sources, [3.0, 1.0], batch_rows, mirror, (SKELETON, SKELETON), seed=4, share=share or ReplicaShare()
    )


def numbers(inputs: torch.Tensor) -> list[tuple[int, int]]:
    return [(int(source), int(row)) for source, row in inputs[:, 0]]


def test_every_batch_has_every_share_and_every_pass_every_row() -> None:
    made = batches()
    assert made.rows_of_each == [6, 2]
    seen = [numbers(made.batch(step)[0]) for step in range(7)]
    for batch in seen:
        assert [source for source, _ in batch] == [1] * 6 + [2] * 2
    small = [row for batch in seen for source, row in batch if source == 1]
    passes = [small[start : start + 7] for start in range(0, 42, 7)]
    assert all(sorted(one) == list(range(7)) for one in passes), "a pass holds every row once"
    assert len({tuple(one) for one in passes}) > 1, "passes have orders of their own"


def test_a_batch_is_a_function_of_seed_and_step_alone() -> None:
    made, again = batches(mirror=0.5), batches(mirror=0.5)
    steps = [5, 0, 5, 3]
    for step, other in zip(steps, [again.batch(step) for step in steps], strict=True):
        inputs, targets = made.batch(step)
        assert torch.equal(inputs, other[0])
        assert torch.equal(targets, other[1])
    assert not torch.equal(made.batch(0)[0], made.batch(1)[0])


@pytest.mark.parametrize("mirror", [0.0, 0.5])
def test_replicas_share_out_the_whole_batch(mirror: float) -> None:
    whole = batches(mirror=mirror).batch(2)
    parts = [batches(mirror=mirror, share=ReplicaShare(rank, 2)).batch(2) for rank in range(2)]
    for whole_tensor, first, second in zip(whole, *parts, strict=True):
        assert len(first) == len(second) == 4
        assert torch.equal(whole_tensor[0::2], first)
        assert torch.equal(whole_tensor[1::2], second)
    with pytest.raises(SettingsError, match="shared out evenly to workers = 3"):
        batches(share=ReplicaShare(0, 3))


def test_mirrored_rows_change_sides_and_sign() -> None:
    made = batches(mirror=1.0)
    inputs, targets = made.batch(0)
    assert bool((inputs[..., 0] < 0).all())
    assert bool((targets[..., 0] <= 0).all())
    assert bool((targets[..., 1] >= 0).all())
    assert 0 < sum(bool((row[..., 0] < 0).all()) for row in batches(mirror=0.5).batch(0)[0]) < 8


def test_an_order_without_end_may_be_entered_anywhere() -> None:
    whole = EndlessRows(5, 0, "x").take(0, 23)
    assert np.array_equal(EndlessRows(5, 0, "x").take(8, 12), whole[8:20])
    assert not np.array_equal(EndlessRows(5, 1, "x").take(0, 23), whole)


def test_shares_become_rows() -> None:
    assert rows_of_each([1000, 1], 32) == [31, 1]
    assert rows_of_each([1, 1, 1], 32) == [11, 10, 11]
    with pytest.raises(SettingsError, match="too few for 3 sources"):
        rows_of_each([1, 1, 1], 2)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = tmp_path_factory.mktemp("source")
    make_source(url)
    return str(url)


@pytest.mark.parametrize(
    ("receptive_field", "causal", "every_frame"), [(1, False, False), (9, False, False), (9, True, True)]
)
def test_mapped_rows_are_those_in_memory(
    dataset: str, tmp_path: Path, receptive_field: int, causal: bool, every_frame: bool
) -> None:
    source = PairsSource(url=dataset, parts=("source_*",), rigs=("h36m_like",))
    table = load_table([source])
    memory = Windows(table, receptive_field, causal, every_frame)
    mapped = MappedRows(source, str(tmp_path / "cache"), receptive_field, causal, every_frame)
    assert len(memory) == len(mapped) > 100
    frames = (1 if causal is False else receptive_field,) if receptive_field > 1 else ()
    assert memory.targets(np.arange(2)).shape == (2, *frames, 16, 3)
    rows = np.random.default_rng(0).permutation(len(memory))
    assert torch.equal(mapped.targets(rows), memory.targets(rows))
    assert torch.equal(mapped.inputs(rows), memory.inputs(rows))
    with pytest.raises(SettingsError, match="no pairs in parts nobody"):
        MappedRows(source.model_copy(update={"parts": ("nobody",)}), str(tmp_path / "cache"))
