"""Which part of a dataset a clip belongs to (source_train, target_hard, ...), and which camera rigs see that part."""

import json
import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipelines.errors import SettingsError, UnitError
from poses.batch import PoseBatch
from poses.identity import stable_id

_ID_RANGE = 2.0**63
_CUT = re.compile(r"@\d{6,}$")
"""Importers put the first source frame after the key of a clip that they had to cut."""


class SplitSettings(BaseModel):
    """Parts by a split file, or by a hash of the subject, so that nobody is in two parts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str | None = None
    """JSON with {"split": {part: [clip key, ...]}}; without a file the subject decides."""
    parts: tuple[str, ...] = ("source_*", "target_*")
    """Names or patterns of the parts to take from the file."""
    shares: Mapping[str, float] = Field(
        default={"source_train": 0.7, "source_valid": 0.15, "target_subject": 0.15}
    )
    """Share of subjects in each part, where the subject decides."""
    salt: str = ""
    """Another salt is another draw of subjects."""
    unlisted: Literal["leave_out", "keep"] = "leave_out"
    """Clips that the file does not list are left out (and counted), or kept in the part ""."""

    @model_validator(mode="after")
    def _shares_sum_to_one(self) -> "SplitSettings":
        total = sum(self.shares.values())
        if abs(total - 1.0) > 1e-6 or min(self.shares.values()) < 0:
            raise ValueError(f"split.shares: wanted shares of 0 or more that add up to 1, got {total:g}")
        return self


class Split:
    """Answers which part a clip belongs to.

    Args:
        settings: File or shares.
        listed: Clip key -> part, as read from the file; None where the subject decides.
    """

    def __init__(self, settings: SplitSettings, listed: Mapping[str, str] | None) -> None:
        self._settings = settings
        self._listed = listed

    def part_of(self, clip_key: str, subject: str) -> str | None:
        """The part of a clip; None if it is left out."""
        if self._listed is not None:
            default = "" if self._settings.unlisted == "keep" else None
            return self._listed.get(clip_key, self._listed.get(_CUT.sub("", clip_key), default))
        point = stable_id("part", self._settings.salt, subject) / _ID_RANGE
        reached = 0.0
        for part, share in self._settings.shares.items():
            reached += share
            if point < reached:
                return part
        return list(self._settings.shares)[-1]


def load_split(settings: SplitSettings) -> Split:
    """Read the split file, if there is one.

    Raises:
        SettingsError: if the file is missing, is no split, has none of the parts, or puts a clip into two of
        them.
    """
    if settings.file is None:
        return Split(settings, None)
    return Split(settings, _listed_parts(Path(settings.file), settings.parts))


def _listed_parts(path: Path, patterns: tuple[str, ...]) -> dict[str, str]:
    try:
        table: Any = json.loads(path.read_text(encoding="utf-8"))["split"]
        wanted = {part: keys for part, keys in table.items() if _matches(part, patterns)}
    except OSError as error:
        raise SettingsError(
            f"split file {path}: cannot be read ({error.strerror}); check split.file"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SettingsError(
            f'split file {path}: wanted JSON with {{"split": {{part: [clip key, ...]}}}}, got {error!r}'
        ) from error
    if not wanted:
        raise SettingsError(
            f"split file {path}: no part matches {', '.join(patterns)}; its parts are {', '.join(table)}"
        )
    listed: dict[str, str] = {}
    for part, keys in wanted.items():
        for key in keys:
            if not isinstance(key, str) or listed.get(key, part) != part:
                raise SettingsError(
                    f"split file {path}: clip {key!r} of part {part!r} is {_trouble(key, listed)}; "
                    "choose parts that do not overlap with split.parts"
                )
            listed[key] = part
    return listed


def _trouble(key: Any, listed: Mapping[str, str]) -> str:
    return f"in part {listed[key]!r} too" if isinstance(key, str) else "no clip key"


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


class RigSettings(BaseModel):
    """Which camera rigs see which part."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    by_part: Mapping[str, tuple[str, ...]] = Field(
        default={
            "source_valid": ("h36m_like", "mpi_inf_3dhp_like"),
            "target_*": ("h36m_like", "mpi_inf_3dhp_like"),
            "*": ("h36m_like",),
        }
    )
    """Part name or pattern -> rigs; the first that fits counts."""

    def rigs_of(self, part: str) -> tuple[str, ...]:
        """The rigs that see a part.

        Raises:
            SettingsError: if no pattern fits.
        """
        for pattern, rigs in self.by_part.items():
            if fnmatchcase(part, pattern):
                return rigs
        raise SettingsError(
            f"rigs.by_part: no pattern fits part {part!r}; there are {', '.join(self.by_part)}; add one, or '*'"
        )


def part_names(rows: PoseBatch) -> np.ndarray:
    """(B,) the part of every row.

    Raises:
        UnitError: if the rows have none.
    """
    if "part" not in rows.extra:
        raise UnitError(
            "the source dataset has no column 'part', but the job asks for some parts only; import it with a split, "
            "or leave `parts` out"
        )
    return rows.extra["part"].astype(str)
