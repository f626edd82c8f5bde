import io

from jobs.progress import BarProgress, LineProgress, progress_for, rate_text


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def use(progress: BarProgress | LineProgress) -> None:
    progress.start("import", 3, "units")
    progress.advance("import")
    progress.log("a [bold] message")
    progress.advance("import", 2)
    progress.finish("import")
    progress.start("open end", None, "rows")
    progress.advance("open end", 7)
    progress.finish("open end")
    progress.advance("never opened")
    progress.finish("never opened")
    progress.close()


def test_lines_say_what_was_done() -> None:
    out = io.StringIO()
    use(LineProgress(out))
    lines = out.getvalue().splitlines()
    assert lines[:2] == ["import: 3 units", "a [bold] message"]
    assert lines[2].startswith("import: 3 of 3 units in ")
    assert lines[-1].startswith("open end: 7 rows in ")


def test_lines_come_now_and_then() -> None:
    out = io.StringIO()
    lines = LineProgress(out, every_s=0.0)
    lines.start("loop", 2, "rounds")
    lines.advance("loop")
    assert "loop: 1 of 2 rounds (" in out.getvalue()


def test_quiet_keeps_messages_only() -> None:
    out = io.StringIO()
    use(progress_for(out, quiet=True))
    assert out.getvalue() == "a [bold] message\n"


def test_a_terminal_gets_bars_and_messages_as_they_are() -> None:
    out = Terminal()
    progress = progress_for(out)
    assert isinstance(progress, BarProgress)
    use(progress)
    assert "a [bold] message" in out.getvalue()
    assert "3/3" in out.getvalue()


def test_a_bar_may_be_opened_again() -> None:
    bars = BarProgress(Terminal())
    bars.start("loop", 5, "rounds")
    bars.advance("loop", 5)
    bars.start("loop", 2, "rounds")
    bars.advance("loop", 1)
    bars.close()


def test_rates_are_readable_at_any_speed() -> None:
    assert [rate_text(v) for v in (12_345.6, 3.21, 0.1)] == ["12,346/s", "3.2/s", "6.0/min"]
