"""Any lifter is the estimator in the loop (temporal ones: test_temporal_loop.py); test splits are refused in words."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter

from estimators.lifters.settings import LifterSettings
from pipelines.closed_loop.job import plan_closed_loop, run_closed_loop
from pipelines.closed_loop.settings import ClosedLoopSettings
from pipelines.context import RunContext
from pipelines.errors import SettingsError
from pipelines.in_process import InProcessExecutor
from pipelines.trained_lifter import load_trained_lifter, read_checkpoint
from tests.unit.pipelines.closed_loop.loop_parts import feedback_loop, poseaug_loop
from tests.unit.pipelines.closed_loop.small_dataset import make_small_dataset

settings_of: TypeAdapter[Any] = TypeAdapter(LifterSettings)
SINGLE_FRAME: dict[str, dict[str, Any]] = {
    "videopose": {"kind": "videopose", "channels": 8},
    "dual_stream": {"kind": "dual_stream", "window": 1, "features": 8, "representation": 8, "layers": 1},
    "semgcn": {"kind": "semgcn", "channels": 8, "blocks": 1, "non_local": True},
    "stgcn": {"kind": "stgcn", "channels": (8, 8, 8), "part_channels": 8},
}
LOOPS = {"poseaug": poseaug_loop, "feedback": feedback_loop}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_small_dataset(tmp_path_factory.mktemp("source"))


def run(settings: ClosedLoopSettings, source: str, out: Path) -> Any:
    return run_closed_loop(settings, source, RunContext(str(out), InProcessExecutor()))


@pytest.mark.parametrize("loop", list(LOOPS))
@pytest.mark.parametrize("lifter", list(SINGLE_FRAME))
def test_any_lifter_is_trained(source: str, tmp_path: Path, loop: str, lifter: str) -> None:
    chosen = settings_of.validate_python(SINGLE_FRAME[lifter])
    settings = LOOPS[loop](lifter=chosen, rounds=2, batch_rows=64)
    result = run(settings, source, tmp_path)
    assert result.lifter_steps > 0
    trained = load_trained_lifter(str(tmp_path / "lifter.safetensors"))
    assert trained.settings == chosen
    assert trained.metadata["selected_on"] == "validation"


def test_choosing_on_a_test_split_is_refused_or_told(source: str, tmp_path: Path) -> None:
    parts = {"valid_parts": ("source_valid", "target_subject"), "rounds": 1, "batch_rows": 64}
    with pytest.raises(SettingsError, match=r"loop\.valid_parts: target_subject is a test split"):
        plan_closed_loop(feedback_loop(**parts), source, 0)
    run(feedback_loop(**parts, choose_on_test=True), source, tmp_path)
    assert load_trained_lifter(str(tmp_path / "lifter.safetensors")).metadata["selected_on"] == "test"


@pytest.mark.parametrize("valid_parts", [("source_valid",), ()])
def test_the_file_has_the_averaged_weights_that_were_measured(
    source: str, tmp_path: Path, valid_parts: tuple[str, ...]
) -> None:
    plain = feedback_loop(rounds=1, batch_rows=64, valid_parts=valid_parts)
    averaged = plain.model_copy(update={"trainer": plain.trainer.model_copy(update={"ema_decay": 0.9})})
    run(plain, source, tmp_path / "plain")
    run(averaged, source, tmp_path / "averaged")
    ours = read_checkpoint(str(tmp_path / "averaged" / "lifter.safetensors"))
    theirs = read_checkpoint(str(tmp_path / "plain" / "lifter.safetensors"))
    assert not torch.allclose(ours.tensors["w1.weight"], theirs.tensors["w1.weight"], atol=1e-5)
    selected = "validation" if valid_parts else "last step"
    assert ours.metadata["selected_on"] == selected
