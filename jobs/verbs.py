"""Which function does which job: the table behind `job:` in a recipe. Imports happen when a job is chosen."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from jobs.errors import RecipeError
from jobs.recipe import Recipe, checked_settings
from jobs.recipe_errors import nearest


@dataclass(frozen=True)
class Verb:
    """One kind of job: the module that does it, its settings model, its run function and its planner, if it has one."""

    module: str
    settings: str
    run: str
    plan: str | None = None
    has_units: bool = False
    """Whether an executor does its work, or that of its first step, unit by unit; such a job can be probed."""
    weigh: str | None = None
    """The function that counts the rows of every unit where the plan does not know them."""


VERBS: dict[str, Verb] = {
    "build": Verb("pipelines.build", "BuildSettings", "run_build", "plan_build", has_units=True),
    "import": Verb("pipelines.import_motion", "ImportSettings", "run_import", "plan_import", has_units=True),
    "import_pairs": Verb(
        "pipelines.import_pairs", "ImportPairsSettings", "run_import_pairs", "plan_import_pairs"
    ),
    "loop": Verb("jobs.loop_recipe", "LoopRecipeSettings", "run_loop_recipe", "plan_loop_recipe"),
    "augment": Verb(
        "pipelines.mass_augment",
        "AugmentSettings",
        "run_augment",
        "plan_augment",
        has_units=True,
        weigh="rows_to_augment",
    ),
    "label": Verb("pipelines.label", "LabelSettings", "run_label", "plan_label", has_units=True),
    "train": Verb("pipelines.train", "TrainSettings", "run_train", "plan_train"),
    "train_unpaired": Verb(
        "pipelines.train_unpaired", "TrainUnpairedSettings", "run_train_unpaired", "plan_train_unpaired"
    ),
    "train_images": Verb(
        "pipelines.train_images", "TrainImagesSettings", "run_train_images", "plan_train_images"
    ),
    "draw_images": Verb(
        "pipelines.images.draw_images", "DrawImagesSettings", "run_draw_images", "plan_draw_images"
    ),
    "evaluate": Verb("pipelines.evaluate", "EvaluateSettings", "run_evaluate", None),
}


def verb_of(recipe: Recipe) -> Verb:
    """The job that a recipe asks for.

    Raises:
        RecipeError: if there is no such job; names the nearest.
    """
    name = recipe.head.job
    if name not in VERBS:
        raise RecipeError(f"{recipe.where}: there is no job '{name}'{nearest(name, tuple(VERBS))}")
    return VERBS[name]


def settings_of(recipe: Recipe) -> BaseModel:
    """The recipe's settings, checked by the job's own model."""
    verb = verb_of(recipe)
    model: type[BaseModel] = getattr(importlib.import_module(verb.module), verb.settings)
    return checked_settings(recipe, model)


def run_function(recipe: Recipe) -> Callable[[Any, Any], Any]:
    """`run_<verb>(settings, context)`."""
    verb = verb_of(recipe)
    return getattr(importlib.import_module(verb.module), verb.run)


def weights_of(recipe: Recipe, settings: BaseModel, planned: Any) -> dict[str, int] | None:
    """Rows of every unit by its id, of what the job's planner gave; None where the plan's own numbers count."""
    verb = verb_of(recipe)
    return (
        getattr(importlib.import_module(verb.module), verb.weigh)(settings, *planned) if verb.weigh else None
    )


def plan_function(recipe: Recipe) -> Callable[[Any, Any], Any] | None:
    """`plan_<verb>(settings, context)`, or None where a job has no units to count."""
    verb = verb_of(recipe)
    return getattr(importlib.import_module(verb.module), verb.plan) if verb.plan else None
