"""Public weights into a backbone: bare, wrapped, with a classifier, without counters; others refused by name."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from estimators.errors import CheckpointError
from estimators.images.backbone_weights import load_backbone
from estimators.images.resnet import ResNet, ResNetSettings
from tests.unit.estimators.weights_import.official_files import torch_file

SMALL = ResNetSettings(depth=18, width=4)


def backbone(seed: int, settings: ResNetSettings = SMALL) -> ResNet:
    torch.manual_seed(seed)
    return ResNet(settings)


def state(seed: int = 1) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in backbone(seed).state_dict().items()}


def test_a_classifier_is_left_out_and_counters_are_filled() -> None:
    wanted = state()
    public = {name: value for name, value in wanted.items() if not name.endswith("num_batches_tracked")}
    public |= {"fc.weight": torch.zeros(1000, 32), "fc.bias": torch.zeros(1000)}
    network = backbone(2)
    report = load_backbone(network, torch_file(public), "resnet18.pth")
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, wanted[name], rtol=0, atol=0)
    assert (report.mapped, report.filled) == (len(public) - 2, 20)
    assert "fc.weight" in report.words()


@pytest.mark.parametrize("prefix", ["module.", "backbone."])
def test_prefixes_and_wrappers_are_taken_off(prefix: str) -> None:
    wanted = state()
    inside = {f"{prefix}{name}": value for name, value in wanted.items()}
    network = backbone(2)
    report = load_backbone(network, torch_file({"state_dict": inside, "epoch": 3}), "wrapped.pth")
    torch.testing.assert_close(network.state_dict()["layer4.1.conv2.weight"], wanted["layer4.1.conv2.weight"])
    assert prefix in report.words()


def test_safetensors_do_as_well() -> None:
    network = backbone(2)
    load_backbone(network, save(state()), "resnet18.safetensors")
    torch.testing.assert_close(network.conv1.weight, state()["conv1.weight"])


def test_another_backbone_is_refused_and_changes_nothing() -> None:
    network = backbone(2, ResNetSettings(depth=18, width=8))
    before = network.conv1.weight.clone()
    with pytest.raises(
        CheckpointError, match=r"'conv1\.weight' wants \[8, 3, 7, 7\], got \[4, 3, 7, 7\].*Set network"
    ):
        load_backbone(network, torch_file(state()), "small.pth")
    assert torch.equal(network.conv1.weight, before)
    with pytest.raises(CheckpointError, match="has no place"):
        load_backbone(backbone(2), torch_file({**state(), "extra.weight": torch.zeros(2)}), "more.pth")


def test_numbers_that_are_none_are_refused(tmp_path: Path) -> None:
    values = state()
    values["bn1.bias"][2] = float("nan")
    with pytest.raises(CheckpointError, match=r"broken\.pth: tensor 'bn1\.bias' has NaN"):
        load_backbone(backbone(2), torch_file(values), "broken.pth")
