"""The replay pool against a plain loop over samples, and its state."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from augment.errors import AugmentError
from augment.poseaug.replay_pool import ReplayPool


class LoopPool:
    """The published rule, sample by sample, on the same random numbers."""

    def __init__(self, size: int, seed: int) -> None:
        self.size, self.samples, self.random = size, [], torch.Generator().manual_seed(seed)

    def exchange(self, fakes: torch.Tensor) -> torch.Tensor:
        out = []
        room = min(self.size - len(self.samples), len(fakes))
        rest = len(fakes) - room
        draws = torch.rand(rest, generator=self.random) if rest else []
        slots = torch.randint(self.size, (rest,), generator=self.random) if rest else []
        for row, fake in enumerate(fakes):
            if row < room:
                self.samples.append(fake.clone())
                out.append(fake)
            elif draws[row - room] < 0.5:
                slot = int(slots[row - room])
                out.append(self.samples[slot])
                self.samples[slot] = fake.clone()
            else:
                out.append(fake)
        return torch.stack(out)


@settings(max_examples=40, deadline=None)
@given(
    size=st.integers(1, 7),
    rows=st.lists(st.integers(1, 20), min_size=1, max_size=6),
    seed=st.integers(0, 999),
)
def test_equals_a_loop_over_samples(size: int, rows: list[int], seed: int) -> None:
    pool, loop = ReplayPool(size, (1,), seed), LoopPool(size, seed)
    counter = 0
    for n in rows:
        fakes = torch.arange(counter, counter + n, dtype=torch.float32).unsqueeze(1)
        counter += n
        assert torch.equal(pool.exchange(fakes), loop.exchange(fakes))


def test_nothing_is_handed_out_twice_and_half_is_exchanged() -> None:
    pool = ReplayPool(500, (1,), seed=0)
    first = torch.arange(500.0).unsqueeze(1)
    assert torch.equal(pool.exchange(first), first)
    given_out = pool.exchange(torch.arange(500.0, 1000.0).unsqueeze(1))[:, 0]
    assert len(set(given_out.tolist())) == 500
    # 500 (1 - exp(-1/2)) = 197 of the slots are drawn at least once
    assert 165 < int((given_out < 500).sum()) < 230


def test_state_continues_the_same_numbers() -> None:
    pool, other = ReplayPool(8, (2,), seed=1), ReplayPool(8, (2,), seed=9)
    for step in range(3):
        pool.exchange(torch.full((6, 2), float(step)))
    other.load_state(*pool.state())
    fakes = torch.arange(12.0).view(6, 2)
    assert torch.equal(pool.exchange(fakes), other.exchange(fakes))


def test_a_pool_that_does_not_fit_is_refused() -> None:
    pool = ReplayPool(8, (2,), seed=1)
    pool.exchange(torch.zeros(6, 2))
    with pytest.raises(AugmentError, match=r"at most 4 samples of shape \[2\], got a state of 6"):
        ReplayPool(4, (2,), seed=1).load_state(*pool.state())


def test_a_pool_of_size_zero_passes_everything_through() -> None:
    fakes = torch.arange(4.0).unsqueeze(1)
    assert torch.equal(ReplayPool(0, (1,), seed=0).exchange(fakes), fakes)
