"""What differs between two plans, for people: settings by their path, files by how many and which, code in words."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipelines.knobs import canonical_json

if TYPE_CHECKING:
    from pipelines.plan import Plan

_MAX_SETTINGS = 12
_MAX_FILES = 3
_ABSENT = object()


def describe_difference(old: "Plan", new: "Plan") -> str:
    """What differs, one line each, such as `  recipe.copies: 4 there, 8 now`."""
    lines: list[str] = []
    if old.job != new.job:
        lines.append(f"job: {old.job} there, {new.job} now")
    lines += _shortened(_settings("recipe", dict(old.recipe), dict(new.recipe)))
    lines += _files("inputs", old.inputs, new.inputs)
    lines += _files("weights", old.weights, new.weights)
    if old.code_version != new.code_version:
        lines.append(
            f"code version: {old.code_version} there, {new.code_version} now: posemill's code was edited or updated "
            "since"
        )
    return "\n".join(f"  {line}" for line in lines) or "  the plans are alike"


def what_to_do(old: "Plan", new: "Plan", out_url: str) -> str:
    """How to go on when a plan is refused: each way with what it costs."""
    ways = [
        f"Another output keeps both: --out or `out:` other than {out_url}.",
        "`posemill run ... --on-top` starts this plan as a new run in the same dataset: all of its units are done, "
        "and published as the next version beside what is there.",
    ]
    if _only_code_differs(old, new):
        ways.insert(
            0,
            "Nothing but the code changed. If the change cannot alter what the job makes, resume the run as it was: "
            f"POSEMILL_CODE_VERSION={old.code_version} posemill run ...",
        )
    else:
        ways.insert(0, "What was there can be resumed: take back the changes above and run it again.")
    return "\n".join(f"  - {way}" for way in ways)


def _only_code_differs(old: "Plan", new: "Plan") -> bool:
    mine, theirs = old.identity(), new.identity()
    same = {key: value for key, value in mine.items() if key != "code_version"}
    return canonical_json(same) == canonical_json({key: theirs[key] for key in same})


def _settings(name: str, old: Any, new: Any) -> list[str]:
    """Lines for every setting that differs, by its path."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        found: list[str] = []
        for key in sorted({*old, *new}):
            found += _settings(f"{name}.{key}", old.get(key, _ABSENT), new.get(key, _ABSENT))
        return found
    if old is not _ABSENT and new is not _ABSENT and canonical_json(old) == canonical_json(new):
        return []
    return [f"{name}: {_shown(old)} there, {_shown(new)} now"]


def _files(name: str, old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """A line for files that changed, one for those that are new, one for those that are gone."""
    kinds = {
        "changed": [
            key for key in sorted({*old, *new}) if key in old and key in new and old[key] != new[key]
        ],
        "only there": sorted(key for key in old if key not in new),
        "only now": sorted(key for key in new if key not in old),
    }
    return [f"{name}: {_counted(files, kind, old, new)}" for kind, files in kinds.items() if files]


def _counted(files: Sequence[str], kind: str, old: Mapping[str, str], new: Mapping[str, str]) -> str:
    shown = [
        f"{file} ({_digest(old[file])} there, {_digest(new[file])} now)" if kind == "changed" else file
        for file in files[:_MAX_FILES]
    ]
    rest = f" and {len(files) - len(shown):,} more" if len(files) > len(shown) else ""
    return f"{len(files):,} {kind}: {', '.join(shown)}{rest}"


def _digest(text: str) -> str:
    return text if len(text) <= 12 else f"{text[:10]}.."


def _shortened(lines: list[str]) -> list[str]:
    if len(lines) <= _MAX_SETTINGS:
        return lines
    return [*lines[:_MAX_SETTINGS], f"and {len(lines) - _MAX_SETTINGS} more settings"]


def _shown(value: Any) -> str:
    if value is _ABSENT:
        return "absent"
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
