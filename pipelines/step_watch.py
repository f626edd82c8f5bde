"""Signs of life of jobs that count steps or rounds instead of units: `train`, `train_unpaired`, `train_images`, `loop`.

Such a job commits no units: its checkpoints keep its work. Its heartbeat and its log stand where those of other jobs
stand, so that `posemill status` shows it, running or dead.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from pipelines.context import RunContext
from pipelines.heartbeat import (
    Heartbeat,
    RunState,
    end_state,
    error_line,
    here,
    read_heartbeat,
    write_heartbeat,
)
from pipelines.progress import Progress
from pipelines.run_log import RunLog, told_to_the_end
from storage.object_store import ObjectStore, open_store

_BEAT_S = 2.0


@contextmanager
def watched_steps(
    context: RunContext, run_id: str, job: str, total: int, counts: str
) -> Iterator[RunContext]:
    """Around a job's work: the context whose progress also writes heartbeat and log; tells how the work ended.

    Args:
        context: Of the job.
        run_id, job: Of its plan.
        total: Steps or rounds that it shall do.
        counts: "steps" or "rounds": the progress task that is counted in it is the job's.
    """
    store = open_store(context.out_url)
    log = RunLog(store, run_id, job, context.progress.log)
    watch = StepWatch(context.progress, store, log, Heartbeat.begun(job, total, counts), run_id)
    log.event("attempt_started", total=total, counts=counts)
    with told_to_the_end(log, watch.end):
        yield replace(context, progress=watch)


class StepWatch:
    """A `Progress` that passes everything on and writes a heartbeat, every two seconds at most.

    A run that was done before and is run again keeps its last heartbeat.
    """

    def __init__(
        self,
        progress: Progress,
        store: ObjectStore,
        log: RunLog,
        beat: Heartbeat,
        run_id: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._progress, self._store, self._log = progress, store, log
        self._run_id, self._clock, self._task = run_id, clock, ""
        self._beat, self._written_s = beat, float("-inf")
        last = read_heartbeat(store, run_id)
        self._was_done = last is not None and last.state == "done"
        self._write("running")

    def start(self, task: str, total: int | None, unit: str = "units", done: int = 0) -> None:
        """Open a task; the one that is counted in steps or rounds is the job's. A crew that was lost opens it again."""
        self._progress.start(task, total, unit, done)
        if unit != self._beat.counts:
            return
        if not self._task:
            now_s = self._clock()
            self._beat = self._beat.model_copy(update={"started_unix_s": now_s, "units_before": done})
        self._task = task
        self._set_done(done)
        self._write("running")

    def advance(self, task: str, amount: int = 1) -> None:
        """Count."""
        self._progress.advance(task, amount)
        if task == self._task:
            self._set_done(self._beat.units_before + self._beat.units_done + amount)
        if self._clock() - self._written_s >= _BEAT_S:
            self._write("running")

    def finish(self, task: str) -> None:
        """Close a task."""
        self._progress.finish(task)

    def log(self, message: str) -> None:
        """One line for the reader, and for the log."""
        self._progress.log(message)
        self._log.event("message", message=message)

    def end(self, error: BaseException | None = None) -> None:
        """The attempt is over."""
        self._write(end_state(error), error_line(error))

    def _set_done(self, done: int) -> None:
        """A crew that was lost may have fallen behind where this attempt began."""
        before = min(self._beat.units_before, done)
        self._beat = self._beat.model_copy(update={"units_before": before, "units_done": done - before})

    def _write(self, state: RunState, error: str = "") -> None:
        if self._was_done and state in ("running", "done") and not self._beat.units_done:
            return
        self._written_s = self._clock()
        update = {"state": state, "updated_unix_s": self._written_s, "error": error, **here()}
        write_heartbeat(self._store, self._run_id, self._beat.model_copy(update=update))
