import json
from pathlib import Path

import pytest

from jobs.errors import RecipeError
from jobs.executors import InProcessSettings, RaySettings, executor_settings
from jobs.probing import ProbeDone, ProbeExecutor
from jobs.running import StageClock, resume_run, run_recipe
from pipelines.plan import Unit
from pipelines.progress import RecordingProgress
from storage.commit import UnitCommit

CHANGES = ["motion.n_clips=2", "view.frame_step=30"]


def test_a_run_keeps_its_recipe_and_its_facts(tmp_path: Path) -> None:
    outcome = run_recipe("import", [*CHANGES, f"out={tmp_path}", "executor.retry.max_attempts=2"], quiet=True)
    assert outcome.seconds > 0
    assert f"dataset            {tmp_path}" in "\n".join(outcome.lines())
    recipe = (tmp_path / "recipe.yaml").read_text()
    assert "n_clips: 2" in recipe
    facts = json.loads((tmp_path / "run.json").read_text())
    assert facts["facts"]["recipe"] == "import.yaml"
    assert facts["stage_seconds"]["import"] > 0
    assert "torch" in facts["versions"]


def test_a_recipe_that_lost_its_secret_asks_for_it(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("job: import\nout: x\nsource: s3://***@bucket/motion\n")
    with pytest.raises(RecipeError, match=r"source held a secret.*--set source=\.\.\."):
        resume_run(str(tmp_path), quiet=True)


def test_the_clock_adds_up_tasks_and_passes_everything_on() -> None:
    inner = RecordingProgress()
    begun: list[str] = []
    clock = StageClock(inner, lambda: begun.append("begun"))
    for _ in range(2):
        clock.start("loop", 3, "rounds")
        clock.start("inside", 1)
        clock.finish("inside")
        clock.advance("loop", 2)
        clock.finish("loop")
    clock.log("hello")
    assert list(clock.seconds) == ["loop"]
    assert begun == ["begun"]
    assert inner.messages == ["hello"]
    assert inner.tasks["loop"].done == 2


def test_executors_are_chosen_by_kind_or_by_what_they_have() -> None:
    assert isinstance(executor_settings({}, "r"), InProcessSettings)
    ray = executor_settings({"pool": {"workers": 3}}, "r")
    assert isinstance(ray, RaySettings)
    assert ray.pool.workers == 3
    with pytest.raises(
        RecipeError, match=r"unknown key 'wokers' under 'executor\.pool'; did you mean 'workers'"
    ):
        executor_settings({"pool": {"wokers": 3}}, "r")


class FakeStage:
    """Commits rows without writing anything."""

    done: list[str]

    def __init__(self, done: list[str]) -> None:
        self.done = done

    def setup(self) -> None:
        """Nothing to load."""

    def run(self, unit: Unit, bad_rows: object = ()) -> UnitCommit:
        """One commit."""
        del bad_rows
        self.done.append(unit.unit_id)
        return UnitCommit(
            run_id="r", unit_id=unit.unit_id, writer_id="w", files=(), rows=11, rejected={"a": 2}
        )


def test_a_probe_does_two_units_of_the_middle_and_stops() -> None:
    done: list[str] = []
    units = [Unit(f"u{i}", "x", {}) for i in range(10)]
    with pytest.raises(ProbeDone) as ended:
        ProbeExecutor().run(lambda: FakeStage(done), units, lambda commit: None)
    assert done == ["u4", "u5"]
    assert (ended.value.probe.unit_id, ended.value.probe.pairs, ended.value.probe.rejected) == ("u5", 11, 2)
