"""Recipes: YAML files that say which job to do with which settings, and the changes that a command line makes to them.

A recipe's own keys are `job`, `name`, `out`, `seed` and `executor`; all others are settings of the job and mirror its
settings model. Built-in recipes (jobs/recipes/*.yaml) go by name.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from jobs.cost import CostSettings
from jobs.errors import RecipeError
from jobs.recipe_errors import nearest, recipe_error
from jobs.redaction import redacted
from poses.safe_yaml import MAX_CHARACTERS, YamlRefusedError, load_plain_yaml

BUILTIN_FOLDER = Path(__file__).parent / "recipes"
_SUFFIXES = (".yaml", ".yml")


class RecipeHead(BaseModel):
    """What every recipe has, whatever its job."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    job: str
    """Which verb: build, import, loop, augment, train or evaluate."""
    out: str
    """Folder or URL that the job writes."""
    name: str = ""
    """A title for the report."""
    seed: int = Field(0, ge=0)
    executor: dict[str, Any] = {}
    """Who works; see `jobs.executors`."""
    cost: CostSettings | None = None
    """Prices, for `posemill plan`."""


@dataclass(frozen=True)
class Recipe:
    """A recipe as it was read: its head, the settings as plain values, and where it came from."""

    where: str
    head: RecipeHead
    settings: Mapping[str, Any]

    @property
    def values(self) -> dict[str, Any]:
        """Everything in one mapping, as a YAML file would hold it."""
        return {**self.head.model_dump(mode="json"), **self.settings}


def builtin_recipes() -> tuple[str, ...]:
    """Names of the recipes that come with posemill."""
    return tuple(sorted(path.stem for path in BUILTIN_FOLDER.glob("*.yaml")))


def find_recipe(name_or_path: str) -> Path:
    """The file of a recipe: a path, or the name of a built-in one.

    Raises:
        RecipeError: if there is none; names the nearest built-in.
    """
    builtin = BUILTIN_FOLDER / f"{name_or_path}.yaml"
    if "/" not in name_or_path and not name_or_path.endswith(_SUFFIXES) and builtin.is_file():
        return builtin
    path = Path(name_or_path).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        raise RecipeError(f"{name_or_path}: wanted a recipe (a YAML file), got a folder")
    known = builtin_recipes()
    hint = nearest(path.stem, known) or f"; built-in recipes are {', '.join(known)}"
    raise RecipeError(f"{name_or_path}: there is no such file, and no built-in recipe of that name{hint}")


def load_recipe(name_or_path: str, changes: Sequence[str] = ()) -> Recipe:
    """Read a recipe and apply `a.b=c` changes; its settings are checked by `checked_settings`.

    Raises:
        RecipeError: in one sentence: where, wanted, got, what to do.
    """
    path = find_recipe(name_or_path)
    try:
        with path.open("rb") as file:
            text = file.read(4 * MAX_CHARACTERS + 1).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path.name}: cannot be read: {error}") from error
    return recipe_from_text(text, path.name, changes)


def recipe_from_text(text: str, where: str, changes: Sequence[str] = ()) -> Recipe:
    """A recipe from its YAML; see `load_recipe`."""
    values = read_yaml(text, where)
    for change in changes:
        apply_change(values, change)
    own = {key: values.pop(key) for key in tuple(values) if key in RecipeHead.model_fields}
    if "job" not in own:
        raise RecipeError(f"{where}: the key 'job' is missing; it says what to do, for instance `job: build`")
    if own.get("out") is None:
        raise RecipeError(
            f"{where}: nothing says where to write; add `out: DIR` or `--set out=DIR` (a folder or URL)"
        )
    try:
        head = RecipeHead.model_validate(own)
    except ValidationError as error:
        raise recipe_error(error, RecipeHead, own, where) from error
    return Recipe(where, head, values)


def checked_settings(recipe: Recipe, model: type[BaseModel]) -> BaseModel:
    """The job's settings as its model.

    Raises:
        RecipeError: for an unknown key, a missing one, or a value of the wrong kind.
    """
    try:
        return model.model_validate(dict(recipe.settings))
    except ValidationError as error:
        own_keys = tuple(RecipeHead.model_fields)
        raise recipe_error(error, model, recipe.settings, recipe.where, own_keys) from error


def read_yaml(text: str, where: str) -> dict[str, Any]:
    """A YAML mapping, with plain types only and no key twice.

    Raises:
        RecipeError: if it cannot be read as one; names the line.
    """
    try:
        values = load_plain_yaml(text)
    except YamlRefusedError as error:
        raise RecipeError(f"{where}: {error}") from error
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise RecipeError(f"{where}: {line}{error.problem or 'not YAML'}") from error
    except yaml.YAMLError as error:
        raise RecipeError(f"{where}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        got = "nothing" if values is None else type(values).__name__
        raise RecipeError(f"{where}: wanted keys and values (such as `job: build`), got {got}")
    return values


def apply_change(values: dict[str, Any], change: str) -> None:
    """Set one value, `a.b.2.c=VALUE`; VALUE is read as YAML, new keys are made, lists are counted from 0.

    Raises:
        RecipeError: if the change has no `=`, or its path leads through something that has no keys.
    """
    dotted, equals, text = change.partition("=")
    parts = dotted.strip().split(".")
    if not equals or not all(parts):
        raise RecipeError(f"--set {change}: wanted KEY=VALUE, for instance `--set loop.rounds=8`")
    try:
        value = load_plain_yaml(text) if text.strip() else ""
    except yaml.YAMLError as error:
        raise RecipeError(
            f"--set {change}: {text!r} is not a YAML value; put quotes around text with : or {{"
        ) from error
    at: Any = values
    for i, part in enumerate(parts):
        here = ".".join(parts[:i]) or "the recipe"
        last = i == len(parts) - 1
        if isinstance(at, list):
            if not part.isdigit() or int(part) >= len(at):
                raise RecipeError(
                    f"--set {change}: '{here}' is a list of {len(at)}, wanted a number below that, got '{part}'"
                )
            key: Any = int(part)
        elif isinstance(at, dict):
            key = part
            if not last and at.get(part) is None:
                at[part] = {}
        else:
            raise RecipeError(f"--set {change}: '{here}' is a value ({at!r}), it has no key '{part}'")
        if last:
            at[key] = value
        else:
            at = at[key]


def quoted_change(dotted: str, value: str) -> str:
    """A change whose value is this text, whatever YAML would make of it."""
    return f"{dotted}={json.dumps(value)}"


def given_yaml(recipe: Recipe) -> str:
    """The recipe with the command line's changes, as YAML, without secrets; what `posemill resume` reads."""
    return _dumped(recipe.values)


def resolved_yaml(recipe: Recipe, settings: BaseModel) -> str:
    """The recipe with every default filled in, as YAML, without secrets; for readers."""
    return _dumped({**recipe.head.model_dump(mode="json"), **settings.model_dump(mode="json", by_alias=True)})


def secret_keys(values: Any) -> list[str]:
    """Dotted keys of the values that a dump would hide."""
    return _differing(values, redacted(values), "")


def _differing(values: Any, shown: Any, path: str) -> list[str]:
    if isinstance(values, Mapping):
        pairs = [(f"{path}.{key}" if path else str(key), item, shown[key]) for key, item in values.items()]
    elif isinstance(values, list | tuple):
        pairs = [(f"{path}.{i}", item, shown[i]) for i, item in enumerate(values)]
    else:
        return [path] if values != shown else []
    return [name for place, item, hidden in pairs for name in _differing(item, hidden, place)]


def _dumped(values: Mapping[str, Any]) -> str:
    return yaml.safe_dump(redacted(dict(values)), sort_keys=False, allow_unicode=True, width=110)
