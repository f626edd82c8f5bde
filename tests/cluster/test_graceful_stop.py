"""SIGTERM to a real `posemill run`: it finishes what is in flight, commits, says "stopped" and exits with 3."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelines.heartbeat import read_heartbeat
from pipelines.plan import stored_plans
from storage.commit import list_commits
from storage.object_store import open_store

pytestmark = [pytest.mark.ray, pytest.mark.xdist_group("ray_pool")]

REPOSITORY = Path(__file__).resolve().parents[2]
RECIPE = """
name: stopped
job: import
out: {out}
executor: {{{executor}, stop: {{grace_s: 60}}}}
clips_per_unit: 1
keep_sequences: false
motion: {{n_clips: 3000, n_subjects: 4, shortest_clip_s: 1.0, longest_clip_s: 1.5}}
"""


@pytest.mark.parametrize(
    "executor",
    ["kind: in_process", "kind: ray, pool: {workers: 1, ray: {num_cpus: 1}}"],
    ids=["in_process", "ray"],
)
def test_sigterm_stops_a_run_in_order(tmp_path: Path, executor: str) -> None:
    out, recipe = tmp_path / "out", tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.format(out=out, executor=executor))
    process = subprocess.Popen(
        [sys.executable, "-c", "from jobs.cli import main; main()", "run", str(recipe)],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        wait_for_a_commit(out, process)
        process.send_signal(signal.SIGTERM)
        _, words = process.communicate(timeout=200)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 3, words
    assert "SIGTERM: finishing what is in flight within 60 s" in words
    assert "units done now" in words
    assert f"`posemill resume {out}` goes on from here" in words
    store = open_store(out)
    plan = stored_plans(store)[0]
    done = len(list_commits(store, plan.run_id))
    beat = read_heartbeat(store, plan.run_id)
    assert beat is not None
    assert (beat.state, beat.units_done) == ("stopped", done)
    assert 1 <= done < len(plan.units)


def wait_for_a_commit(out: Path, process: subprocess.Popen[str]) -> None:
    deadline_s = time.monotonic() + 240.0
    while not any(out.glob("commits/*/*")):
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        assert time.monotonic() < deadline_s, "no unit was committed"
        time.sleep(0.05)
