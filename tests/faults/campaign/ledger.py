"""Adds up the campaign: a line for every group, a table at the end, the same table in docs/reliability.md."""

import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.campaign.cases import Verdict

BEGIN, END = "<!-- campaign: begin -->", "<!-- campaign: end -->"
HEADER = ("fault", "injected", "fired", "survived", "seconds")


@dataclass
class Count:
    """One row of the table."""

    injected: int = 0
    fired: int = 0
    survived: int = 0
    seconds: float = 0.0

    def add(self, injected: int, fired: int, survived: int, seconds: float) -> None:
        """One more."""
        self.injected += injected
        self.fired += fired
        self.survived += survived
        self.seconds += seconds


@dataclass
class GroupResult:
    """What a group came to."""

    name: str
    rows: dict[str, Count] = field(default_factory=dict)
    bad: list[str] = field(default_factory=list)
    wall_s: float = 0.0
    cpu_s: float = 0.0
    left_out: str = ""
    """Why this machine cannot do it, or ""."""

    def take(self, verdict: Verdict) -> None:
        """One more; a fault that did not fire, or was not survived, is told at once."""
        row = self.rows.setdefault(verdict.kind, Count())
        row.add(verdict.injected, verdict.fired, verdict.survived, verdict.seconds)
        if verdict.problem or verdict.fired < verdict.injected:
            fired = f"{verdict.fired} of {verdict.injected} fired"
            self.bad.append(f"{verdict.kind}: {verdict.what} ({fired}): {verdict.problem}")
            print(f"  NOT SURVIVED: {self.bad[-1]}", flush=True)

    def line(self) -> str:
        """The group in one line."""
        if self.left_out:
            return f"{self.name}: not here: {self.left_out}"
        total = summed(self.rows.values())
        return (
            f"{self.name}: {total.injected} injected, {total.fired} fired, {total.survived} survived,"
            f" {self.wall_s:.0f} s ({self.cpu_s:.0f} s of CPU)"
        )


def summed(rows: Iterable[Count]) -> Count:
    """All together."""
    total = Count()
    for row in rows:
        total.add(row.injected, row.fired, row.survived, row.seconds)
    return total


@dataclass
class Ledger:
    """Every group so far; kept in a file if there is one, so that a campaign can go on where it was stopped."""

    path: Path | None = None
    groups: dict[str, GroupResult] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.path is not None and self.path.exists():
            for values in json.loads(self.path.read_text()):
                rows = {kind: Count(**row) for kind, row in values.pop("rows").items()}
                self.groups[values["name"]] = GroupResult(rows=rows, **values)

    def close_group(self, group: GroupResult) -> None:
        """Take a group that has ended."""
        self.groups[group.name] = group
        if self.path is not None:
            values: list[dict[str, Any]] = [asdict(one) for one in self.groups.values()]
            self.path.write_text(json.dumps(values, indent=1))

    @property
    def bad(self) -> list[str]:
        """What was not survived."""
        return [words for group in self.groups.values() for words in group.bad]

    @property
    def rows(self) -> dict[str, Count]:
        """Every kind of fault."""
        found: dict[str, Count] = {}
        for group in self.groups.values():
            for kind, row in group.rows.items():
                found[kind] = summed([found.get(kind, Count()), row])
        return found

    def table(self) -> str:
        """The counts as Markdown."""
        rows = self.rows
        rows["**all**"] = summed(rows.values())
        lines = [f"| {' | '.join(HEADER)} |", "| --- | ---: | ---: | ---: | ---: |"]
        lines += [
            f"| {kind} | {row.injected} | {row.fired} | {row.survived} | {row.seconds:.0f} |"
            for kind, row in rows.items()
        ]
        left_out = [group for group in self.groups.values() if group.left_out]
        lines += [f"\nNot tried here, {group.name}: {group.left_out}." for group in left_out]
        return "\n".join(lines)

    def words(self, cores: int) -> str:
        """How long it took."""
        groups = self.groups.values()
        wall_s, cpu_s = sum(group.wall_s for group in groups), sum(group.cpu_s for group in groups)
        return f"{wall_s / 60:.1f} minutes of wall time and {cpu_s / 60:.1f} of CPU time on a machine of {cores} cores"


def write_table(page: Path, ledger: Ledger, cores: int) -> None:
    """Puts the table between the page's markers."""
    text = page.read_text()
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    day = time.strftime("%Y-%m-%d", time.gmtime())
    made = (
        f"`make faults WRITE=--write`, {day}: {ledger.words(cores)}, beside whatever else it did. Seconds are those of"
        " the cases, some at a time; a case is the disturbed run, the run after it and the comparison."
    )
    page.write_text(f"{before}{BEGIN}\n{made}\n\n{ledger.table()}\n{END}{after}")
