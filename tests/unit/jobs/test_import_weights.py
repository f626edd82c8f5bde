"""`posemill import-weights` from the terminal."""

import json
from pathlib import Path

import pytest
import torch

from pipelines.trained_lifter import load_trained_lifter
from tests.unit.estimators.weights_import.official_files import torch_file
from tests.unit.estimators.weights_import.test_importer import small_state
from tests.unit.jobs.terminal import main
from tests.unit.pipelines.cases import make_source


@pytest.fixture
def official(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An official file in the working directory."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "ckpt_best.pth.tar"
    path.write_bytes(torch_file({"state_dict": small_state("mlp"), "epoch": 49}, legacy=True))
    return path


def test_a_file_becomes_a_lifter_with_its_origin(
    official: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(monkeypatch, "import-weights", official.name) == 0
    told = capsys.readouterr().out
    assert "recognised: SimpleBaseline (kind simple_baseline), skeleton h36m_16" in told
    assert "none missing" in told
    assert "written: ckpt_best.lifter.safetensors" in told
    lifter = load_trained_lifter("ckpt_best.lifter.safetensors")
    assert torch.equal(lifter.module.state_dict()["w1.weight"], small_state("mlp")["w1.weight"])
    assert lifter.metadata["selected_on"] == "test"
    origin = lifter.metadata["origin"]
    assert (origin["file"], origin["facts"], origin["mapped"]) == ("ckpt_best.pth.tar", {"epoch": 49}, 51)
    assert main(monkeypatch, "import-weights", official.name, "--json") == 0
    assert json.loads(capsys.readouterr().out)["state"] == "unchanged"


def test_nothing_is_written_on_a_dry_run_or_over_another_file(
    official: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(monkeypatch, "import-weights", official.name, "--dry-run", "--out", "a.safetensors") == 0
    assert "dry run: nothing written" in capsys.readouterr().out
    assert not Path("a.safetensors").exists()
    Path("a.safetensors").write_text("mine")
    assert main(monkeypatch, "import-weights", official.name, "--out", "a.safetensors") == 2
    assert "holds something else already" in capsys.readouterr().err
    assert Path("a.safetensors").read_text() == "mine"


@pytest.mark.parametrize("name", ["missing.pth", "folder"])
def test_a_file_that_cannot_be_read(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder").mkdir()
    assert main(monkeypatch, "import-weights", str(tmp_path / name)) == 2
    assert "CheckpointError" in capsys.readouterr().err


def test_an_imported_lifter_is_evaluated(
    official: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_source(tmp_path / "source")
    assert main(monkeypatch, "import-weights", official.name, "--out", "published.safetensors") == 0
    recipe = {
        "job": "evaluate", "out": str(tmp_path / "out"), "checkpoint": "published.safetensors",
        "data": [{"url": str(tmp_path / "source"), "parts": ["source_valid"]}],
    }  # fmt: skip
    (tmp_path / "evaluate.yaml").write_text(json.dumps(recipe))
    assert main(monkeypatch, "run", "evaluate.yaml", "--quiet") == 0, capsys.readouterr().err
    rows = json.loads((tmp_path / "out" / "evaluation.json").read_text())["rows"]
    assert rows
    assert all(row["metrics"]["mpjpe_mm"] > 0 for row in rows)
