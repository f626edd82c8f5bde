"""The executor contracts on the in-process executor, and what it does with a unit that hangs; the Ray pool's are in
tests/cluster."""

import time
from pathlib import Path

import pytest

from pipelines.executor import Executor, RetryPolicy
from pipelines.in_process import InProcessExecutor
from pipelines.stage_chain import ChainExecutor
from pipelines.unit_deadline import Deadline, UnitTimeout
from storage.reader import Dataset
from tests.contracts.chain_contract import ChainContract
from tests.contracts.executor_cases import ROWS, Behaviour, run_and_publish
from tests.contracts.executor_contract import ExecutorContract


class TestInProcessExecutor(ExecutorContract):
    @pytest.fixture
    def executor(self) -> Executor:
        return InProcessExecutor()


class TestInProcessChain(ChainContract):
    @pytest.fixture
    def executor(self) -> ChainExecutor:
        return InProcessExecutor()


def test_a_row_that_hangs_is_interrupted_and_found(tmp_path: Path) -> None:
    retry = RetryPolicy(unit_timeout_s=0.3, backoff_s=0.0, deaths_before_suspect=1)
    hanging = Behaviour(hanging=frozenset({("u1", 2)}))
    report = run_and_publish(InProcessExecutor(retry), tmp_path, hanging, count=3)
    assert [(bad.row, bad.failure.error_class) for bad in report.bad_rows["u1"]] == [(2, "UnitTimeout")]
    assert Dataset.open(tmp_path).n_pairs == 3 * ROWS - 1


def test_a_deadline_that_is_met_leaves_nothing_behind() -> None:
    with Deadline(0.05):
        pass
    time.sleep(0.1)
    with pytest.raises(UnitTimeout), Deadline(0.05):
        time.sleep(5.0)
