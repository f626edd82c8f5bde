"""Secrets in recipes, messages and logs: tried in every shape that we know of, and looked for in every byte written."""

from pathlib import Path

import pytest

from jobs.cli import main
from jobs.recipe import given_yaml, load_recipe, secret_keys
from jobs.redaction import HIDDEN, redacted, redacted_text

SECRET = "hunter2hunter2hunter2"
IN_TEXT = [
    f"s3://me:{SECRET}@bucket/motion",
    f"https://h/x.zip?X-Amz-Signature={SECRET}&a=1",
    f"abfs://c@a/x?sig={SECRET}",
    f"/work/https:/me:{SECRET}@h/motion",
    f"Authorization: Bearer {SECRET}",
    f"{{'Authorization': 'Bearer {SECRET}'}}",
    f"authorization: {SECRET}",
    f"AWS_SECRET_ACCESS_KEY={SECRET}",
    f"export RAY_AUTH_TOKEN='{SECRET}'",
    f"--set storage.password={SECRET}",
    f"ghp_{SECRET}",
    f"glpat-{SECRET}",
    f"eyJhbGciOiJ9.{SECRET}.{SECRET}",
    f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n-----END RSA PRIVATE KEY-----",
]
IN_VALUES = [
    {"password": SECRET},
    {"storage": {"options": [{"secret_access_key": SECRET}]}},
    {"runtime_env": {"env_vars": {"HF_TOKEN": SECRET}}},
    {"headers": {"Authorization": SECRET, "X-Api-Key": SECRET}},
    {"tokens_of": {"token": [SECRET, {"value": SECRET}]}},
    {"credentials": {"user": SECRET, "nested": {"value": SECRET}}},
    {"executor": {"args": [f"--token={SECRET}"]}},
    {"accountKey": SECRET},
]
HARMLESS = [
    "s3://bucket/a/b.parquet",
    "tokens 12, keypoints=17, key_frames=3",
    "the token of RAY_AUTH_TOKEN was refused",
    "RAY_AUTH_MODE=token",
    "loop.rounds=8",
    "bearer of bad news",
    "the secret of good data",
]


@pytest.mark.parametrize("text", IN_TEXT)
def test_a_secret_in_a_text_is_hidden(text: str) -> None:
    shown = redacted_text(f"before {text} after")
    assert SECRET not in shown
    assert HIDDEN in shown
    assert shown.startswith("before ")
    assert redacted_text(shown) == shown


@pytest.mark.parametrize("values", IN_VALUES)
def test_a_secret_in_values_is_hidden_and_named(values: dict[str, object]) -> None:
    assert SECRET not in str(redacted(values))
    assert secret_keys(values)


@pytest.mark.parametrize("text", HARMLESS)
def test_ordinary_words_stay(text: str) -> None:
    assert redacted_text(text) == text


def test_long_texts_take_no_long_time() -> None:
    for piece in ("x-", "token", "a.b", "Bearer ", "-----BEGIN ", "eyJa-", "s3://a", "="):
        assert isinstance(redacted_text(piece * (50_000 // len(piece))), str)


def test_a_dump_of_a_recipe_has_no_secrets(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(f"job: import\nout: x\nsource: {IN_TEXT[0]}\noptions: {{include: ['{IN_TEXT[1]}']}}\n")
    recipe = load_recipe(str(path), [f"executor.pool.ray.runtime_env.env_vars.HF_TOKEN={SECRET}"])
    assert SECRET not in given_yaml(recipe)
    assert len(secret_keys(recipe.values)) == 3


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr("sys.argv", ["posemill", "run", "import", *words])
    with pytest.raises(SystemExit) as stopped:
        main()
    return int(stopped.value.code or 0)


def places_of_secret(folder: Path) -> list[str]:
    return [
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and SECRET.encode() in path.read_bytes()
    ]


def test_a_run_writes_no_secret_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    name = f"see https://me:{SECRET}@h/x?sig={SECRET}"
    changes = ["motion.n_clips=2", "view.frame_step=30", f"out={tmp_path / 'out'}", f"name={name!r}"]
    assert run(monkeypatch, *(word for change in changes for word in ("--set", change))) == 0
    assert (tmp_path / "out" / "run.json").is_file()
    assert places_of_secret(tmp_path) == []
    assert SECRET not in "".join(capfd.readouterr())


def test_a_run_that_fails_tells_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    source = f"{tmp_path}/https://me:{SECRET}@h/motion.bvh"
    assert run(monkeypatch, "--set", f"source={source}", "--set", f"out={tmp_path / 'out'}") != 0
    assert places_of_secret(tmp_path) == []
    shown = "".join(capfd.readouterr())
    assert shown
    assert SECRET not in shown
