"""From an official file to a lifter, and back to the published code's outputs."""

import io
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from safetensors.torch import save as safetensors_bytes
from torch import Tensor

from estimators.errors import CheckpointError
from estimators.lifters.graphs.semgcn import SemGCNSettings
from estimators.lifters.graphs.stgcn import STGCNSettings
from estimators.lifters.settings import AnyLifterSettings, build_lifter
from estimators.lifters.simple_baseline import SimpleBaselineSettings
from estimators.lifters.temporal.dual_stream import DualStreamSettings
from estimators.lifters.temporal.videopose import VideoPoseSettings
from estimators.weights_import.importer import import_weights
from estimators.weights_import.plan import ImportOptions
from poses.skeleton import load_skeleton
from tests.golden.weight_rules import rule_a_state
from tests.unit.estimators.weights_import.official_files import (
    npz_file,
    parallel,
    python2_torch_file,
    semgcn_wrapper,
    torch_file,
    videopose3d_wrapper,
)

Wrap = Callable[[Mapping[str, Tensor]], Any]
WRAPPERS: dict[str, Wrap] = {
    "bare": dict,
    "PoseAug baseline": lambda state: {"state_dict": state, "epoch": 49},
    "PoseAug": lambda state: {"epoch": 24, "model_pos": state},
    "SemGCN": semgcn_wrapper,
    "VideoPose3D": videopose3d_wrapper,
    "DataParallel": lambda state: {"epoch": 3, "model_pos": parallel(state)},
}


def small_state(kind: str) -> dict[str, Tensor]:
    settings = {
        "mlp": SimpleBaselineSettings(width=12, stages=3),
        "videopose": VideoPoseSettings(channels=8, kernel_widths=(3, 5)),
    }[kind]
    lifter = build_lifter(settings, load_skeleton("h36m_16"), seed=0)
    return rule_a_state({key: tuple(value.shape) for key, value in lifter.to_published_state().items()})


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize(
    "write", [torch_file, lambda value: torch_file(value, legacy=True)], ids=["zip", "legacy"]
)
def test_every_wrapper_in_both_containers_of_torch(wrapper: str, write: Callable[[Any], bytes]) -> None:
    state = small_state("mlp")
    imported = import_weights(write(WRAPPERS[wrapper](state)), "weights.pth")
    assert imported.settings == SimpleBaselineSettings(width=12, stages=3)
    published = imported.module.to_published_state()
    assert all(torch.equal(published[key], state[key]) for key in state)
    assert imported.report.skeleton == "h36m_16"


def test_a_python_2_file_with_int_opcodes() -> None:
    state = small_state("mlp")
    data = python2_torch_file({**semgcn_wrapper(state), "error": 42.326})
    assert b"I140521533361280\n" in data
    with pytest.raises(Exception, match="Unsupported operand 73"):
        torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    imported = import_weights(data, "ckpt_semgcn.pth.tar")
    assert imported.report.facts == {"epoch": 39, "step": 950508, "lr": 6.8e-4, "error": 42.326}
    published = imported.module.to_published_state()
    assert all(torch.equal(published[key], state[key]) for key in state)


@pytest.mark.parametrize("write", [safetensors_bytes, npz_file], ids=["safetensors", "npz"])
def test_files_of_named_arrays(write: Callable[[dict[str, Tensor]], bytes]) -> None:
    state = small_state("videopose")
    imported = import_weights(write(state), "weights")
    assert imported.settings == VideoPoseSettings(channels=8, kernel_widths=(3, 5))
    published = imported.module.to_published_state()
    assert all(torch.equal(published[key], state[key]) for key in state)


def test_missing_and_misshapen_tensors_are_refused() -> None:
    state = small_state("mlp")
    del state["linear_stages.1.w2.bias"]
    state["batch_norm1.weight"] = torch.ones(7)
    state["extra"] = torch.ones(2)
    with pytest.raises(CheckpointError) as refused:
        import_weights(torch_file(state), "broken.pth")
    words = str(refused.value)
    assert "'linear_stages.1.w2.bias' wants shape [12], is missing" in words
    assert "'batch_norm1.weight' wants shape [12], got [7]" in words
    assert "'extra' [2] has no place in it" in words


def test_batch_counters_that_old_files_lack_are_filled() -> None:
    state = {key: value for key, value in small_state("mlp").items() if "num_batches" not in key}
    report = import_weights(torch_file(state), "old.pth").report
    assert len(report.filled) == 7
    assert any("7 batch counters" in note for note in report.notes)


def test_the_kind_can_be_said_and_must_fit() -> None:
    state = small_state("mlp")
    with pytest.raises(
        CheckpointError, match=r"recognised as VideoPose3D, but tensor 'expand_conv.weight' is missing"
    ):
        import_weights(torch_file(state), "x.pth", ImportOptions(kind="videopose"))
    with pytest.raises(CheckpointError, match=r"no kind 'mlp'; --as takes one of .*simple_baseline"):
        import_weights(torch_file(state), "x.pth", ImportOptions(kind="mlp"))
    assert (
        import_weights(torch_file(state), "x.pth", ImportOptions(kind="simple_baseline")).settings.width == 12
    )


def test_the_trajectory_model_of_a_semi_supervised_file() -> None:
    poses = small_state("videopose")
    trajectory = {**poses, "shrink.weight": torch.randn(3, 8, 1), "shrink.bias": torch.randn(3)}
    data = torch_file(videopose3d_wrapper(poses, trajectory))
    assert import_weights(data, "semi.bin").report.ignored[-2] == "model_traj: a dict of 20"
    imported = import_weights(data, "semi.bin", ImportOptions(key="model_traj"))
    assert imported.report.kind == "trajectory"
    assert imported.module(torch.zeros(1, 15, 16, 2)).shape == (1, 1, 3)
    supervised = torch_file(videopose3d_wrapper(poses))
    with pytest.raises(CheckpointError, match=r"no state dict under 'model_traj' \(there is None\)"):
        import_weights(supervised, "x.bin", ImportOptions(key="model_traj"))


def test_keypoints_of_another_skeleton_must_be_said() -> None:
    settings = VideoPoseSettings(channels=4, kernel_widths=(3,), predict_root=True)
    lifter = build_lifter(settings, load_skeleton("h36m_17"), seed=0)
    data = torch_file(videopose3d_wrapper(lifter.to_published_state()))
    assert any("--keypoints coco_17" in note for note in import_weights(data, "cpn.bin").report.notes)
    imported = import_weights(data, "cpn.bin", ImportOptions(keypoints="coco_17", causal=True))
    assert imported.settings == settings.model_copy(update={"keypoint_skeleton": "coco_17", "causal": True})
    assert imported.report.skeleton == "h36m_17"
    with pytest.raises(CheckpointError, match=r"SimpleBaseline, for which --causal has no meaning"):
        import_weights(torch_file(small_state("mlp")), "x.pth", ImportOptions(causal=True))


NETWORKS: dict[str, tuple[AnyLifterSettings, Wrap]] = {
    "SimpleBaseline": (SimpleBaselineSettings(width=6, stages=1), WRAPPERS["PoseAug"]),
    "SimpleBaseline, four stages": (SimpleBaselineSettings(width=6, stages=4), WRAPPERS["PoseAug baseline"]),
    "SemGCN": (SemGCNSettings(channels=6, blocks=2), semgcn_wrapper),
    "SemGCN, non-local": (SemGCNSettings(channels=6, blocks=3, non_local=True), semgcn_wrapper),
    "SemGCN, channel-wise": (SemGCNSettings(channels=6, blocks=1, graph="channel_wise"), semgcn_wrapper),
    "ST-GCN": (STGCNSettings(channels=(4, 6, 8), part_channels=10), WRAPPERS["PoseAug"]),
    "VideoPose of PoseAug": (VideoPoseSettings(channels=6, kernel_widths=(1, 1)), WRAPPERS["PoseAug"]),
    "VideoPose3D": (
        VideoPoseSettings(channels=6, kernel_widths=(3, 3), predict_root=True),
        videopose3d_wrapper,
    ),
    "MotionBERT": (
        DualStreamSettings(window=9, max_frames=9, features=16, representation=12, layers=2, hidden_ratio=3),
        WRAPPERS["DataParallel"],
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_comes_back_with_its_settings_and_its_outputs(name: str) -> None:
    settings, wrap = NETWORKS[name]
    skeleton = load_skeleton("h36m_17" if name in ("VideoPose3D", "MotionBERT") else "h36m_16")
    lifter = build_lifter(settings, skeleton, seed=3).eval()
    state = {key: value.contiguous() for key, value in lifter.to_published_state().items()}
    imported = import_weights(torch_file(wrap(state), legacy=len(name) % 2 == 0), "official.pth")
    assert imported.settings.model_copy(update={"dropout": settings.dropout}) == settings
    assert imported.report.skeleton == skeleton.name
    shape = (2, lifter.receptive_field, skeleton.n_joints, 2)
    keypoints = torch.rand(shape, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert torch.equal(imported.module(keypoints), lifter(keypoints))
