"""State dicts of the official checkpoints: our networks have the same names, shapes and parameter counts."""

import json

import pytest
import torch

from estimators.lifters.contract import Lifter
from estimators.lifters.settings import build_lifter
from estimators.lifters.simple_baseline import SimpleBaselineSettings
from estimators.lifters.temporal.dual_stream import motionbert, motionbert_lite
from estimators.lifters.temporal.trajectory import RootTrajectory
from estimators.lifters.temporal.videopose import VideoPoseSettings
from poses.skeleton import load_skeleton
from tests.shared_data import golden_path


def published(name: str) -> tuple[dict[str, tuple[int, ...]], int]:
    """Shapes by key, and the number of parameters."""
    document = json.loads(golden_path(f"keys/{name}.json").read_text())
    return {key: tuple(entry["shape"]) for key, entry in document["keys"].items()}, document["n_params"]


def videopose3d(*widths: int) -> VideoPoseSettings:
    return VideoPoseSettings(kernel_widths=widths, predict_root=True)


@pytest.mark.parametrize(
    ("name", "settings", "skeleton"),
    [
        ("mlp_semgcn_repo", SimpleBaselineSettings(dropout=0.5), "h36m_16"),
        ("poseaug_mlp", SimpleBaselineSettings(), "h36m_16"),
        ("poseaug_mlp_stages4", SimpleBaselineSettings(stages=4), "h36m_16"),
        ("poseaug_videopose", VideoPoseSettings(), "h36m_16"),
        ("videopose3d_1f_17j", videopose3d(1, 1, 1, 1, 1), "h36m_17"),
        ("videopose3d_27f", videopose3d(3, 3, 3), "h36m_17"),
        ("videopose3d_81f", videopose3d(3, 3, 3, 3), "h36m_17"),
        ("videopose3d_243f", videopose3d(3, 3, 3, 3, 3), "h36m_17"),
        ("motionbert", motionbert(), "h36m_17"),
        ("motionbert_lite", motionbert_lite(), "h36m_17"),
    ],
)
def test_names_shapes_and_parameter_counts(name: str, settings, skeleton: str) -> None:
    keys, parameters = published(name)
    with torch.device("meta"):
        lifter: Lifter = build_lifter(settings, load_skeleton(skeleton))
        got = {key: tuple(value.shape) for key, value in lifter.to_published_state().items()}
    assert got == keys
    assert sum(value.numel() for value in lifter.parameters()) == parameters


def test_the_trajectory_model_of_243_frames() -> None:
    keys, parameters = published("videopose3d_243f_traj")
    with torch.device("meta"):
        network = RootTrajectory(videopose3d(3, 3, 3, 3, 3), load_skeleton("h36m_17"))
        got = {key: tuple(value.shape) for key, value in network.to_published_state().items()}
    assert got == keys
    assert sum(value.numel() for value in network.parameters()) == parameters == 16_903_171
