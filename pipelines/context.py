"""What every job gets from outside: where to write, who works, the seed, and whom to tell."""

from dataclasses import dataclass, field

from pipelines.executor import Executor
from pipelines.progress import Progress, SilentProgress
from pipelines.stopping import StopRequest


@dataclass(frozen=True)
class RunContext:
    """The rim of a job; `run_<verb>(settings, context)` takes everything with an effect from here.

    Attributes:
        out_url: Folder or URL of the dataset (or of the run's folder) that the job writes.
        executor: Runs the units, in this process or on a Ray pool; the results are the same.
        seed: Seed of all random numbers of the job.
        progress: Is told what happens.
        accept_other_plan: Go on although `out_url` holds another plan; the new run is added beside it.
        stop: Is asked by jobs that work without the executor; executors have it too.
    """

    out_url: str
    executor: Executor
    seed: int = 0
    progress: Progress = field(default_factory=SilentProgress)
    accept_other_plan: bool = False
    stop: StopRequest = field(default_factory=StopRequest)
