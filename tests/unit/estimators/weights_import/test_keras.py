"""RepNet's Keras files: layers by the numbers of their names, whatever the file's order, depth and first number."""

import io
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor

from estimators.errors import CheckpointError
from estimators.lifters.repnet.lifter import RepNetLifter
from estimators.lifters.repnet.settings import RepNetSettings
from estimators.lifters.settings import build_lifter
from estimators.weights_import.importer import import_weights
from estimators.weights_import.plan import ImportOptions
from poses.skeleton import load_skeleton

h5py = pytest.importorskip("h5py", reason="h5py is an extra (posemill[keras])")
SMALL = RepNetSettings(width=12)
CRITIC = [(48, 4), (4, 4), (4, 4), (4, 4), (225, 5), (5, 5), (5, 5), (9, 4), (4, 1)]


def keras_file(
    state: Mapping[str, Tensor | np.ndarray], first: int = 0, form: str = "model", critic: bool = False
) -> bytes:
    """Weights by creation number as Keras writes them: `form` is model, weights (save_weights) or nested."""
    named: dict[str, np.ndarray] = {}
    for key, value in state.items():
        layer, _, part = key.partition("/")
        number = int(layer.removeprefix("dense").removeprefix("_") or 0) + first
        named[f"dense_{number}/{part}" if number else key] = np.asarray(value)
    if critic:
        for index, shape in enumerate(CRITIC, start=14 + first):
            named |= {
                f"dense_{index}/kernel": np.ones(shape, "f4"),
                f"dense_{index}/bias": np.ones(shape[1:], "f4"),
            }
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        for key in sorted(named):  # as text: dense_10 before dense_2
            layer, _, part = key.partition("/")
            path = {"model": f"model_weights/{layer}/{layer}", "weights": f"{layer}/{layer}"}.get(
                form, f"model_weights/model_1/{layer}"
            )
            file[f"{path}/{part}:0"] = named[key]
        file["optimizer_weights/training/Adam/dense/kernel:0"] = np.zeros((3, 3), "f4")
    return stream.getvalue()


@pytest.fixture(scope="module")
def lifter() -> RepNetLifter:
    built = build_lifter(SMALL, load_skeleton("h36m_16"), seed=5)
    assert isinstance(built, RepNetLifter)
    return built.eval()


@pytest.mark.parametrize("form", ["model", "weights", "nested"])
@pytest.mark.parametrize(("first", "critic"), [(0, False), (1, True), (24, True)])
def test_layers_are_taken_in_the_order_of_their_numbers(
    lifter: RepNetLifter, form: str, first: int, critic: bool
) -> None:
    imported = import_weights(keras_file(lifter.to_published_state(), first, form, critic), "RN.h5")
    assert imported.settings == SMALL
    assert imported.report.ignored == () if not critic else len(imported.report.ignored) == 9
    keypoints = torch.rand(3, 16, 2, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert torch.equal(imported.module(keypoints), lifter(keypoints))


def test_a_generator_alone_is_taken_only_if_asked_for(lifter: RepNetLifter) -> None:
    state = lifter.to_published_state()
    layers = ["dense", *(f"dense_{number}" for number in range(1, 9))]
    generator = {
        f"{layer}/{part}": state[f"{layer}/{part}"] for layer in layers for part in ("kernel", "bias")
    }
    data = keras_file(generator, first=1)
    with pytest.raises(CheckpointError, match=r"wanted the camera's.*--without-camera"):
        import_weights(data, "generator.h5")
    imported = import_weights(data, "generator.h5", ImportOptions(without_camera=True))
    assert len(imported.report.untrained) == 10
    assert any("PA-MPJPE only" in note for note in imported.report.notes)
    assert isinstance(imported.module, RepNetLifter)
    keypoints = torch.rand(3, 16, 2, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        got, wanted = imported.module.estimate(keypoints), lifter.estimate(keypoints)
    assert torch.equal(got.joints_body_m, wanted.joints_body_m)


def test_layers_without_numbers_are_refused(lifter: RepNetLifter) -> None:
    state = {key.replace("dense_3/", "pose_3/"): value for key, value in lifter.to_published_state().items()}
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        for key, value in state.items():
            file[key] = value.numpy()
    with pytest.raises(CheckpointError, match=r"layer 'pose_3' is not named by Keras's counter"):
        import_weights(stream.getvalue(), "x.h5")
