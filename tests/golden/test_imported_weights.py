"""Official files, imported, give the outputs of the published code (golden/README.md)."""

import json

import numpy as np
import pytest
import torch

from estimators.lifters.repnet.settings import RepNetSettings
from estimators.lifters.settings import build_lifter
from estimators.weights_import.importer import import_weights
from poses.skeleton import load_skeleton
from tests.golden.test_golden_repnet import golden_state, ours, published
from tests.golden.weight_rules import rule_a_state
from tests.shared_data import golden_path
from tests.unit.estimators.weights_import.official_files import (
    python2_torch_file,
    semgcn_wrapper,
    torch_file,
)

TOLERANCE = 1e-4


def official_state(name: str) -> dict[str, torch.Tensor]:
    """An official checkpoint's state dict, its numbers by rule A."""
    keys = json.loads(golden_path(f"keys/{name}.json").read_text())["keys"]
    return rule_a_state({key: tuple(value["shape"]) for key, value in keys.items()})


def difference(got: torch.Tensor, wanted: np.ndarray) -> float:
    return float(np.abs(got.numpy() - wanted).max())


@pytest.mark.parametrize("kind", ["mlp", "videopose", "gcn"])
def test_poseaug_files(kind: str) -> None:
    golden = np.load(golden_path(f"golden_poseaug_{kind}.npz"))
    state = official_state(f"poseaug_{kind}")
    wrapped = {"epoch": 24, "model_pos": state} if kind == "gcn" else {"state_dict": state, "epoch": 49}
    imported = import_weights(torch_file(wrapped, legacy=True), "ckpt_best.pth.tar")
    network = imported.module.network if kind == "gcn" else imported.module  # its root is predicted too
    with torch.inference_mode():
        got = network(torch.from_numpy(golden["input"]))
    assert difference(got, golden["output"]) < TOLERANCE
    assert imported.report.mapped == {key: key for key in state}


@pytest.mark.parametrize("segment", ["nonlocal", "non_local"])
def test_a_non_local_semgcn_of_python_2(segment: str) -> None:
    golden = np.load(golden_path("golden_semgcn_nonlocal_h16.npz"))
    state = {
        key.removeprefix("sd/").replace(".nonlocal.", f".{segment}."): torch.from_numpy(golden[key])
        for key in golden.files
        if key.startswith("sd/")
    }
    data = python2_torch_file({**semgcn_wrapper(state), "error": 42.326})
    imported = import_weights(data, "ckpt_semgcn_nonlocal.pth.tar")
    with torch.inference_mode():
        got = imported.module.network(torch.from_numpy(golden["input"]))
    assert difference(got, golden["output"]) < TOLERANCE
    assert imported.report.facts["step"] == 950508


def test_repnets_keras_file() -> None:
    pytest.importorskip("h5py", reason="h5py is an extra (posemill[keras])")
    from tests.unit.estimators.weights_import.test_keras import keras_file

    golden = np.load(golden_path("golden_repnet_official_tf.npz"))
    blank = build_lifter(RepNetSettings(), load_skeleton("h36m_16"), seed=0)
    shapes = {name: tuple(value.shape) for name, value in blank.to_published_state().items()}
    imported = import_weights(keras_file(golden_state(shapes), first=1), "adversarial_generator.h5")
    assert imported.settings == RepNetSettings()
    with torch.inference_mode():
        pose, camera = imported.module.network(ours(golden["x2d"]))
    assert np.abs(published(pose) - golden["pose3d"]).max() < TOLERANCE
    assert difference(camera, golden["cam"]) < TOLERANCE
