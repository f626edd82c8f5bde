"""A closed loop that is SIGKILLed in mid-epoch and run again leaves the files of an undisturbed one, byte for byte."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.loop_runner import LOOPS, ROUNDS
from tests.unit.pipelines.closed_loop.small_dataset import make_small_dataset

FILES = ("metrics.jsonl", "lifter.safetensors", "augmentor.safetensors", "result.json")
REPOSITORY = Path(__file__).resolve().parents[2]
PATIENCE_S = 60.0
TRIES = 5


class Runner:
    """The process that forks a loop at a time."""

    def __init__(self, source: str) -> None:
        self._source = source
        environment = {
            **os.environ,
            "PYTHONPATH": str(REPOSITORY),
            "OMP_NUM_THREADS": "1",
            "POSEMILL_CODE_VERSION": "test",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.loop_runner"],
            cwd=REPOSITORY,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.undisturbed: dict[str, Path] = {}
        self.round_s: dict[str, float] = {}

    def start(self, kind: str, out: Path) -> int:
        """Start a loop; its process id."""
        assert self._process.stdin is not None
        print(
            json.dumps({"kind": kind, "source": self._source, "out": str(out)}),
            file=self._process.stdin,
            flush=True,
        )
        return int(self._answer())

    def exit_status(self) -> int:
        """Wait for the loop's end."""
        return int(self._answer())

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def run_undisturbed(self, kind: str, out: Path) -> None:
        """Run a loop to its end, and remember how long a round took."""
        started_s = time.monotonic()
        self.start(kind, out)
        assert self.exit_status() == 0
        self.undisturbed[kind] = out
        self.round_s[kind] = (time.monotonic() - started_s) / (ROUNDS + 1)

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    runner = Runner(make_small_dataset(tmp_path_factory.mktemp("source")))
    for kind in LOOPS:
        runner.run_undisturbed(kind, tmp_path_factory.mktemp(kind))
    yield runner
    runner.close()


def wait_for_round(out: Path, rounds_done: int) -> None:
    """Until a checkpoint of so many rounds, or of more, is there."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not any(int(path.stem[6:]) >= rounds_done for path in out.glob("checkpoints/round-*.json")):
        assert time.monotonic() < deadline_s, f"no checkpoint of {rounds_done} rounds in {out}"
        time.sleep(0.002)


def killed_twice(runner: Runner, kind: str, out: Path, draw: random.Random) -> bool:
    """Run the loop and kill it at two drawn moments; False where it was done before it could be killed."""
    for rounds_done in sorted(draw.sample(range(1, ROUNDS - 2), k=2)):
        pid = runner.start(kind, out)
        wait_for_round(out, rounds_done)
        time.sleep(draw.uniform(0.0, runner.round_s[kind]))
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        if runner.exit_status() != -signal.SIGKILL:
            return False
    return not (out / "result.json").exists()


@pytest.mark.parametrize("kind", list(LOOPS))
@pytest.mark.parametrize("seed", [1, 2])
def test_a_loop_killed_in_mid_epoch_and_run_again_leaves_the_same_bytes(
    kind: str, seed: int, runner: Runner, tmp_path: Path
) -> None:
    draw = random.Random(seed)
    # On a machine whose load changes, a loop may outrun its killer: then the same again, in another folder.
    folders = (tmp_path / f"try-{attempt}" for attempt in range(TRIES))
    killed = next((out for out in folders if killed_twice(runner, kind, out, draw)), None)
    assert killed is not None, f"the loop was done before it could be killed, {TRIES} times"
    runner.start(kind, killed)
    assert runner.exit_status() == 0
    for name in FILES:
        assert (killed / name).read_bytes() == (runner.undisturbed[kind] / name).read_bytes(), name
    # A temporary file that a kill left half written is hidden from readers, and gc's to delete.
    names = {path.name for path in (killed / "checkpoints" / "data").glob("[!.]*")}
    assert names == {path.name for path in (runner.undisturbed[kind] / "checkpoints" / "data").iterdir()}
