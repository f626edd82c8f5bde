"""What an export takes and how it is cut."""

from pydantic import BaseModel, ConfigDict, Field


class ExportSettings(BaseModel):
    """Settings of one export; the format itself is chosen by name in `registry.FORMATS`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    parts: tuple[str, ...] = ("*",)
    """Names or patterns of the column `part`."""
    rigs: tuple[str, ...] = ("*",)
    """Names or patterns of the column `rig`."""
    shard_rows: int | None = Field(default=None, ge=1, le=4_000_000)
    """Pairs per file; the format's own number without. Memory is a few times this."""
    name: str = Field(default="posemill", pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,60}$")
    """Goes into file names and cards."""
    pickled: bool = False
    """`videopose3d` only: also write files for the published loader, which unpickles what it reads."""
