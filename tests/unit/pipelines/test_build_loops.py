"""Loops of a build in processes of their own end in order when the build is asked to."""

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.build_loops import LoopTask, run_loops
from pipelines.errors import JobStoppedError
from pipelines.status import run_status
from pipelines.stopping import StopRequest
from tests.unit.pipelines.cases import context
from tests.unit.pipelines.closed_loop.loop_parts import feedback_loop
from tests.unit.pipelines.closed_loop.small_dataset import make_small_dataset


def test_a_loop_elsewhere_keeps_its_round_when_the_build_is_asked_to_stop(tmp_path: Path) -> None:
    source, out = make_small_dataset(tmp_path / "source"), tmp_path / "loop"
    settings = feedback_loop(rounds=5000, checkpoint_every_rounds=5000)
    stop = StopRequest(grace_s=60.0)

    def ask() -> None:
        deadline_s = time.monotonic() + 120.0
        while not (out / "metrics.jsonl").exists() and time.monotonic() < deadline_s:
            time.sleep(0.05)
        stop.request("a notice")

    asking = threading.Thread(target=ask)
    asking.start()
    with pytest.raises(JobStoppedError, match="stopped on a notice: every loop at work keeps"):
        run_loops(
            [LoopTask("own", 0, settings, str(out))], source, replace(context(out), stop=stop), parallel=2
        )
    asking.join()
    [status] = run_status(str(out))
    assert (status.condition, status.counts) == ("stopped", "rounds")
    [kept] = out.glob("checkpoints/round-*.json")
    assert int(kept.stem.removeprefix("round-")) == status.units_done > 0
