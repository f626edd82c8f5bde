"""What every executor does with a chain of stages. Subclasses give the fixture `executor`."""

from pathlib import Path

import pytest

from pipelines.errors import StageSetupError
from pipelines.executor import ExecutionReport
from pipelines.in_process import InProcessExecutor
from pipelines.stage_chain import ChainExecutor
from poses.skeleton import load_skeleton
from storage.manifest import publish_manifest
from storage.object_store import open_store
from storage.reader import Dataset
from tests.contracts.chain_cases import ChainBehaviour, chain
from tests.contracts.executor_cases import ROWS, RUN, Behaviour, digests, run_and_publish, units


def run_chain_and_publish(
    executor: ChainExecutor, url: Path, behaviour: ChainBehaviour, count: int = 4
) -> tuple[ExecutionReport, list[str]]:
    """Run all units and publish them; the report, and the ids of the results as they were told."""
    told: list[str] = []
    report = executor.run_chain(
        chain(url, behaviour), units(count), lambda commit: told.append(commit.unit_id), name="test"
    )
    publish_manifest(open_store(url), RUN, report.commits, load_skeleton("h36m_16"))
    return report, told


class ChainContract:
    """Subclass it and provide a fixture `executor`."""

    def test_a_chain_writes_the_bytes_of_one_stage(self, executor: ChainExecutor, tmp_path: Path) -> None:
        reference = run_and_publish(InProcessExecutor(), tmp_path / "reference", count=4)
        report, told = run_chain_and_publish(executor, tmp_path / "out", ChainBehaviour())
        assert digests(report) == digests(reference)
        assert sorted(told) == ["u0", "u1", "u2", "u3"]

    def test_bad_rows_of_any_stage_are_found_through_the_chain(
        self, executor: ChainExecutor, tmp_path: Path
    ) -> None:
        behaviour = ChainBehaviour(
            decode=Behaviour(raising=frozenset({("u1", 2)})),
            lift=Behaviour(raising=frozenset({("u1", 0)})),
            write=Behaviour(raising=frozenset({("u3", 3)})),
        )
        report, _ = run_chain_and_publish(executor, tmp_path, behaviour)
        found = [(unit, bad.row, bad.failure.stage) for unit, rows in report.bad_rows.items() for bad in rows]
        assert sorted(found) == [("u1", 0, "lift"), ("u1", 2, "decode"), ("u3", 3, "write")]
        assert not report.failed
        assert Dataset.open(tmp_path).n_pairs == 4 * ROWS - 3

    def test_setup_that_fails_in_a_later_stage_stops_with_the_cause(
        self, executor: ChainExecutor, tmp_path: Path
    ) -> None:
        behaviour = ChainBehaviour(write=Behaviour(setup_error="no such checkpoint"))
        with pytest.raises(StageSetupError, match="ValueError: no such checkpoint"):
            executor.run_chain(chain(tmp_path, behaviour), units(2), lambda _: None, name="test")
