"""Run-time knobs: settings that change how fast or where a job runs, never what it makes.

They stay out of the `run_id`, so that a job may be resumed with more actors or on another machine.
"""

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from os import environ
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

_KNOB = "runtime_knob"
_ORDER = "(order)"
_CODE_PACKAGES = ("poses", "estimators", "augment", "storage", "pipelines")
_CODE_SUFFIXES = (".py", ".yaml")


def knob(default: Any, **constraints: Any) -> Any:
    """A pydantic field that is a run-time knob."""
    return Field(default, json_schema_extra={_KNOB: True}, **constraints)


def recipe_of(settings: BaseModel) -> dict[str, Any]:
    """Settings as JSON values without their run-time knobs, at every depth."""
    recipe: dict[str, Any] = {}
    dumped = settings.model_dump(mode="json")
    for name, field in type(settings).model_fields.items():
        extra = field.json_schema_extra
        if isinstance(extra, Mapping) and extra.get(_KNOB):
            continue
        recipe[name] = _without_knobs(getattr(settings, name), dumped[name])
    return recipe


def _without_knobs(value: Any, dumped: Any) -> Any:
    if isinstance(value, BaseModel):
        return recipe_of(value)
    if isinstance(value, list | tuple):
        return [_without_knobs(item, plain) for item, plain in zip(value, dumped, strict=True)]
    if isinstance(value, Mapping):
        return _with_order({str(key): _without_knobs(item, dumped[key]) for key, item in value.items()})
    return dumped


def _with_order(values: dict[str, Any]) -> dict[str, Any]:
    """A mapping's order may decide the result (shares of a split are dealt in theirs), but JSON's keys are sorted."""
    names = list(values)
    return values if names == sorted(names) or _ORDER in values else {**values, _ORDER: names}


def canonical_json(value: Any) -> bytes:
    """JSON with sorted keys and no spaces: equal values give equal bytes.

    Raises:
        ValueError: if the value holds NaN or infinity.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


@lru_cache(maxsize=1)
def code_version() -> str:
    """Digest of the code that makes data: sources and data files of all packages but `jobs`.

    POSEMILL_CODE_VERSION overrides it, for images that strip or compile their sources.
    """
    named = environ.get("POSEMILL_CODE_VERSION")
    if named:
        return named
    root = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for package in _CODE_PACKAGES:
        for path in sorted((root / package).rglob("*")):
            if path.suffix in _CODE_SUFFIXES and path.is_file():
                digest.update(f"{path.relative_to(root).as_posix()}\0".encode())
                digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def file_digest(path: str | Path) -> str:
    """sha256 of a local file."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
