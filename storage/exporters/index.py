"""The index of an export: what was exported, in which columns, and every file with its digest.

It is written last; an export without it is unfinished. Importers trust nothing in it: paths are checked,
sizes are bounded, digests are recomputed.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from storage.errors import StoreError
from storage.exporters.columns import ColumnSpec
from storage.paths import checked_path

INDEX_NAME = "posemill-export.json"
LAYOUT = 1
"""Version of the layout of every format."""


def _path_in_export(path: str) -> str:
    try:
        return checked_path(path)
    except StoreError as error:
        raise ValueError(str(error)) from error


class ExportedFile(BaseModel):
    """One file of an export with pairs in it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Annotated[str, AfterValidator(_path_in_export)]
    rows: Annotated[int, Field(ge=0, le=2**31)]
    bytes: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class ExportIndex(BaseModel):
    """What an export holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: str
    layout: Literal[1] = LAYOUT
    rows: Annotated[int, Field(ge=0)]
    dataset_version: int
    run_ids: tuple[str, ...]
    parts: tuple[str, ...] = ("*",)
    rigs: tuple[str, ...] = ("*",)
    skeleton: dict[str, Any]
    columns: Annotated[tuple[ColumnSpec, ...], Field(max_length=1_000)]
    files: Annotated[tuple[ExportedFile, ...], Field(max_length=1_000_000)]
