import io
import zipfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from jobs import submit
from jobs.cluster_access import Access, Cluster
from jobs.errors import ClusterError, RecipeError
from jobs.recipe import load_recipe, secret_keys
from jobs.submit import SubmitOptions, cluster_recipe, entrypoint, labels_of, submit_recipe
from jobs.submit_package import pack

TOKEN = "t0ken" * 8
CLUSTER = Cluster("http://127.0.0.1:1", TOKEN)


@dataclass
class Status:
    value: str

    def is_terminal(self) -> bool:
        return self.value in ("SUCCEEDED", "FAILED", "STOPPED")


@dataclass
class Info:
    status: Status
    driver_exit_code: int | None = None
    message: str | None = None


@dataclass
class FakeClient:
    """Plays back logs and states; an exception among them is a connection that broke."""

    logs: list[list[str | Exception]] = field(default_factory=list)
    infos: list[Info] = field(default_factory=list)
    request: dict[str, Any] = field(default_factory=dict)
    packed: list[str] = field(default_factory=list)

    def submit_job(self, **request: Any) -> str:
        self.request = request
        with zipfile.ZipFile(request["runtime_env"]["working_dir"]) as archive:
            self.packed = archive.namelist()
        return "job_1"

    def get_job_info(self, job_id: str) -> Info:
        return self.infos.pop(0) if len(self.infos) > 1 else self.infos[0]

    async def tail_job_logs(self, job_id: str) -> AsyncIterator[str]:
        for chunk in self.logs.pop(0) if self.logs else []:
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeClient]:
    """A cluster that answers without one."""
    fake = FakeClient(infos=[Info(Status("SUCCEEDED"))])
    monkeypatch.setattr(submit, "_client", lambda cluster: fake)
    monkeypatch.setattr(submit, "require_access", lambda cluster, open_cluster: Access(True, False))
    monkeypatch.setattr(submit, "_POLL_S", 0.0)
    return fake


def test_the_code_and_the_recipe_travel_and_the_command_names_it(client: FakeClient) -> None:
    outcome = submit_recipe("import", ["out=s3://b/x"], CLUSTER, SubmitOptions(add=True), io.StringIO())
    assert (outcome.status, outcome.exit_code) == ("SUCCEEDED", 0)
    assert client.request["entrypoint"] == "python -m jobs.cli run submitted/import.yaml --add"
    assert {"submitted/import.yaml", "jobs/cli.py", "jobs/recipes/demo.yaml", "poses/batch.py"} <= set(
        client.packed
    )
    assert not [name for name in client.packed if name.startswith((".", "out/", "data/", "tests/"))]
    assert "entrypoint_label_selector" not in client.request


def test_a_coordinator_can_be_kept_to_labelled_nodes(client: FakeClient) -> None:
    options = SubmitOptions(wait=False, coordinator_labels=labels_of(["ray.io/market-type=on-demand"]))
    outcome = submit_recipe("import", ["out=s3://b/x"], CLUSTER, options)
    assert client.request["entrypoint_label_selector"] == {"ray.io/market-type": "on-demand"}
    assert outcome.exit_code == 0
    assert "posemill status s3://b/x" in "\n".join(outcome.lines())


@pytest.mark.parametrize("pair", ["spot", "=x", "a="])
def test_a_label_has_a_key_and_a_value(pair: str) -> None:
    with pytest.raises(RecipeError, match="wanted KEY=VALUE"):
        labels_of([pair])


def test_a_log_that_breaks_off_goes_on_without_doubles_or_secrets(client: FakeClient) -> None:
    client.logs = [
        ["one\ntw", ConnectionError("gone")],
        ["one\n", f"two {TOKEN} s3://me:pw@b/x?sig=1\n", "last"],
    ]
    client.infos = [Info(Status("RUNNING")), Info(Status("FAILED"), 1, "exit 1, last available logs: x")]
    log = io.StringIO()
    outcome = submit_recipe("import", ["out=s3://b/x"], CLUSTER, SubmitOptions(), log)
    assert log.getvalue() == "one\ntwo *** s3://***@b/x?***\nlast\n"
    assert (outcome.status, outcome.exit_code, outcome.message) == ("FAILED", 1, "exit 1")


def test_a_log_that_ends_early_is_asked_for_again_from_where_it_was(client: FakeClient) -> None:
    client.logs = [["a\nb\n"], ["a\nb\n", "c\n"]]
    client.infos = [Info(Status("RUNNING")), Info(Status("SUCCEEDED"))]
    log = io.StringIO()
    submit_recipe("import", ["out=s3://b/x"], CLUSTER, SubmitOptions(), log)
    assert log.getvalue() == "a\nb\nc\n"


def test_the_users_mistake_keeps_its_exit_code(client: FakeClient) -> None:
    client.infos = [Info(Status("FAILED"), 2)]
    assert submit_recipe("import", ["out=/x"], CLUSTER, SubmitOptions(), io.StringIO()).exit_code == 2


def test_a_cluster_that_stays_away_is_given_up(client: FakeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submit, "CONTACT_PATIENCE_S", 0.0)
    client.logs = [[OSError(f"no route {TOKEN}")] for _ in range(3)]
    with pytest.raises(ClusterError, match=r"no contact for 0 s .*no route \*\*\*.*job_1 may go on"):
        submit_recipe("import", ["out=/x"], CLUSTER, SubmitOptions(), io.StringIO())


def test_a_pool_joins_the_cluster_that_it_was_submitted_to() -> None:
    recipe = load_recipe("demo", ["out=/shared/x"])
    assert cluster_recipe(recipe).head.executor["pool"]["ray"] == {"address": "auto"}
    assert cluster_recipe(load_recipe("import", ["out=/x"])).head.executor == {"kind": "in_process"}


def test_an_output_inside_the_jobs_own_folder_is_refused() -> None:
    with pytest.raises(
        RecipeError, match=r"out is 'runs/demo'.*absolute path on storage that all nodes share"
    ):
        cluster_recipe(load_recipe("demo"))


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ("source=https://h/motion.zip?sig=abc", "source"),
        ("options.include=[s3://me:pw@b/x]", "options.include.0"),
    ],
)
def test_a_recipe_with_a_secret_is_not_sent(change: str, key: str) -> None:
    with pytest.raises(RecipeError, match=f"'{key}' holds a secret"):
        cluster_recipe(load_recipe("import", ["out=/x", change]))


def test_secret_keys_are_named_and_others_are_not() -> None:
    values = {
        "a": [{"api_key": "x", "keypoints": 3}],
        "token": None,
        "b": {"password": "p"},
        "url": "s3://b/x",
    }
    assert secret_keys(values) == ["a.0.api_key", "b.password"]


def test_the_package_leaves_out_keys_links_outputs_and_hidden_files(tmp_path: Path) -> None:
    folder = tmp_path / "checkout"
    for name in (
        "jobs/a.py",
        "storage/data/b.py",
        "out/x",
        "data/y",
        ".git/config",
        ".env",
        "deploy/tls.key",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (tmp_path / "outside.txt").write_text("outside")
    (folder / "link.txt").symlink_to(tmp_path / "outside.txt")
    (folder / "linked").symlink_to(tmp_path, target_is_directory=True)
    packed = pack(folder, "../../evil name.yaml", "job: import\n", tmp_path / "p.zip")
    with zipfile.ZipFile(tmp_path / "p.zip") as archive:
        assert sorted(archive.namelist()) == [
            "jobs/a.py", "storage/data/b.py", "submitted/_.._evil_name.yaml",
        ]  # fmt: skip
    assert packed.secrets_left_out == ("deploy/tls.key",)
    again = pack(folder, "../../evil name.yaml", "job: import\n", tmp_path / "q.zip")
    assert again.files == packed.files == 3
    assert (tmp_path / "p.zip").read_bytes() == (tmp_path / "q.zip").read_bytes()


def test_a_folder_that_is_too_large_names_what_is_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.submit_package.MAX_BYTES", 10)
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.bin").write_bytes(b"x" * 100)
    with pytest.raises(RecipeError, match=r"more than the 0 that travel with a job .*videos"):
        pack(tmp_path, "r.yaml", "", tmp_path / "p.zip")


def test_a_recipes_name_needs_no_shell(tmp_path: Path) -> None:
    path = tmp_path / "a b; rm -rf $HOME.yaml"
    path.write_text("job: import\nout: /x\n")
    assert entrypoint(load_recipe(str(path))) == "python -m jobs.cli run submitted/a_b__rm_-rf__HOME.yaml"
