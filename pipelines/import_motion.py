"""The job `import`: recorded motion (or the embedded source) becomes a pose dataset of sequences and pairs."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from augment.motion.settings import MotionSettings
from pipelines.context import RunContext
from pipelines.executor import BadRowPolicy, StageFactory
from pipelines.knobs import file_digest, knob
from pipelines.parts import RigSettings, SplitSettings, load_split
from pipelines.plan import Plan, Unit, make_plan
from pipelines.run_units import UnitsResult, run_units
from pipelines.stages.clip_intake import IntakeSettings
from pipelines.stages.clip_table import refuse_repeated_clips
from pipelines.stages.clip_views import ViewSettings
from pipelines.stages.generate_stage import GenerateStage, GenerateStageSettings
from pipelines.stages.import_stage import ImportStage, ImportStageSettings
from poses.skeleton import load_skeleton
from storage.importers.clip_index import read_index
from storage.importers.discover import discover, import_root, relative_name
from storage.importers.options import ImportOptions
from storage.object_store import ObjectStore, open_store

EMBEDDED = "embedded"


class ImportSettings(BaseModel):
    """What is imported, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str = knob(EMBEDDED)
    """A motion file, a folder of them, or "embedded" for the motion generator. The files' digests identify the run."""
    options: ImportOptions = ImportOptions()
    motion: MotionSettings = MotionSettings()
    """Of the embedded source."""
    skeleton: str = "h36m_16"
    split: SplitSettings = SplitSettings()
    rigs: RigSettings = RigSettings()
    view: ViewSettings = ViewSettings()
    keep_sequences: bool = True
    files_per_unit: int = Field(default=4, ge=1)
    """Files of one clip that make a unit; a file of many clips (npz) is a unit by itself."""
    clips_per_unit: int = Field(default=16, ge=1)
    bad_rows: BadRowPolicy = BadRowPolicy()


@dataclass(frozen=True)
class ImportResult:
    """What an import made."""

    units: UnitsResult
    notes: tuple[str, ...]
    """What importers mended or found odd."""


def plan_import(settings: ImportSettings, seed: int) -> Plan:
    """The plan of an import; reads names and digests, no motion.

    Raises:
        ImporterError: if the source does not exist or has nothing to import.
        PlanError: if nothing is left after the split.
    """
    if settings.source == EMBEDDED:
        units = _generate_units(settings)
        return make_plan("import", settings, seed, units, {"source": EMBEDDED, **_setting_digests(settings)})
    source = Path(settings.source)
    root = import_root(source, settings.options)
    files = _listed(discover(source, settings.options), root, settings)
    names = [_below(path, root) for path in files]
    units = [
        Unit(f"files-{number:06d}", "import", {"files": group}, rows=len(group))
        for number, group in enumerate(_grouped(names, settings.files_per_unit))
    ]
    digests = {name: file_digest(path) for name, path in zip(names, files, strict=True)}
    digests |= {_below(path, root): file_digest(path) for path in _skeleton_files(source)}
    return make_plan("import", settings, seed, units, {**digests, **_setting_digests(settings)})


def run_import(settings: ImportSettings, context: RunContext) -> ImportResult:
    """Import motion into the dataset at `context.out_url`.

    Raises:
        PlanMismatchError: if the output holds another plan.
        PoolError: if units were given up.
    """
    plan = plan_import(settings, context.seed)
    result = run_units(
        plan,
        import_stage_factory(settings, context, plan.run_id),
        load_skeleton(settings.skeleton),
        context,
        bad_rows=settings.bad_rows,
        before_publish=lambda store: refuse_repeated_clips(store, plan.run_id),
    )
    return ImportResult(result, _notes(open_store(context.out_url), plan.run_id))


def import_stage_factory(settings: ImportSettings, context: RunContext, run_id: str) -> StageFactory:
    """Makes the stage that does the units of a run on a worker."""
    intake = IntakeSettings(
        settings.skeleton, settings.split, settings.rigs, settings.view, settings.keep_sequences
    )
    if settings.source == EMBEDDED:
        generate = GenerateStageSettings(
            out_url=context.out_url,
            run_id=run_id,
            seed=context.seed,
            motion=settings.motion,
            intake=intake,
            on_bad_row=settings.bad_rows.on_bad_row,
        )
        return partial(GenerateStage, generate)
    return partial(
        ImportStage,
        ImportStageSettings(
            source=str(import_root(Path(settings.source), settings.options)),
            out_url=context.out_url,
            run_id=run_id,
            options=settings.options,
            intake=intake,
            bad_rows=settings.bad_rows,
        ),
    )


def _grouped(names: Sequence[str], files_per_unit: int) -> list[list[str]]:
    """Files of one clip in groups; a file of many clips by itself."""
    many = [name for name in names if name.lower().endswith(".npz")]
    single = [name for name in names if not name.lower().endswith(".npz")]
    groups = [single[start : start + files_per_unit] for start in range(0, len(single), files_per_unit)]
    return [*groups, *([name] for name in many)]


def _generate_units(settings: ImportSettings) -> list[Unit]:
    total, step = settings.motion.n_clips, settings.clips_per_unit
    return [
        Unit(f"clips-{first:07d}", "generate", {"first_clip": first}, rows=min(step, total - first))
        for first in range(0, total, step)
    ]


def _listed(files: Sequence[Path], root: Path, settings: ImportSettings) -> list[Path]:
    """The files that may hold a clip of the split; files of many clips always may."""
    if settings.split.file is None:
        return list(files)
    split, index = load_split(settings.split), read_index(settings.options.index_csv)
    wanted: list[Path] = []
    for path in files:
        name = relative_name(path, root)
        row = index.find(path, (name,))
        key = name if row is None else row.key
        if path.suffix.lower() == ".npz" or split.part_of(key, "") is not None:
            wanted.append(path)
    return wanted


def _below(path: Path, root: Path) -> str:
    """The file's path relative to the root; files elsewhere (a split list may link to them) by `..`."""
    return Path(os.path.relpath(path, root)).as_posix()


def _skeleton_files(source: Path) -> list[Path]:
    """The ASF files that AMC files below the source are read with."""
    folder = source if source.is_dir() else source.parent
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() == ".asf")


def input_digests(settings: ImportSettings, files: Sequence[str]) -> dict[str, str]:
    """Digests of some motion files, of the ASF files beside them, and of what the settings name."""
    if settings.source == EMBEDDED:
        return {"source": EMBEDDED, **_setting_digests(settings)}
    source = Path(settings.source)
    root = import_root(source, settings.options)
    digests = {name: file_digest(root / name) for name in files if (root / name).is_file()}
    digests |= {_below(path, root): file_digest(path) for path in _skeleton_files(source)}
    return {**digests, **_setting_digests(settings)}


def _setting_digests(settings: ImportSettings) -> dict[str, str]:
    """Digests of files that the settings name."""
    named = {
        "split.file": settings.split.file,
        "options.asf": settings.options.asf,
        "options.index_csv": settings.options.index_csv,
        "options.joint_map": settings.options.joint_map,
        "skeleton": settings.skeleton,
    }
    return {
        name: file_digest(path) for name, path in named.items() if path is not None and Path(path).is_file()
    }


def _notes(store: ObjectStore, run_id: str) -> tuple[str, ...]:
    lines: list[str] = []
    for path in store.list(f"runs/{run_id}/notes"):
        lines += store.read_bytes(path).decode().splitlines()
    return tuple(lines)
