import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from jobs import cli
from jobs.errors import RecipeError
from pipelines.errors import PlanMismatchError, PoolError
from storage.errors import DatasetError, ShardError
from tests.unit.jobs.terminal import main

RUN = [
    "run",
    "import",
    "--set",
    "motion.n_clips=2",
    "--set",
    "clips_per_unit=1",
    "--set",
    "view.frame_step=30",
]


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, jobs.cli\n"
        "heavy = {'torch', 'ray', 'pyarrow', 'zarr', 'numpy', 'pydantic', 'matplotlib', 'fsspec', 'yaml', 'jinja2'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_verb_of_the_design_has_a_command_with_help() -> None:
    runner = CliRunner()
    for verb in (
        "run",
        "plan",
        "resume",
        "status",
        "inspect",
        "verify",
        "report",
        "doctor",
        "demo",
        "retry-quarantine",
    ):
        done = runner.invoke(cli.app, [verb, "--help"])
        assert done.exit_code == 0, verb
        assert verb in done.output


def test_a_run_and_everything_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    assert main(monkeypatch, *RUN, "--out", out, "--json") == 0
    outcome = json.loads(capsys.readouterr().out)
    assert outcome["ok"] is True
    assert outcome["datasets"] == {"dataset": out}

    assert main(monkeypatch, "status", out, "--json") == 0
    status = json.loads(capsys.readouterr().out)
    assert status["finished"] is True
    assert [run["units_done"] for run in status["runs"]] == [2]

    assert main(monkeypatch, "resume", out) == 0
    assert "2 of 2 units were done before" in capsys.readouterr().err

    assert main(monkeypatch, "inspect", out) == 0
    assert "h36m_16, 16 joints" in capsys.readouterr().out

    assert main(monkeypatch, "verify", out, "--json") == 0
    assert [report["sound"] for report in json.loads(capsys.readouterr().out)] == [True]

    assert main(monkeypatch, "report", out) == 0
    assert (tmp_path / "out/report.html").is_file()
    assert main(monkeypatch, *RUN, "--out", out, "--set", "seed=7") == 2
    assert "holds another plan" in capsys.readouterr().err


def test_a_changed_recipe_is_refused_with_the_ways_on_and_retry_finds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path)
    assert main(monkeypatch, *RUN, "--out", out, "--quiet") == 0
    other = [*RUN, "--out", out, "--set", "skeleton=h36m_17", "--quiet"]
    assert main(monkeypatch, *other) == 2
    told = capsys.readouterr().err
    assert 'recipe.skeleton: "h36m_16" there, "h36m_17" now' in told
    assert "--on-top" in told
    assert main(monkeypatch, *RUN, "--out", out, "--quiet", "--set", "seed=7", "--on-top") == 2
    assert "keys must be unique" in capsys.readouterr().err
    assert main(monkeypatch, "retry-quarantine", out, "--json") == 0
    assert json.loads(capsys.readouterr().out) == [
        {"url": out, "before": 0, "left": 0, "runs": [], "frames": {}}
    ]


def test_one_changed_byte_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(monkeypatch, *RUN, "--out", str(tmp_path), "--quiet") == 0
    victim = next((tmp_path / "pairs").glob("*.parquet"))
    data = bytearray(victim.read_bytes())
    data[len(data) // 3] ^= 1
    victim.write_bytes(bytes(data))
    assert main(monkeypatch, "verify", str(tmp_path), "--quiet") == 1
    assert f"{victim.name}: digest: wanted sha256" in capsys.readouterr().out


def test_a_plan_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(monkeypatch, "plan", *RUN[1:], "--out", str(out), "--json") == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["units"] == {"generate": 2}
    assert plan["estimate"]["pairs"] > 0
    assert plan["estimate"]["hours"] > 0
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["run", "dmo", "--out", "x"], 2, "did you mean 'demo'"),
        (
            ["run", "import", "--out", "x", "--set", "viw.frame_step=3"],
            2,
            "unknown key 'viw'; did you mean 'view'?",
        ),
        (
            ["run", "import", "--out", "x", "--set", "job=improt"],
            2,
            "no job 'improt'; did you mean 'import'?",
        ),
        (
            ["run", "import", "--out", "x", "--set", "executor.kind=rai"],
            2,
            "has no kind 'rai'; did you mean 'ray'?",
        ),
        (["run", "import", "--out", "x", "--set", "source=/no/such/folder"], 2, "/no/such/folder"),
        (["inspect", "/no/such/dataset"], 2, "there is no dataset"),
        (["status", "/no/such/run"], 2, "there is no run"),
        (["resume", "/no/such/run"], 2, "there is no recipe.yaml"),
        (["verify", "x", "--tolerance-px", "0"], 2, "more than 0"),
        (["nonsense"], 2, "No such command"),
    ],
)
def test_the_users_input_is_told_in_one_line(
    arguments: list[str],
    code: int,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(monkeypatch, *arguments) == code
    error = capsys.readouterr().err
    assert words in " ".join(error.split())
    assert "Traceback" not in error
    assert list(tmp_path.iterdir()) == []


def test_errors_are_json_too_where_json_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(monkeypatch, "run", "dmo", "--json") == 2
    captured = capsys.readouterr()
    assert json.loads(captured.out)["error"] == "RecipeError"
    assert captured.err.startswith("RecipeError: dmo: ")


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["posemill", "run", "dmo", "--debug"])
    monkeypatch.setenv("POSEMILL_DEBUG", "")
    with pytest.raises(RecipeError):
        cli.main()


def test_secrets_in_messages_are_hidden(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(monkeypatch, "run", "https://me:pw@host/recipe.yaml") == 2
    assert "pw" not in capsys.readouterr().err


def test_exit_codes_tell_the_users_input_from_failed_work() -> None:
    codes = {
        kind: cli.exit_code_of(kind("x"))
        for kind in (RecipeError, PlanMismatchError, DatasetError, PoolError, ShardError)
    }
    assert codes == {RecipeError: 2, PlanMismatchError: 2, DatasetError: 2, PoolError: 1, ShardError: 1}
