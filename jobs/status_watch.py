"""`posemill status --watch`: the status again and again, in place on a terminal, as blocks or JSON lines elsewhere."""

import json
import time
from collections.abc import Callable
from typing import TextIO

from jobs.status import FolderStatus, folder_status


def watch_status(
    out: str,
    every_s: float,
    as_json: bool,
    stream: TextIO,
    sleep: Callable[[float], None] = time.sleep,
    look: Callable[[str], FolderStatus] = folder_status,
) -> None:
    """Show the status until the run has ended.

    Args:
        as_json: One JSON object a line for every look.
        sleep, look: Tests pass their own.
    """
    if stream.isatty() and not as_json:
        _watch_in_place(out, every_s, stream, sleep, look)
        return
    while True:
        found = look(out)
        text = json.dumps(found.to_dict(), default=str) if as_json else "\n".join([*found.lines(), ""])
        print(text, file=stream, flush=True)
        if found.ended:
            return
        sleep(every_s)


def _watch_in_place(
    out: str,
    every_s: float,
    stream: TextIO,
    sleep: Callable[[float], None],
    look: Callable[[str], FolderStatus],
) -> None:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(console=Console(file=stream), auto_refresh=False) as live:
        while True:
            found = look(out)
            live.update(Text("\n".join(found.lines())), refresh=True)
            if found.ended:
                return
            sleep(every_s)
