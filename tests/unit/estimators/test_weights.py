"""Flat weight buffers."""

import dataclasses

import pytest
import torch
from torch import nn

from estimators.errors import CheckpointError
from estimators.weights import flatten_state, load_flat


def module(seed: int, width: int = 4) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width))


def test_round_trip_is_exact_with_integers_and_odd_values() -> None:
    sender, receiver = module(0), module(1)
    sender[1].num_batches_tracked += 2**40 + 3
    sender[1].running_mean[0] = float("nan")
    buffer = flatten_state(sender, version=7)
    assert buffer.version == 7
    assert buffer.flat.dtype == torch.float32
    load_flat(receiver, buffer)
    for name, value in sender.state_dict().items():
        assert torch.equal(value.nan_to_num(9.5), receiver.state_dict()[name].nan_to_num(9.5)), name
    assert int(receiver[1].num_batches_tracked) == 2**40 + 3


def test_the_buffer_is_a_copy() -> None:
    sender = module(0)
    buffer = flatten_state(sender)
    before = buffer.flat.clone()
    with torch.no_grad():
        sender[0].weight.add_(1.0)
    assert torch.equal(before.nan_to_num(), buffer.flat.nan_to_num())


def test_another_architecture_is_refused_by_name() -> None:
    with pytest.raises(CheckpointError, match=r"'0.weight' is float32 \[4, 3\] in the buffer.*\[5, 3\]"):
        load_flat(module(0, width=5), flatten_state(module(0)))


def test_a_cut_buffer_is_refused() -> None:
    buffer = flatten_state(module(0))
    with pytest.raises(CheckpointError, match=r"wants 34 float32 words, the buffer holds 33"):
        load_flat(module(1), dataclasses.replace(buffer, flat=buffer.flat[:-1]))
