"""`posemill gc`, `posemill diff` and `--version` from the command line."""

import json
import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from jobs import cli, history
from jobs.report import publish
from storage.commit import commit_path
from storage.manifest import publish_manifest
from storage.object_store import ObjectStore, open_store
from tests.unit.jobs.terminal import main
from tests.unit.storage.samples import SKELETON, commit_pairs, make_pairs


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    """A run's folder with one dataset of two versions and an old file that nothing names."""
    store = open_store(tmp_path / "datasets" / "source")
    lineage = {"job": "import", "recipe": {"api_token": "first-secret", "rate_hz": 30}}
    first = [commit_pairs(store, make_pairs(10, seed=1), run="one")]
    publish_manifest(store, "one", first, SKELETON, lineage=lineage)
    other = {"job": "import", "recipe": {"api_token": "second-secret", "rate_hz": 60}}
    second = [commit_pairs(store, make_pairs(20, seed=2), run="two")]
    publish_manifest(store, "two", second, SKELETON, lineage=other)
    dead = commit_pairs(store, make_pairs(5, seed=3), run="dead")
    store.delete(commit_path("dead", "unit"))
    then = time.time() - 30 * 3600
    os.utime(store.url_of(dead.files[0].path), (then, then))
    return store


def test_gc_shows_and_then_removes(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(monkeypatch, "gc", str(tmp_path), "--dry-run", "--json") == 0
    (shown,) = json.loads(capsys.readouterr().out)
    assert (shown["removed"], len(shown["garbage"])) == (False, 1)
    assert shown["bytes"] == store.size_bytes(shown["garbage"][0]["path"])
    assert main(monkeypatch, "gc", str(tmp_path), "--lease", "48") == 0
    assert "nothing to remove" in capsys.readouterr().out
    assert main(monkeypatch, "gc", store.url) == 0
    said = capsys.readouterr().out
    assert "1 thing that no version" in said
    assert shown["garbage"][0]["path"] in said
    assert len(store.list("pairs")) == 2


def test_gc_where_there_is_nothing_is_the_users_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(monkeypatch, "gc", str(tmp_path)) == 2
    assert "there is no dataset" in capsys.readouterr().err


@pytest.mark.parametrize("condition", ["running", "silent"])
def test_gc_beside_a_job_at_work_wants_a_lease(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch, condition: str
) -> None:
    running = [SimpleNamespace(run_id="import-12", condition=condition)]
    monkeypatch.setattr(history, "run_status", lambda url: running)
    with pytest.raises(history.DatasetError, match=r"import-12 is at work here.*--lease 1"):
        history.clean_datasets(store.url, 0.5, dry_run=False)
    assert len(history.clean_datasets(store.url, 1.0, dry_run=False)[0].garbage) == 1


def test_diff_says_what_changed_and_no_secret(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(monkeypatch, "diff", store.url, "1", "2") == 0
    said = capsys.readouterr().out
    assert "v000001 -> v000002" in said
    assert "10 -> 30 (+20)" in said
    assert "~ recipe.rate_hz: 30 -> 60" in said
    assert main(monkeypatch, "diff", store.url, "1", "2", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["same"] is False
    assert found["rows"]["pairs"] == [10, 30]
    assert "secret" not in said + json.dumps(found)
    assert main(monkeypatch, "diff", store.url, "2", "2") == 0
    assert "no difference" in capsys.readouterr().out
    assert main(monkeypatch, "diff", store.url, "1", "7") == 2


@pytest.mark.parametrize("verb", ["gc", "diff"])
def test_the_verbs_have_help(verb: str) -> None:
    done = CliRunner().invoke(cli.app, [verb, "--help"])
    assert done.exit_code == 0
    assert "--json" in done.output


@pytest.mark.parametrize("verb", ["inspect", "verify"])
def test_an_earlier_version_is_looked_at(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    rows = {}
    for version in ("1", "2"):
        assert main(monkeypatch, verb, store.url, "--version", version, "--json") == 0
        (found,) = json.loads(capsys.readouterr().out)
        rows[version] = found.get("pairs", found.get("rows"))
    assert rows == {"1": 10, "2": 30}
    assert main(monkeypatch, verb, store.url, "--version", "3") == 2


def test_the_report_of_an_earlier_version_has_its_own_name(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[int] = []
    monkeypatch.setattr(
        publish, "render_report", lambda inputs: shown.append(inputs.datasets[0].rows) or "<html>"
    )
    assert publish.publish_report(store.url, version=1).endswith("/report-v000001.html")
    assert publish.publish_report(store.url).endswith("/report.html")
    assert shown == [10, 30]
