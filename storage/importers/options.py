"""Settings of the importers."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

Rate = Annotated[float, Field(gt=0, le=10_000)]


class ImportOptions(BaseModel):
    """How motion files are read.

    Args:
        rate_hz: Rate of the clips that come out.
        joint_map: Name or YAML path of the joint map; found by the file's joint names if None.
        unit_m: Metres per file unit, over what the file or the map says.
        up_axis: The file's up axis, over what the map or the format says.
        skip_frames: Frames to leave out at the start of every file; if None, what the joint map says where an
            inserted pose is found at the start, else none.
        rate_overrides: Glob on the clip's key (as "cmu_daz_bvh/salsa/*") -> true rate of its file, for files
            whose header is wrong and formats without a rate; the first glob that fits counts.
        max_speed_mps: Joints that move faster relative to the hips between two frames jump; so does a root
            that moves faster than this in the world.
        on_jump: "frames" quarantines the frames around a jump and cuts the clip there, "clip" the whole clip.
        min_clip_s: Shorter stretches between quarantined frames are quarantined with them.
        min_bone_m: Shorter bones count as of zero length.
        asf: The skeleton of every AMC; looked for beside each if None.
        root: Folder that keys are relative to; the imported folder, or the file's folder, if None.
        include: Globs on the path below the root; only files that fit one are read. All if empty.
        exclude: Globs on the path below the root; files that fit one are left out.
        index_csv: CSV with columns key, subject, action_class (and file, if keys are not paths) for what file
            names do not say.
        subject_pattern: Regular expression searched in the key; its group 1 is the subject. If None: HDM05's
            actor of HDM_<actor>_..., else the folder that the file lies in.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rate_hz: Rate = 30.0
    joint_map: str | None = None
    unit_m: Annotated[float, Field(gt=0)] | None = None
    up_axis: Literal["y", "z"] | None = None
    skip_frames: Annotated[int, Field(ge=0)] | None = None
    rate_overrides: dict[str, Rate] = {}
    max_speed_mps: Annotated[float, Field(gt=0)] = 20.0
    on_jump: Literal["frames", "clip"] = "frames"
    min_clip_s: Annotated[float, Field(ge=0)] = 0.5
    min_bone_m: Annotated[float, Field(ge=0)] = 1e-3
    asf: Path | None = None
    root: Path | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    index_csv: Path | None = None
    subject_pattern: str | None = None

    @field_validator("subject_pattern")
    @classmethod
    def _one_group(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            try:
                groups = re.compile(pattern).groups
            except re.error as error:
                raise ValueError(f"no regular expression: {error}") from error
            if groups < 1:
                raise ValueError("wants a group in parentheses that is the subject, as in 'subject_(\\d+)'")
        return pattern
