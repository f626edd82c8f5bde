import pytest

from jobs.report import formatting as f


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (0, "0"),
        (999, "999"),
        (9_165, "9,165"),
        (79_505, "79.5 k"),
        (999_950, "1 M"),
        (1_130_412, "1.13 M"),
        (2e9, "2 G"),
    ],
)
def test_compact(value: float, wanted: str) -> None:
    assert f.compact(value) == wanted


@pytest.mark.parametrize(
    ("value", "wanted"),
    [(1.0, "100 %"), (0.9999999, "> 99.9 %"), (1e-9, "< 0.1 %"), (0.0, "0 %"), (0.941, "94.1 %")],
)
def test_percent_never_hides_a_loss(value: float, wanted: str) -> None:
    assert f.percent(value) == wanted


@pytest.mark.parametrize(
    ("value", "wanted"),
    [(0.25, "0.25 s"), (59, "59 s"), (161, "2 min 41 s"), (3599.7, "1 h 0 min"), (7300, "2 h 1 min")],
)
def test_duration(value: float, wanted: str) -> None:
    assert f.duration_text(value) == wanted


@pytest.mark.parametrize(("value", "wanted"), [(-3.2, "−3"), (3.2, "+3"), (-0.2, "0"), (float("nan"), "–")])
def test_signed(value: float, wanted: str) -> None:
    assert f.signed(value) == wanted


@pytest.mark.parametrize(
    ("value", "step", "wanted"),
    [(0.075, 0.025, "0.075"), (50, 25, "50"), (-0.5, 0.5, "−0.5"), (20_000, 10_000, "20 k")],
)
def test_ticks_have_the_digits_of_their_step(value: float, step: float, wanted: str) -> None:
    assert f.tick_text(value, step) == wanted


def test_bytes() -> None:
    assert [f.bytes_text(v) for v in (12, 3_230_000, 456_123_456)] == ["12 B", "3.23 MB", "456 MB"]
