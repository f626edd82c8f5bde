"""What every executor does, whoever does the work. Subclasses give the fixture `executor`."""

from pathlib import Path

import pytest

from pipelines.errors import BadRowError, StageSetupError
from pipelines.executor import BadRowPolicy, Executor
from pipelines.in_process import InProcessExecutor
from pipelines.progress import RecordingProgress
from storage.reader import Dataset
from tests.contracts.executor_cases import ROWS, Behaviour, digests, run_and_publish, stage_factory, units


class ExecutorContract:
    """Subclass it and provide a fixture `executor`."""

    def test_same_bytes_as_the_plain_loop_and_each_result_told_once(
        self, executor: Executor, tmp_path: Path
    ) -> None:
        reference = run_and_publish(InProcessExecutor(), tmp_path / "reference")
        told: list[str] = []
        report = run_and_publish(executor, tmp_path / "out", told=told)
        assert digests(report) == digests(reference)
        assert sorted(told) == [f"u{index}" for index in range(6)]
        assert Dataset.open(tmp_path / "out").n_pairs == 6 * ROWS

    def test_a_raising_row_is_quarantined_and_the_innocent_kept(
        self, executor: Executor, tmp_path: Path
    ) -> None:
        poison = Behaviour(raising=frozenset({("u1", 1), ("u1", 3), ("u4", 0)}))
        report = run_and_publish(executor, tmp_path, poison)
        assert {unit: [bad.row for bad in rows] for unit, rows in report.bad_rows.items()} == {
            "u1": [1, 3],
            "u4": [0],
        }
        dataset = Dataset.open(tmp_path)
        assert dataset.n_pairs == 6 * ROWS - 3
        kept = sorted((row.source, row.row, row.reason) for row in dataset.quarantined_rows())
        assert kept[0] == ("u1", 1, "ValueError: poison in row 1")
        assert len(kept) == 3

    def test_fail_on_bad_row_names_it(self, executor: Executor, tmp_path: Path) -> None:
        poison = Behaviour(raising=frozenset({("u1", 2)}))
        with pytest.raises(BadRowError, match="unit u1, row 2: ValueError: poison in row 2"):
            executor.run(
                stage_factory(tmp_path, poison),
                units(2),
                lambda _: None,
                name="test",
                bad_rows=BadRowPolicy(on_bad_row="fail"),
            )

    def test_setup_that_fails_stops_with_the_cause(self, executor: Executor, tmp_path: Path) -> None:
        progress = RecordingProgress()
        with pytest.raises(StageSetupError, match="ValueError: no such checkpoint"):
            executor.run(
                stage_factory(tmp_path, Behaviour(setup_error="no such checkpoint")),
                units(2),
                lambda _: None,
                name="test",
                progress=progress,
            )
        assert "no such checkpoint" in progress.messages[0]

    def test_no_units_no_work(self, executor: Executor, tmp_path: Path) -> None:
        assert executor.run(stage_factory(tmp_path), [], lambda _: None).commits == []
