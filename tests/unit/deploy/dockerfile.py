"""A Dockerfile as its instructions: just enough to check ours where no engine runs."""

import shlex
from dataclasses import dataclass
from pathlib import Path

_KNOWN = {"ARG", "FROM", "ENV", "RUN", "WORKDIR", "COPY", "USER", "ENTRYPOINT", "CMD", "LABEL", "EXPOSE"}


@dataclass(frozen=True)
class Instruction:
    """One instruction, its lines joined."""

    name: str
    text: str

    @property
    def words(self) -> list[str]:
        """Split as a shell would."""
        return shlex.split(self.text)


def read_dockerfile(path: Path) -> list[Instruction]:
    """The instructions; raises ValueError for a line that is none."""
    found: list[Instruction] = []
    pending = ""
    for line in path.read_text().splitlines():
        if line.lstrip().startswith("#"):
            continue
        pending += line.strip()
        if pending.endswith("\\"):
            pending = pending[:-1] + " "
            continue
        if pending:
            name, _, text = pending.partition(" ")
            if name not in _KNOWN:
                raise ValueError(f"{name} is no instruction that we use")
            found.append(Instruction(name, text.strip()))
        pending = ""
    if pending:
        raise ValueError("the last line goes on")
    return found
