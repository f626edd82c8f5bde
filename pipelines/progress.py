"""How a job tells what it is doing, without knowing about terminals."""

from dataclasses import dataclass, field
from typing import Protocol


class Progress(Protocol):
    """Receives what a job reports. Calls come from one thread."""

    def start(self, task: str, total: int | None, unit: str = "units", done: int = 0) -> None:
        """Open a task of `total` steps (None: unknown), counted in `unit`; opening it again resets it.

        Args:
            done: Steps that an earlier attempt did: they count, but not into rate and time left.
        """
        ...

    def advance(self, task: str, amount: int = 1) -> None:
        """`amount` more steps of an open task are done."""
        ...

    def finish(self, task: str) -> None:
        """Close a task, whether it came to its total or not."""
        ...

    def log(self, message: str) -> None:
        """One line for the reader: a retry, a quarantined row, a pool that shrank."""
        ...


class SilentProgress:
    """Tells nobody."""

    def start(self, task: str, total: int | None, unit: str = "units", done: int = 0) -> None:
        del task, total, unit, done

    def advance(self, task: str, amount: int = 1) -> None:
        del task, amount

    def finish(self, task: str) -> None:
        del task

    def log(self, message: str) -> None:
        del message


@dataclass
class RecordedTask:
    """One task as the recording progress saw it."""

    total: int | None
    unit: str
    done: int = 0
    finished: bool = False
    before: int = 0
    """Done by an earlier attempt."""


@dataclass
class RecordingProgress:
    """Keeps everything it was told; for tests and for embedding a job in a program."""

    tasks: dict[str, RecordedTask] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def start(self, task: str, total: int | None, unit: str = "units", done: int = 0) -> None:
        self.tasks[task] = RecordedTask(total, unit, done, before=done)

    def advance(self, task: str, amount: int = 1) -> None:
        self.tasks[task].done += amount

    def finish(self, task: str) -> None:
        self.tasks[task].finished = True

    def log(self, message: str) -> None:
        self.messages.append(message)
