"""The loops of a build: one after the other on the job's executor, or several at once in processes of their own."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace

import torch

from pipelines.closed_loop.job import ClosedLoopResult, run_closed_loop
from pipelines.closed_loop.settings import ClosedLoopSettings
from pipelines.context import RunContext
from pipelines.in_process import InProcessExecutor
from pipelines.progress import Progress

TASK = "loops"


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
    if not chosen:
        return
    with ProcessPoolExecutor(parallel, mp_context=multiprocessing.get_context("spawn")) as pool:
        running = {
            pool.submit(_run_alone, task, source_url, context.accept_other_plan): task for task in chosen
        }
        for done in as_completed(running):
            _tell(context.progress, running[done], done.result(), tasks)


def _run_alone(task: LoopTask, source_url: str, accept_other_plan: bool) -> ClosedLoopResult:
    """One loop in a process of its own, with one torch thread."""
    torch.set_num_threads(1)
    context = RunContext(
        task.out_url, InProcessExecutor(), seed=task.seed, accept_other_plan=accept_other_plan
    )
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
