"""The terminal as a user meets it: arguments in, exit code out."""

import sys

import pytest

from jobs import cli


def main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Exit code of `posemill ARGUMENTS`; what it prints is the test's to capture."""
    monkeypatch.setattr(sys, "argv", ["posemill", *arguments])
    monkeypatch.delenv("POSEMILL_DEBUG", raising=False)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)
