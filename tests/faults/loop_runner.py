"""Runs closed loops in processes that can be killed; `test_loop_killed.py` starts this file.

Reads lines of JSON, {"kind": ..., "source": ..., "out": ...}, and for each forks a child that runs the loop; answers
with the child's process id, and with its exit status once it has ended. Everything is imported before, so that a child
costs milliseconds.
"""

import json
import os
import sys
import traceback

import torch
import torch._dynamo  # what Adam imports at its first use

from pipelines.closed_loop.job import run_closed_loop
from pipelines.context import RunContext
from pipelines.in_process import InProcessExecutor
from tests.unit.pipelines.closed_loop.loop_parts import feedback_loop, poseaug_loop

ROUNDS = 6
LOOPS = {
    "poseaug": poseaug_loop(rounds=ROUNDS, batch_rows=32, batches_per_round=10),
    "feedback": feedback_loop(rounds=ROUNDS, batch_rows=32, batches_per_round=10),
}


def main() -> None:
    torch.set_num_threads(1)
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _run_and_exit(order)
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _run_and_exit(order: dict[str, str]) -> None:
    status = 1
    try:
        context = RunContext(order["out"], InProcessExecutor(), seed=3)
        run_closed_loop(LOOPS[order["kind"]], order["source"], context)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


if __name__ == "__main__":
    main()
