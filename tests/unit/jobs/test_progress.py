import io

import pytest

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


def test_after_a_resume_rate_and_time_left_are_this_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [100.0]
    monkeypatch.setattr("jobs.progress.time.monotonic", lambda: now_s[0])
    out = io.StringIO()
    lines = LineProgress(out, every_s=5.0)
    lines.start("import", 1000, "units", done=900)
    now_s[0] += 10.0
    lines.advance("import", 20)
    assert out.getvalue().splitlines() == [
        "import: 1,000 units, 900 done before",
        "import: 920 of 1,000 units (2.0/s, 40 s to go)",
    ]
    bars = BarProgress(Terminal())
    bars.start("import", 1000, "units", done=900)
    now_s[0] += 10.0
    bars.advance("import", 20)
    bar = bars._bars.tasks[0]
    assert (bar.completed, bar.fields["rate"]) == (920, "2.0/s")
    bars.close()
