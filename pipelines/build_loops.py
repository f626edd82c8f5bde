"""The loops of a build: one after the other on the job's executor, or several at once in processes of their own."""

import multiprocessing
import signal
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from multiprocessing.synchronize import Event

import torch

from pipelines.closed_loop.job import ClosedLoopResult, run_closed_loop
from pipelines.closed_loop.settings import ClosedLoopSettings
from pipelines.context import RunContext
from pipelines.in_process import InProcessExecutor
from pipelines.progress import Progress
from pipelines.stopping import StopRequest, stopping_on_signals

TASK = "loops"
_PATIENCE_S = 10.0
"""After the grace, in which a loop ends by itself, until this process is interrupted."""
_LOOK_S = 0.5
_ASKED: list[tuple[Event, float]] = []
"""In a loop's process: whether the build was asked to stop, and the grace."""


@dataclass(frozen=True)
class LoopTask:
    """One loop of a build: its name among the variants, its seed, its settings, and where it writes."""

    name: str
    seed: int
    settings: ClosedLoopSettings
    out_url: str

    @property
    def label(self) -> str:
        """For a reader."""
        return f"{self.name}, seed {self.seed}"


def run_loops(tasks: list[LoopTask], source_url: str, context: RunContext, parallel: int) -> None:
    """Run every loop; those that were finished before are left alone.

    Seed by seed, so that a build that is stopped has every loop for its first seeds; loops that start from another's
    estimator come after that seed's others.
    """
    if len(tasks) > 1:
        context.progress.start(TASK, len(tasks), "loops")
    if parallel == 1:
        for task in tasks:
            _tell(
                context.progress,
                task,
                run_closed_loop(task.settings, source_url, _context_of(task, context)),
                tasks,
            )
    else:
        for seed in dict.fromkeys(task.seed for task in tasks):
            for wave in (False, True):
                chosen = [
                    task
                    for task in tasks
                    if task.seed == seed and (task.settings.start_from is not None) is wave
                ]
                _run_wave(chosen, tasks, source_url, context, parallel)
    if len(tasks) > 1:
        context.progress.finish(TASK)


def _run_wave(
    chosen: list[LoopTask], tasks: list[LoopTask], source_url: str, context: RunContext, parallel: int
) -> None:
    """Loops in processes of their own; asked to stop, each keeps the round that it is at."""
    if not chosen:
        return
    spawn, stop = multiprocessing.get_context("spawn"), context.stop
    asked = spawn.Event()
    with ProcessPoolExecutor(
        parallel, mp_context=spawn, initializer=_remember, initargs=(asked, stop.grace_s)
    ) as pool:
        waiting = {
            pool.submit(_run_alone, task, source_url, context.accept_other_plan): task for task in chosen
        }
        try:
            with stop.heeding(patience_s=_PATIENCE_S):
                while waiting and not stop.requested:
                    done, _ = wait(waiting, timeout=_LOOK_S, return_when=FIRST_COMPLETED)
                    for future in done:
                        _tell(context.progress, waiting.pop(future), future.result(), tasks)
                if stop.requested:
                    asked.set()
                    pool.shutdown(wait=True, cancel_futures=True)
                    raise stop.error("every loop at work keeps its last round or checkpoint")
        except BaseException:
            asked.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _remember(asked: Event, grace_s: float) -> None:
    """Ctrl-C reaches the loops' processes too; those that are idle leave it to the build."""
    _ASKED[:] = [(asked, grace_s)]
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _run_alone(task: LoopTask, source_url: str, accept_other_plan: bool) -> ClosedLoopResult:
    """One loop in a process of its own, with one torch thread. It ends when the build or a signal asks for it."""
    torch.set_num_threads(1)
    asked, grace_s = _ASKED[0]
    stop = StopRequest(grace_s)
    context = RunContext(
        task.out_url, InProcessExecutor(), seed=task.seed, accept_other_plan=accept_other_plan, stop=stop
    )
    notice = lambda: "the build's end" if asked.is_set() else None  # noqa: E731
    with stopping_on_signals(stop, [notice], poll_s=_LOOK_S, say=lambda _: None):
        return run_closed_loop(task.settings, source_url, context)


def _context_of(task: LoopTask, context: RunContext) -> RunContext:
    return replace(context, out_url=task.out_url, seed=task.seed)


def _tell(progress: Progress, task: LoopTask, result: ClosedLoopResult, tasks: list[LoopTask]) -> None:
    if len(tasks) < 2:
        return
    best = result.best_validation_mm
    error = "no validation" if best is None else f"{best:.1f} mm on validation"
    progress.log(f"{task.label}: {result.lifter_steps} steps, {error}")
    progress.advance(TASK)
