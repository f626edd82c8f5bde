"""The form that SemGCN's speed is measured against is the published one: its numbers, and its gradients, are."""

import numpy as np
import pytest
import torch

from benchmarks.published_semgcn import PublishedSemGCN
from estimators.lifters.graphs.semgcn import SemGCNLifter, SemGCNSettings
from poses.skeleton import load_skeleton
from tests.shared_data import golden_path

SKELETON = load_skeleton("h36m_16")


def test_it_gives_the_golden_numbers() -> None:
    golden = np.load(golden_path("golden_semgcn_nonlocal_h16.npz"))
    state = {
        key.removeprefix("sd/"): torch.from_numpy(golden[key])
        for key in golden.files
        if key.startswith("sd/")
    }
    got = PublishedSemGCN(state, SKELETON)(torch.from_numpy(golden["input"]))
    np.testing.assert_allclose(got, golden["output"], atol=1e-4)


@pytest.mark.parametrize("non_local", [False, True])
def test_our_training_form_has_its_gradients(non_local: bool) -> None:
    torch.manual_seed(0)
    lifter = SemGCNLifter(SemGCNSettings(channels=8, blocks=1, non_local=non_local), SKELETON)
    for name, value in lifter.named_parameters():
        if name.endswith("W.1.weight"):
            torch.nn.init.uniform_(value, 0.5, 1.5)
    published = PublishedSemGCN(lifter.to_published_state(), SKELETON, training=True)
    lifter.train()
    keypoints, joints = torch.rand(6, 16, 2) * 2 - 1, torch.randn(6, 16, 3)
    ours = torch.autograd.grad(
        (lifter(keypoints, "loss") - joints).square().mean(), list(lifter.parameters())
    )
    theirs = torch.autograd.grad((published(keypoints) - joints).square().mean(), published.parameters())
    names = [name for name, _ in lifter.named_parameters()]
    for name, one, other in zip(names, ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-3, msg=name)
