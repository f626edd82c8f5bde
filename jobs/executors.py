"""Who works: the `executor` part of a recipe."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from jobs.recipe_errors import recipe_error
from pipelines.executor import Executor, RetryPolicy
from pipelines.ray_pool import RayPoolSettings
from pipelines.stopping import StopRequest, StopSettings


class InProcessSettings(BaseModel):
    """One unit after the other in this process, without Ray."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["in_process"] = "in_process"
    retry: RetryPolicy = Field(default_factory=RetryPolicy)
    stop: StopSettings = StopSettings()


class RaySettings(BaseModel):
    """A supervised pool of Ray actors, on this machine or on a cluster."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["ray"] = "ray"
    pool: RayPoolSettings = Field(default_factory=RayPoolSettings)
    stop: StopSettings = StopSettings()


ExecutorSettings = Annotated[InProcessSettings | RaySettings, Field(discriminator="kind")]


class _Holder(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    executor: ExecutorSettings = InProcessSettings()


def executor_settings(values: dict[str, Any], where: str) -> InProcessSettings | RaySettings:
    """Checked settings; without a `kind` it is `in_process`, or `ray` where a `pool` is given.

    Raises:
        RecipeError: for an unknown key or a value of the wrong kind.
    """
    kind = values.get("kind", "ray" if "pool" in values else "in_process")
    holder = {"executor": {**values, "kind": kind}}
    try:
        return _Holder.model_validate(holder).executor
    except ValidationError as error:
        raise recipe_error(error, _Holder, holder, where) from error


def make_executor(settings: InProcessSettings | RaySettings, stop: StopRequest | None = None) -> Executor:
    """The executor; Ray is imported only when it is asked for.

    Args:
        stop: What it asks whether to end early.
    """
    if isinstance(settings, InProcessSettings):
        from pipelines.in_process import InProcessExecutor

        return InProcessExecutor(settings.retry, stop=stop)
    from pipelines.ray_pool import RayPoolExecutor

    return RayPoolExecutor(settings.pool, stop)
