"""The benchmark's published form is the network that we claim to be faster than."""

import numpy as np
import pytest
import torch

from benchmarks.bench_videopose import PublishedVideoPose, check_same
from estimators.errors import LifterInputError
from estimators.lifters.temporal.videopose import VideoPoseLifter, VideoPoseSettings
from poses.skeleton import load_skeleton
from tests.shared_data import golden_path


@pytest.mark.parametrize(("name", "widths"), [("1f", (1, 1, 1, 1, 1)), ("27f", (3, 3, 3))])
def test_the_published_form_has_the_published_outputs(name: str, widths: tuple[int, ...]) -> None:
    golden = np.load(golden_path(f"golden_videopose_{name}_small.npz"))
    network = PublishedVideoPose(34, 51, 64, widths, dropout=0.25).eval()
    state = {key[3:]: torch.from_numpy(golden[key]) for key in golden.files if key.startswith("sd/")}
    network.load_state_dict(state)
    with torch.no_grad():
        got = network(torch.from_numpy(golden["input"]))
    np.testing.assert_allclose(got.numpy(), golden["output"], atol=1e-4)


def test_strided_and_dilated_forms_agree_on_one_window() -> None:
    settings = VideoPoseSettings(channels=32, kernel_widths=(3, 5, 3), predict_root=True)
    lifter = VideoPoseLifter(settings, load_skeleton("h36m_17")).eval()
    keypoints = torch.rand(4, lifter.receptive_field, 17, 2)
    with torch.no_grad():
        one, other = lifter.network(keypoints, strided=True), lifter.network(keypoints, strided=False)
    torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


def test_a_speed_without_equal_outputs_is_refused() -> None:
    poses = torch.zeros(2, 1, 17, 3)
    check_same(poses, poses)
    with pytest.raises(LifterInputError, match="differ by 1"):
        check_same(poses + 1.0, poses)
