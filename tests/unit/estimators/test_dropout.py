"""Seeded dropout."""

import pytest
import torch

from estimators.dropout import SeededDropout, set_dropout_generator


@pytest.mark.parametrize("probability", [0.1, 0.25, 0.5, 0.9])
def test_share_and_scale(probability: float) -> None:
    layer = SeededDropout(probability)
    layer.generator = torch.Generator().manual_seed(0)
    out = layer(torch.ones(500, 401))
    assert float((out == 0).float().mean()) == pytest.approx(probability, abs=0.005)
    assert float(out.mean()) == pytest.approx(1.0, abs=0.01)
    kept = out[out != 0]
    assert bool((kept == kept[0]).all())


def test_elements_are_independent() -> None:
    layer = SeededDropout(0.5)
    layer.generator = torch.Generator().manual_seed(1)
    out = (layer(torch.ones(4, 100_000)) != 0).float() - 0.5
    for shift in (1, 2, 3, 4, 8):
        assert float((out[:, shift:] * out[:, :-shift]).mean()) == pytest.approx(0.0, abs=0.004)


def test_numbers_come_from_the_generator_given() -> None:
    layers = torch.nn.Sequential(SeededDropout(0.5), torch.nn.Sequential(SeededDropout(0.5)))
    before = torch.get_rng_state()
    results = []
    for seed in (3, 3, 4):
        set_dropout_generator(layers, torch.Generator().manual_seed(seed))
        results.append(layers(torch.ones(7, 9)))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])
    assert torch.equal(before, torch.get_rng_state())


def test_gradient_is_the_mask_and_evaluation_is_the_identity() -> None:
    layer = SeededDropout(0.25)
    values = torch.randn(5, 7, requires_grad=True)
    out = layer(values)
    out.sum().backward()
    assert values.grad is not None
    torch.testing.assert_close(out, values * values.grad)
    assert layer.eval()(values) is values
