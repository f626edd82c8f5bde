"""Every official checkpoint is recognised by its keys and shapes; what posemill has no network for is named."""

import json
from typing import Any

import pytest

from estimators.errors import CheckpointError
from estimators.weights_import.families import recognise
from estimators.weights_import.plan import ImportOptions, Shapes
from tests.shared_data import golden_path

SEMGCN = {"kind": "semgcn", "channels": 128, "blocks": 4, "graph": "shared"}
MLP = {"kind": "simple_baseline", "width": 1024}
VIDEOPOSE = {"kind": "videopose", "channels": 1024, "causal": False}
MOTIONBERT = {"kind": "dual_stream", "window": 243, "max_frames": 243, "representation": 512, "layers": 5}


def official(name: str) -> Shapes:
    """Keys and shapes of an official checkpoint."""
    keys = json.loads(golden_path(f"keys/{name}.json").read_text())["keys"]
    return {key: tuple(entry["shape"]) for key, entry in keys.items()}


@pytest.mark.parametrize(
    ("name", "settings", "joints"),
    [
        ("semgcn", {**SEMGCN, "non_local": False}, 16),
        ("semgcn_nonlocal", {**SEMGCN, "non_local": True}, 16),
        ("poseaug_gcn", {**SEMGCN, "non_local": False}, 16),
        ("mlp_semgcn_repo", {**MLP, "stages": 2}, 16),
        ("poseaug_mlp", {**MLP, "stages": 2}, 16),
        ("poseaug_mlp_stages4", {**MLP, "stages": 4}, 16),
        ("poseaug_videopose", {**VIDEOPOSE, "kernel_widths": [1] * 5, "predict_root": False}, 16),
        ("videopose3d_1f_17j", {**VIDEOPOSE, "kernel_widths": [1] * 5, "predict_root": True}, 17),
        ("videopose3d_27f", {**VIDEOPOSE, "kernel_widths": [3] * 3, "predict_root": True}, 17),
        ("videopose3d_81f", {**VIDEOPOSE, "kernel_widths": [3] * 4, "predict_root": True}, 17),
        ("videopose3d_243f", {**VIDEOPOSE, "kernel_widths": [3] * 5, "predict_root": True}, 17),
        ("videopose3d_243f_traj", {**VIDEOPOSE, "kernel_widths": [3] * 5}, 17),
        ("motionbert", {**MOTIONBERT, "features": 512, "hidden_ratio": 2}, 17),
        ("motionbert_lite", {**MOTIONBERT, "features": 256, "hidden_ratio": 4}, 17),
        ("poseaug_stgcn", {"kind": "stgcn", "channels": [128, 128, 256], "part_channels": 512}, 16),
    ],
)
def test_official_checkpoints(name: str, settings: dict[str, Any], joints: int) -> None:
    shapes = official(name)
    family, plan = recognise(shapes, "x.pth", ImportOptions())
    assert plan.settings == settings
    assert plan.joints == joints
    assert plan.names == {key: key for key in shapes}
    from_test = name.startswith(("semgcn", "mlp", "poseaug"))
    assert plan.selected_on == ("test" if from_test else "unknown")
    assert plan.is_trajectory == name.endswith("traj")
    assert 0.4 < plan.least_numbers / sum(_product(shape) for shape in shapes.values()) < 1
    assert recognise(shapes, "x.pth", ImportOptions(kind=family.kind))[1] == plan


def _product(shape: tuple[int, ...]) -> int:
    return 1 if not shape else shape[0] * _product(shape[1:])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("motionagformer_xs", "MotionAGFormer"),
        ("motionagformer_b", "MotionAGFormer"),
        ("tcpformer_81", "TCPFormer"),
        ("poseformerv2_27f", "PoseFormerV2"),
        ("mixste_243", "MixSTE"),
        ("sem_ch_graph_conv_layer", "no known network"),
    ],
)
def test_networks_that_posemill_lacks_are_named(name: str, words: str) -> None:
    with pytest.raises(CheckpointError, match=rf"{words}.*wanted SemGCN \(semgcn\)"):
        recognise(official(name), "x.pth", ImportOptions())


@pytest.mark.parametrize("segment", ["nonlocal", "non_local", "nonlocal_", "graph_nonlocal"])
def test_non_local_blocks_under_every_name_of_the_forks(segment: str) -> None:
    shapes = official("semgcn_nonlocal")
    forked = {key.replace(".nonlocal.", f".{segment}."): shape for key, shape in shapes.items()}
    _, plan = recognise(forked, "x.pth", ImportOptions())
    assert set(plan.names.values()) == set(shapes)
    assert plan.settings["non_local"]


def test_a_channel_wise_semgcn_of_17_joints() -> None:
    shapes = {key: (128, 49) if key.endswith(".e") else shape for key, shape in official("semgcn").items()}
    _, plan = recognise(shapes, "x.pth", ImportOptions())
    assert (plan.settings["graph"], plan.joints) == ("channel_wise", 17)


@pytest.mark.parametrize(
    ("name", "key", "shape", "words"),
    [
        ("semgcn", "gconv_input.0.gconv.e", (1, 45), r"wanted \(1 or 128, 3 J - 2\)"),
        ("poseaug_mlp", "w2.weight", (48, 1024), r"takes 32 and gives 48 numbers"),
        ("poseaug_videopose", "expand_conv.weight", (1024, 51, 1), "with a confidence as third number"),
        ("poseaug_videopose", "shrink.weight", (40, 1024, 1), r"gives 40 numbers, wanted 3 J"),
        ("videopose3d_27f", "layers_conv.0.weight", (1024, 1024), "wants 3 dimensions"),
        ("motionbert_lite", "pos_embed", (17, 256), "wants 3 dimensions"),
    ],
)
def test_shapes_of_other_variants_are_refused(
    name: str, key: str, shape: tuple[int, ...], words: str
) -> None:
    with pytest.raises(CheckpointError, match=words):
        recognise({**official(name), key: shape}, "x.pth", ImportOptions())
