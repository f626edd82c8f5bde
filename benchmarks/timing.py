"""How long a benchmarked piece of work takes."""

import time
from collections.abc import Callable

import torch


def seconds_of(run: Callable[[], object], device: str) -> float:
    """Seconds of one call: processor time with one torch thread, else wall time; on a GPU to the end of its work."""
    if device == "cuda":
        torch.cuda.synchronize()
        start = time.perf_counter()
        run()
        torch.cuda.synchronize()
        return time.perf_counter() - start
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    start = clock()
    run()
    return clock() - start
