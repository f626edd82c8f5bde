"""Turns pydantic's complaints about a recipe into one sentence: where, wanted, got, what to do."""

import difflib
import types
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from jobs.errors import RecipeError

_WANTED = {
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "string_type": "text",
    "dict_type": "keys and values",
    "model_type": "keys and values",
    "model_attributes_type": "keys and values",
    "list_type": "a list",
    "tuple_type": "a list",
    "none_required": "nothing (null)",
    "literal_error": "{expected}",
    "enum": "{expected}",
    "greater_than": "more than {gt}",
    "greater_than_equal": "{ge} or more",
    "less_than": "less than {lt}",
    "less_than_equal": "{le} or less",
    "too_short": "{min_length} or more items",
    "too_long": "{max_length} items at most",
    "string_too_short": "{min_length} or more characters",
    "string_pattern_mismatch": "text like {pattern}",
}
_MAX_SHOWN = 60


def recipe_error(
    error: ValidationError,
    settings: type[BaseModel],
    values: Mapping[str, Any],
    where: str,
    own_keys: Sequence[str] = (),
) -> RecipeError:
    """The first complaint as a sentence, and how many others there are.

    Args:
        error: What pydantic raised for `values`.
        settings: The model that was filled.
        values: What the recipe says.
        where: Name of the recipe for the message.
        own_keys: Keys that a recipe may have at its top beside those of `settings`.
    """
    faults = error.errors(include_url=False)
    unknown = [fault for fault in faults if fault["type"] == "extra_forbidden"]
    first = (unknown or faults)[0]
    more = f" ({len(faults) - 1} more to mend after this one)" if len(faults) > 1 else ""
    return RecipeError(f"{where}: {_sentence(first, settings, values, own_keys)}{more}")


def nearest(name: str, known: Sequence[str]) -> str:
    """`; did you mean 'x'?` when something known is near, else the known names."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; known are {', '.join(sorted(known))}" if known else ""


def _sentence(
    fault: ErrorDetails, settings: type[BaseModel], values: Mapping[str, Any], own_keys: Sequence[str]
) -> str:
    kind, location = fault["type"], fault["loc"]
    path = _data_path(location, values, missing_last=kind in ("extra_forbidden", "missing"))
    if kind == "extra_forbidden":
        known = list(known_keys(settings, location[:-1]))
        known += own_keys if len(path) == 1 else []
        return f"unknown key '{path[-1]}'{_under(path)}{nearest(str(path[-1]), known)}"
    if kind == "missing":
        return f"the key '{path[-1]}'{_under(path)} is missing; the job needs it"
    context: Mapping[str, Any] = fault.get("ctx") or {}
    name = f"'{path[-1]}'{_under(path)}" if path else "the recipe"
    if kind == "union_tag_not_found":
        return f"{name} needs a key {context['discriminator']} that says which kind it is"
    if kind == "union_tag_invalid":
        tags = [tag.strip(" '") for tag in str(context["expected_tags"]).split(",")]
        key = str(context["discriminator"]).strip("'")
        return f"{name} has no {key} '{context['tag']}'{nearest(str(context['tag']), tags)}"
    if kind in _WANTED:
        return f"{name} wants {_WANTED[kind].format_map(_Lenient(context))}, got {_shown(fault['input'])}"
    message = fault["msg"].removeprefix("Value error, ")
    return f"{name}: {message[:1].lower()}{message[1:]}"


def known_keys(annotation: Any, location: Sequence[int | str]) -> tuple[str, ...]:
    """Field names of the model that stands at `location` (pydantic's, with the tags of unions) below an annotation."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return known_keys(get_args(annotation)[0], location)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if not location:
            return tuple(field.alias or name for name, field in annotation.model_fields.items())
        for name, field in annotation.model_fields.items():
            if location[0] in (name, field.alias):
                return known_keys(field.annotation, location[1:])
        return ()
    if origin in (Union, types.UnionType):
        return _known_keys_of_union(get_args(annotation), location)
    if origin in (list, tuple, Sequence) or (isinstance(origin, type) and issubclass(origin, Mapping)):
        arguments = get_args(annotation)
        inner = arguments[-1] if isinstance(origin, type) and issubclass(origin, Mapping) else arguments[0]
        return known_keys(inner, location[1:])
    return ()


def _known_keys_of_union(members: Sequence[Any], location: Sequence[int | str]) -> tuple[str, ...]:
    for member in members:
        if location and location[0] in _tags(member):
            return known_keys(member, location[1:])
    found = [known_keys(member, location) for member in members]
    return tuple(dict.fromkeys(key for keys in found for key in keys))


def _tags(member: Any) -> tuple[Any, ...]:
    """What pydantic may write into a location for a member of a union: its class name or its literal tags."""
    if get_origin(member) is Annotated:
        member = get_args(member)[0]
    if not (isinstance(member, type) and issubclass(member, BaseModel)):
        return ()
    literals = [f.annotation for f in member.model_fields.values() if get_origin(f.annotation) is Literal]
    return (member.__name__, *(value for literal in literals for value in get_args(literal)))


def _data_path(location: Sequence[int | str], values: Any, missing_last: bool) -> list[int | str]:
    """The location without the tags of unions, which the recipe does not show."""
    path: list[int | str] = []
    at = values
    for i, part in enumerate(location):
        found, inside = _step(at, part)
        if found:
            at = inside
        if found or (missing_last and i == len(location) - 1):
            path.append(part)
    return path


def _step(at: Any, part: int | str) -> tuple[bool, Any]:
    """Whether a mapping or list has this part, and what stands there."""
    if isinstance(at, Mapping):
        return part in at, at.get(part)
    if isinstance(at, list | tuple) and isinstance(part, int):
        return part < len(at), at[part] if part < len(at) else None
    return False, None


def _under(path: Sequence[int | str]) -> str:
    return f" under '{'.'.join(str(part) for part in path[:-1])}'" if len(path) > 1 else ""


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 1]}…"


class _Lenient(dict[str, Any]):
    """Values for a message: whole floats without their zero, a question mark for what pydantic does not tell."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__({k: f"{v:g}" if isinstance(v, float) else v for k, v in values.items()})

    def __missing__(self, key: str) -> str:
        return "?"
