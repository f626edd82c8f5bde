"""The executor contract on the in-process executor; the Ray pool's is in tests/cluster."""

import pytest

from pipelines.executor import Executor
from pipelines.in_process import InProcessExecutor
from tests.contracts.executor_contract import ExecutorContract


class TestInProcessExecutor(ExecutorContract):
    @pytest.fixture
    def executor(self) -> Executor:
        return InProcessExecutor()
