"""`posemill submit` to a Ray head with token authentication: the right token runs a recipe, every other is refused."""

import http.client
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from jobs.cli import main
from storage.reader import Dataset
from tests.cluster.token_head import TOKEN, TokenHead, token_head

pytestmark = [pytest.mark.ray, pytest.mark.xdist_group("token_head")]

TINY = ("motion.n_clips=2", "view.frame_step=30", "executor.kind=ray", "executor.pool.workers=1")


@pytest.fixture(scope="module")
def head() -> Iterator[TokenHead]:
    """One head for the module; starting it takes most of the time."""
    with token_head() as running:
        yield running


@dataclass(frozen=True)
class Done:
    """What a command left."""

    code: int
    out: str
    err: str


Submit = Callable[..., Done]


@pytest.fixture
def submit(head: TokenHead, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Submit:
    """The command, as a user gives it."""

    def run(token: str | None, out: Path, *options: str) -> Done:
        for name in [name for name in os.environ if name.startswith("RAY_")]:
            monkeypatch.delenv(name)
        if token is not None:
            monkeypatch.setenv("RAY_AUTH_TOKEN", token)
        changes = [word for change in TINY for word in ("--set", change)]
        words = ["import", *changes, "--out", str(out), "--address", head.address, *options]
        monkeypatch.setattr("sys.argv", ["posemill", "submit", *words])
        with pytest.raises(SystemExit) as stopped:
            main()
        return Done(int(stopped.value.code or 0), *capsys.readouterr())

    return run


@pytest.mark.parametrize(
    ("token", "words"),
    [(None, "wants a token and there is none; set RAY_AUTH_TOKEN"), ("x" * 32, "refused the token")],
)
def test_without_the_right_token_nothing_is_submitted(
    submit: Submit, head: TokenHead, tmp_path: Path, token: str | None, words: str
) -> None:
    done = submit(token, tmp_path / "out")
    assert done.code == 1
    assert words in done.err
    assert jobs_of(head) == []


def test_with_the_token_a_recipe_runs_to_its_end_on_the_pool(
    submit: Submit, head: TokenHead, tmp_path: Path
) -> None:
    done = submit(TOKEN, tmp_path / "out")
    assert done.code == 0, done.out + done.err
    assert "1 of 1 units" in done.out
    assert Dataset.open(tmp_path / "out").n_pairs > 0
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert written
    assert not [path for path in written if TOKEN.encode() in path.read_bytes()]
    assert TOKEN not in done.out + done.err
    assert TOKEN not in json.dumps(jobs_of(head))


def test_no_wait_gives_the_id_of_the_job(submit: Submit, head: TokenHead, tmp_path: Path) -> None:
    done = submit(TOKEN, tmp_path / "later", "--no-wait", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["job_id"] in [job["submission_id"] for job in jobs_of(head)]


@pytest.mark.parametrize(
    "path", ["/api/version", "/api/jobs/", "/api/v0/nodes", "/nodes?view=summary", "/logs"]
)
@pytest.mark.parametrize("given", [None, "Bearer " + "x" * 32, TOKEN, "Bearer "])
def test_the_dashboard_shows_nothing_without_the_token(head: TokenHead, path: str, given: str | None) -> None:
    port = int(head.address.rsplit(":", 1)[1])
    assert status_of(port, path, given) in (401, 403)


def test_the_agents_job_api_is_closed_too(head: TokenHead) -> None:
    assert status_of(head.agent_port, "/api/job_agent/jobs/", None, "POST") in (401, 403)


def status_of(port: int, path: str, authorization: str | None, method: str = "GET") -> int:
    """What a bare HTTP request is answered."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        headers = {"Authorization": authorization} if authorization else {}
        connection.request(method, path, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


def jobs_of(head: TokenHead) -> list[dict[str, object]]:
    """What the cluster knows of submitted jobs."""
    connection = http.client.HTTPConnection(head.address.removeprefix("http://"), timeout=20)
    try:
        connection.request("GET", "/api/jobs/", headers={"Authorization": f"Bearer {TOKEN}"})
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()
