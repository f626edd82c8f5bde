"""What `posemill status` shows, once and again."""

import io
import json
from pathlib import Path

import pytest

from jobs.running import run_recipe
from jobs.status import FolderStatus, folder_status
from jobs.status_watch import watch_status
from pipelines.heartbeat import heartbeat_path, read_heartbeat
from pipelines.status import RunStatus
from storage.object_store import open_store

WORKER = {"worker_id": "a1b2", "node": "node-7", "pid": 5, "resources": {"CPU": 1.0, "GPU": 0.25},
          "unit_id": "u7", "action": "run", "since_unix_s": 0.0, "units_done": 3}  # fmt: skip
IDLE = {**WORKER, "worker_id": "c3d4", "unit_id": "", "action": "", "node": "", "resources": {}}


def status(condition: str = "running", **changes: object) -> RunStatus:
    values = {
        "run_id": "augment-1", "job": "augment", "condition": condition, "units_total": 100, "units_done": 40,
        "rows": 4000, "quarantined": 2, "rejected": {}, "units_per_s": 2.0, "remaining_s": 30.0,
        "failures": {"UnitError": 1}, "retries": {"WorkerDied": 3}, "error": "", "silent_s": 1.0, "bytes": 5000,
        "workers_lost": 3, "host": "here", "pid": 9,
        "pool": {"name": "augment", "wanted": 4, "size": 12, "units_open": 60, "workers": [WORKER, IDLE]},
        **changes,
    }  # fmt: skip
    return RunStatus(**values)  # pyright: ignore[reportArgumentType]


def folder(*runs: RunStatus, finished: bool = False) -> FolderStatus:
    return FolderStatus("out", finished, list(runs), {}, {})


def test_a_running_job_tells_rate_time_failures_and_workers() -> None:
    text = "\n".join(folder(status()).lines())
    assert "running, 40 of 100 units, 4,000 pairs, 5 kB, 2.0/s, 30 s to go, 2 in quarantine" in text
    assert "given up    1 x UnitError" in text
    assert "tried again 3 x WorkerDied" in text
    assert "lost        3 workers" in text
    assert "augment: has 12 of 4 workers, 60 units open" in text
    assert "a1b2 on node-7 (1 CPU, 0.25 GPU): run u7 for" in text
    assert "c3d4: idle for" in text
    assert "and 10 more (--json has them)" in text


def test_a_dead_job_tells_who_was_at_work_and_how_to_go_on() -> None:
    text = "\n".join(folder(status("dead", pid=77)).lines())
    assert "its process (77 on here) is gone; `posemill resume` goes on" in text
    assert "had 12 of 4 workers" in text
    assert "to go" not in text
    assert "pool" not in "\n".join(folder(status("done")).lines())


@pytest.mark.parametrize(
    ("conditions", "finished", "ended"),
    [
        (["done"], True, True),
        (["done"], False, False),
        (["done", "running"], True, False),
        (["done", "silent"], False, False),
        (["done", "failed"], False, True),
        (["dead"], False, True),
        (["stopped"], False, True),
    ],
)
def test_when_a_run_has_ended(conditions: list[str], finished: bool, ended: bool) -> None:
    assert folder(*(status(one) for one in conditions), finished=finished).ended is ended


def test_watching_goes_on_until_the_end() -> None:
    looks = [folder(status()), folder(status(units_done=90)), folder(status("done"), finished=True)]
    for as_json in (True, False):
        left, out, slept = list(looks), io.StringIO(), []
        watch_status("out", 0.5, as_json, out, slept.append, lambda _: left.pop(0))  # noqa: B023
        assert slept == [0.5, 0.5]
        if as_json:
            lines = [json.loads(line) for line in out.getvalue().splitlines()]
            assert [line["runs"][0]["units_done"] for line in lines] == [40, 90, 40]
            assert lines[0]["runs"][0]["pool"]["workers"][0]["unit_id"] == "u7"
        else:
            assert out.getvalue().count("augment-1") == 3


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_it_is_drawn_in_place() -> None:
    looks = [folder(status()), folder(status("done"), finished=True)]
    out = Terminal()
    watch_status("out", 0.1, False, out, lambda _: None, lambda _: looks.pop(0))
    assert "augment-1" in out.getvalue()
    assert looks == []


def test_a_real_run_that_died(tmp_path: Path) -> None:
    run_recipe("import", ["motion.n_clips=2", "view.frame_step=30", f"out={tmp_path}"], quiet=True)
    (tmp_path / "run.json").unlink()
    store = open_store(tmp_path)
    run = folder_status(str(tmp_path)).runs[0]
    beat = read_heartbeat(store, run.run_id)
    assert beat is not None
    gone = beat.model_copy(update={"state": "running", "pid": 2**22 + 1})  # beyond what Linux gives out
    store.write_bytes(heartbeat_path(run.run_id), gone.model_dump_json().encode())
    found = folder_status(str(tmp_path))
    assert (found.runs[0].condition, found.ended) == ("dead", True)
    assert found.runs[0].rows == run.rows > 0
    json.dumps(found.to_dict())
