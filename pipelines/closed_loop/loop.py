"""The driver of the closed loop: who is asked for what, in which order, and where the loop is saved.

`sync` follows the published order exactly (PoseAug, released code: the augmentor's pass over an epoch against a fixed
estimator, then the estimator's pass over what came of it); it gives the numbers of a plain single-process loop.
`async` lets augmentors run ahead of the trainer; a chunk is never consumed by an estimator more than `max_staleness`
versions past the one that it was made against.
"""

import time

from pipelines.closed_loop.async_round import AsyncRound
from pipelines.closed_loop.checkpoint import LoopCheckpoints
from pipelines.closed_loop.collapse import Collapse, Restarts, signs_of_collapse
from pipelines.closed_loop.crew import Crew, CrewFactory
from pipelines.closed_loop.errors import CrewLostError
from pipelines.closed_loop.order import LoopOrder
from pipelines.closed_loop.reports import MetricsLog, TrainingReport, round_metrics, with_unpaired
from pipelines.progress import Progress
from pipelines.stopping import StopRequest


def run_loop(
    order: LoopOrder,
    build_crew: CrewFactory,
    checkpoints: LoopCheckpoints,
    log: MetricsLog,
    progress: Progress,
    stop: StopRequest | None = None,
) -> Crew:
    """Run the loop to its end, from its last checkpoint where there is one; gives the crew as it stands then.

    A crew that loses a member is replaced by a new one at the last checkpoint; an augmentor that collapses begins again
    at an earlier checkpoint with another seed.

    Raises:
        CrewLostError: if members keep dying, `max_crew_losses` times without a new checkpoint.
        CollapseError: if the augmentor keeps collapsing, `collapse_restarts` times.
        LoopStateError: if the checkpoint is damaged or belongs to other settings.
        PoolError: if the crew cannot be placed.
        JobStoppedError: if `stop` asked for it; the round at work was done and is kept as a checkpoint.
    """
    stop = stop or StopRequest()
    restarts = Restarts(checkpoints, order.collapse_restarts)
    losses, saved = 0, checkpoints.saved_rounds()
    while True:
        crew: Crew | None = None
        try:
            crew = build_crew(restarts.attempt)
            with stop.heeding():
                collapse = _run_from_checkpoint(order, crew, restarts, log, progress, stop)
            if collapse is None:
                return crew
            restart = restarts.begin(collapse)
        except CrewLostError as error:
            _close(crew)
            saved, saved_before = checkpoints.saved_rounds(), saved
            losses = losses + 1 if saved == saved_before else 1
            if losses > order.max_crew_losses:
                raise
            progress.log(f"{error}; going on from the last checkpoint ({losses} of {order.max_crew_losses})")
            time.sleep(min(2.0**losses, 10.0) / 4)
        except BaseException:
            _close(crew)
            raise
        else:
            _close(crew)
            progress.log(
                f"the augmentor collapsed in round {restart.collapsed_round} ({'; '.join(restart.reasons)}); going"
                f" back to {restart.rounds_kept} rounds with another seed ({restarts.attempt} of"
                f" {order.collapse_restarts})"
            )


def _close(crew: Crew | None) -> None:
    if crew is not None:
        crew.close()


def _run_from_checkpoint(
    order: LoopOrder, crew: Crew, restarts: Restarts, log: MetricsLog, progress: Progress, stop: StopRequest
) -> Collapse | None:
    """Every round that is left; ends early, and saves nothing of the round, if the augmentor collapsed in it."""
    done = restarts.load_into(crew)
    log.keep_until(done)
    progress.start("loop", order.total_rounds, "rounds", done)
    told: tuple[str, ...] = ()
    for index in range(done, order.total_rounds):
        if _fed(order, log):
            break
        report = _run_round(order, crew, index)
        signs = signs_of_collapse(crew, report)
        if signs and restarts.allowed:
            return Collapse(index, signs)
        if signs and not told:
            progress.log(f"round {index}: the augmentor looks collapsed: {'; '.join(signs)}")
        told = signs
        log.add(round_metrics(report))
        progress.advance("loop", 1)
        last = index + 1 == order.total_rounds or _fed(order, log)
        regular = last or (index + 1) % order.checkpoint_every_rounds == 0
        stopping = stop.requested and not last
        if regular or stopping:
            restarts.save(crew, index + 1, between=not regular)
        if stopping:
            raise stop.error(f"round {index + 1} of {order.total_rounds} is kept")
    progress.finish("loop")
    return None


def _fed(order: LoopOrder, log: MetricsLog) -> bool:
    """True once the trainer has done all the updates that it may do."""
    lines = log.lines
    return order.lifter_steps is not None and bool(lines) and lines[-1]["iteration"] >= order.lifter_steps


def _run_round(order: LoopOrder, crew: Crew, index: int) -> TrainingReport:
    if index < order.pretrain_rounds:
        return crew.get(crew.pretrain(index))
    crew.supervise(index - order.pretrain_rounds)
    if order.mode == "async":
        return AsyncRound(order, crew, index).run()
    return _run_round_sync(order, crew, index)


def _run_round_sync(order: LoopOrder, crew: Crew, index: int) -> TrainingReport:
    """Every augmentor makes its share of the round against one estimator; then the trainer takes it all."""
    weights = crew.weights()
    chunks = [
        crew.produce(number % crew.n_augmentors, index, first, count, weights)
        for number, (first, count) in enumerate(order.chunks())
    ]
    learned = crew.learn_unpaired(chunks)
    report, _ = crew.consume(index, chunks, 1.0)
    return with_unpaired(crew.get(report), [] if learned is None else [crew.get(learned)])
