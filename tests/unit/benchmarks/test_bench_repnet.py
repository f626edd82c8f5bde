"""The benchmark's plain autograd form and the fast training step give the same numbers."""

from dataclasses import astuple

import pytest
import torch

from benchmarks.bench_repnet import make_batch, make_trainers


def test_fast_and_plain_steps_have_the_same_numbers() -> None:
    fast, plain = make_trainers("cpu", width=24)
    keypoints, poses, mixing = make_batch("cpu")
    for _ in range(4):
        ours = fast.step(keypoints, poses, mixing=mixing)
        theirs = plain.step(keypoints, poses, mixing)
        assert astuple(ours) == pytest.approx(astuple(theirs), rel=1e-4)
    for one, other in zip(fast.lifter.parameters(), plain.lifter.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-3)
    for one, other in zip(fast.critic.parameters(), plain.critic.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-3)
