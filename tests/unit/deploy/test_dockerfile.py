import re
import tomllib
from pathlib import Path

import pytest

from tests.unit.deploy.dockerfile import Instruction, read_dockerfile

REPOSITORY = Path(__file__).resolve().parents[3]
DEPLOY = REPOSITORY / "deploy"


@pytest.fixture(scope="module")
def instructions() -> list[Instruction]:
    """Those of deploy/Dockerfile."""
    return read_dockerfile(DEPLOY / "Dockerfile")


def texts(instructions: list[Instruction], name: str) -> list[str]:
    return [instruction.text for instruction in instructions if instruction.name == name]


def test_the_base_is_pinned_to_a_patch_version(instructions: list[Instruction]) -> None:
    assert texts(instructions, "FROM") == ["${BASE_IMAGE}"]
    base = instructions[0]
    assert (base.name, base.text.partition("=")[0]) == ("ARG", "BASE_IMAGE")
    assert re.search(r"python:3\.11\.\d+-slim-bookworm$", base.text)


def test_it_ends_as_an_ordinary_user(instructions: list[Instruction]) -> None:
    users = texts(instructions, "USER")
    assert users[-1] == "1000:1000"
    after = instructions[[i.name for i in instructions].index("USER") :]
    assert not [instruction for instruction in after if instruction.name in ("RUN", "COPY")]


def test_torch_is_chosen_by_a_build_argument_and_comes_first(instructions: list[Instruction]) -> None:
    assert "TORCH=cpu" in texts(instructions, "ARG")
    installs = [text for text in texts(instructions, "RUN") if "pip install" in text]
    assert "download.pytorch.org/whl/${TORCH}" in installs[0]
    assert "--no-deps" in installs[0]
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert f"TORCH_VERSION={dict_of(project['dependencies'])['torch']}" in texts(instructions, "ARG")
    assert "EXTRAS=s3" in texts(instructions, "ARG")
    assert "s3" in project["optional-dependencies"]


def dict_of(pins: list[str]) -> dict[str, str]:
    return dict(pin.split("==") for pin in pins)


def test_all_else_is_installed_with_the_constraints(instructions: list[Instruction]) -> None:
    [install] = [text for text in texts(instructions, "RUN") if ".[" in text]
    assert "--constraint constraints.txt" in install
    assert "extra-index-url" not in " ".join(texts(instructions, "RUN"))


def test_what_is_copied_is_there_and_is_all_that_is_needed(instructions: list[Instruction]) -> None:
    copied = [
        source
        for instruction in instructions
        if instruction.name == "COPY"
        for source in instruction.words[:-1]
    ]
    assert "." not in copied
    assert all((REPOSITORY / source).exists() for source in copied)
    packages = {path.parent.name for path in REPOSITORY.glob("*/__init__.py")} - {"benchmarks"}
    assert packages <= set(copied)


def test_nothing_secret_and_nothing_unpinned_comes_in(instructions: list[Instruction]) -> None:
    everything = "\n".join(f"{instruction.name} {instruction.text}" for instruction in instructions)
    assert not re.search(r"(?i)(token|secret|password|api_?key)\s*=\s*(?!token\b)\S", everything)
    assert "RAY_AUTH_MODE=token" in everything
    assert "sudo" not in everything
    assert not re.search(r"(curl|wget)\s+http|\|\s*(ba)?sh", everything)
    assert ":latest" not in everything


def test_only_what_is_copied_enters_the_build() -> None:
    lines = [
        line
        for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
        if line[:1] not in ("#", "")
    ]
    assert lines[0] == "*"
    assert {"**/.env", "**/*.pem", "**/*.key"} <= set(lines)
    instructions = read_dockerfile(DEPLOY / "Dockerfile")
    copied = {source for each in instructions if each.name == "COPY" for source in each.words[:-1]}
    assert copied == {line[1:] for line in lines if line.startswith("!")}


def test_signals_reach_the_job(instructions: list[Instruction]) -> None:
    assert "tini" in texts(instructions, "ENTRYPOINT")[0]
    assert any("tini" in text for text in texts(instructions, "RUN"))


@pytest.mark.parametrize("text", ["FRM x\n", "RUN a \\\n"])
def test_the_reader_refuses_what_is_no_dockerfile(tmp_path: Path, text: str) -> None:
    (tmp_path / "Dockerfile").write_text(text)
    with pytest.raises(ValueError, match=r"no instruction|goes on"):
        read_dockerfile(tmp_path / "Dockerfile")
