"""What a job reports, on a terminal as bars and elsewhere as plain lines."""

import sys
import time
from dataclasses import dataclass
from typing import TextIO

from jobs.report.formatting import duration_text
from pipelines.progress import Progress

_LINE_EVERY_S = 10.0


def progress_for(stream: TextIO, quiet: bool = False) -> "BarProgress | LineProgress":
    """Bars where a person watches, lines where a log is kept; `quiet` keeps log messages only."""
    if not quiet and stream.isatty():
        return BarProgress(stream)
    return LineProgress(stream, quiet=quiet)


@dataclass(frozen=True)
class _Bar:
    """A bar of rich: its id, when it was opened, and what an earlier attempt had done."""

    bar: object
    started_s: float
    before: int


class BarProgress:
    """rich bars: one per task, with rate and time left. Finished tasks stay as one line."""

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as RichProgress

        self._bars = RichProgress(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description}", style="bold"),
            BarColumn(bar_width=None, complete_style="magenta", finished_style="green"),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}  {task.fields[rate]}", style="dim"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(file=stream),
            refresh_per_second=8,
            expand=True,
        )
        self._open: dict[str, _Bar] = {}
        self._running = False

    def start(self, task: str, total: int | None, unit: str = "units", done: int = 0) -> None:
        """Open a bar; opening it again resets it."""
        from rich.markup import escape

        if not self._running:
            self._bars.start()
            self._running = True
        if task in self._open:
            self._bars.remove_task(self._open[task].bar)  # pyright: ignore[reportArgumentType]
        bar = self._bars.add_task(escape(task), total=total, completed=done, unit=unit, rate="")
        self._open[task] = _Bar(bar, time.monotonic(), done)

    def advance(self, task: str, amount: int = 1) -> None:
        """Move a bar."""
        known = self._open.get(task)
        if known is None:
            return
        bar = next(t for t in self._bars.tasks if t.id == known.bar)
        rate = (bar.completed + amount - known.before) / max(1e-3, time.monotonic() - known.started_s)
        self._bars.update(bar.id, advance=amount, rate=rate_text(rate))

    def finish(self, task: str) -> None:
        """Close a bar: it is drawn full if it came to its total or had none."""
        known = self._open.get(task)
        if known is None:
            return
        bar = next(t for t in self._bars.tasks if t.id == known.bar)
        if bar.total is None:
            self._bars.update(bar.id, total=bar.completed or 1, completed=bar.completed or 1)
        self._bars.stop_task(bar.id)

    def log(self, message: str) -> None:
        """A line above the bars."""
        from rich.text import Text

        self._bars.console.print(Text(message))

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._running:
            self._bars.stop()
            self._running = False


@dataclass
class _Task:
    total: int | None
    unit: str
    started_s: float
    said_s: float
    done: int = 0
    before: int = 0
    """Of `done`, by an earlier attempt."""

    def rate(self, now_s: float) -> float:
        """Steps a second of this attempt."""
        return (self.done - self.before) / max(1e-3, now_s - self.started_s)


class LineProgress:
    """Plain lines: when a task opens, every ten seconds, and when it closes."""

    def __init__(
        self, stream: TextIO = sys.stderr, quiet: bool = False, every_s: float = _LINE_EVERY_S
    ) -> None:
        self._stream = stream
        self._quiet = quiet
        self._every_s = every_s
        self._tasks: dict[str, _Task] = {}

    def start(self, task: str, total: int | None, unit: str = "units", done: int = 0) -> None:
        """Open a task."""
        now_s = time.monotonic()
        self._tasks[task] = _Task(total, unit, now_s, now_s, done, done)
        earlier = f", {done:,} done before" if done else ""
        self._say(f"{task}: {total:,} {unit}{earlier}" if total is not None else task)

    def advance(self, task: str, amount: int = 1) -> None:
        """Count, and say so now and then."""
        at = self._tasks.get(task)
        if at is None:
            return
        at.done += amount
        now_s = time.monotonic()
        if now_s - at.said_s >= self._every_s:
            at.said_s = now_s
            self._say(f"{task}: {_done(at)} ({_pace(at, now_s)})")

    def finish(self, task: str) -> None:
        """Close a task."""
        at = self._tasks.pop(task, None)
        if at is not None:
            self._say(f"{task}: {_done(at)} in {time.monotonic() - at.started_s:.1f} s")

    def log(self, message: str) -> None:
        """One line."""
        print(message, file=self._stream, flush=True)

    def close(self) -> None:
        """Nothing to put back."""

    def _say(self, line: str) -> None:
        if not self._quiet:
            print(line, file=self._stream, flush=True)


def rate_text(per_second: float) -> str:
    """`3.2/s`, `12,300/s`; per minute when it is slow."""
    if per_second >= 100:
        return f"{per_second:,.0f}/s"
    return f"{per_second:.1f}/s" if per_second >= 0.5 else f"{60 * per_second:.1f}/min"


def _pace(task: _Task, now_s: float) -> str:
    """Rate and time left, from this attempt alone."""
    rate = task.rate(now_s)
    if task.total is None or not rate:
        return rate_text(rate)
    return f"{rate_text(rate)}, {duration_text(max(0, task.total - task.done) / rate)} to go"


def _done(task: _Task) -> str:
    whole = f" of {task.total:,}" if task.total is not None else ""
    return f"{task.done:,}{whole} {task.unit}"


def _satisfies_protocol(bars: BarProgress, lines: LineProgress) -> tuple[Progress, Progress]:
    """Lets the type checker hold both classes to the protocol."""
    return bars, lines
