"""The job `loop` by itself: a closed loop's settings and the dataset that it learns from, in one recipe."""

from pipelines.closed_loop.job import ClosedLoopResult, plan_closed_loop, run_closed_loop
from pipelines.closed_loop.settings import ClosedLoopSettings
from pipelines.context import RunContext
from pipelines.knobs import knob
from pipelines.plan import Plan


class LoopRecipeSettings(ClosedLoopSettings):
    """A closed loop on a dataset."""

    source: str = knob(...)
    """The dataset (a path or URL); its content, not its place, identifies the run."""

    @property
    def loop(self) -> ClosedLoopSettings:
        """The loop's own settings."""
        return ClosedLoopSettings.model_validate(
            {name: getattr(self, name) for name in ClosedLoopSettings.model_fields}
        )


def run_loop_recipe(settings: LoopRecipeSettings, context: RunContext) -> ClosedLoopResult:
    """Run the loop, or go on with it."""
    return run_closed_loop(settings.loop, settings.source, context)


def plan_loop_recipe(settings: LoopRecipeSettings, seed: int) -> Plan:
    """The loop's plan: a unit per round."""
    return plan_closed_loop(settings.loop, settings.source, seed)
