"""The job `build`: the main job from end to end. Import, closed loops, mass augmentation, evaluation.

Every step resumes by itself, so a build that died is resumed by running it again. Below `out`:

    datasets/source      imported motion: sequences and pairs
    loop/                the loop whose augmentor makes the dataset (first seed)
    compare/NAME/seed-K  the loops that it is compared with, and its other seeds
    datasets/augmented   copies of the source's training poses, by the loop's augmentor
    evaluation.json      every estimator on every part, under named protocols
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipelines.build_loops import LoopTask, run_loops
from pipelines.closed_loop.settings import ClosedLoopSettings
from pipelines.context import RunContext
from pipelines.errors import SettingsError
from pipelines.evaluate import DEFAULT_PROTOCOLS, evaluate_table
from pipelines.executor import BadRowPolicy
from pipelines.import_motion import EMBEDDED, ImportSettings, plan_import, run_import
from pipelines.knobs import knob
from pipelines.mass_augment import MAX_WINDOW_FRAMES, AugmentSettings, run_augment
from pipelines.plan import Plan
from pipelines.pose_table import PairsSource, load_table
from pipelines.trained_lifter import load_trained_lifter
from storage.object_store import open_store

SOURCE_MARK = "{source}"
VARIANT_MARK = "variant:"
HIDDEN_PREFIX = "_"
SOURCE, AUGMENTED, LOOP, COMPARE = "datasets/source", "datasets/augmented", "loop", "compare"


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class BuildAugmentSettings(_Settings):
    """The augmented dataset: `AugmentSettings` less what the build knows by itself."""

    copies: int = Field(default=1, ge=1)
    parts: tuple[str, ...] | None = ("source_train",)
    window_frames: int = Field(default=1, ge=1, le=MAX_WINDOW_FRAMES)
    rows_per_unit: int = Field(default=65_536, ge=1)
    copies_per_unit: int = Field(default=4, ge=1)
    shuffle: bool = True
    micro_rows: int = knob(8192, ge=1)
    bad_rows: BadRowPolicy = BadRowPolicy()
    device: str = knob("cpu")
    gpus_per_worker: float = knob(1.0, gt=0)


class BuildEvaluateSettings(_Settings):
    """What every estimator is tested on."""

    parts: tuple[str, ...] = ("*",)
    rigs: tuple[str, ...] = ("*",)
    protocols: tuple[str, ...] = Field(default=DEFAULT_PROTOCOLS, min_length=1)
    baseline: str | None = None
    """The variant that the report compares the others with."""


class BuildSettings(_Settings):
    """The main job. `{source}` in the import's settings stands for `source`."""

    source: str = knob(EMBEDDED)
    """A file or folder of motion, or "embedded" for the motion generator."""
    import_: ImportSettings = Field(default_factory=ImportSettings, alias="import")
    loop: ClosedLoopSettings = ClosedLoopSettings()
    loop_name: str = "posemill"
    """What the loop is called beside the others."""
    compare: dict[str, dict[str, Any]] = {}
    """Other loops by name: the keys in which each differs from `loop`. `start_from: variant:NAME` begins with another
    variant's estimator; names that begin with "_" serve others and are not evaluated."""
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    """Every loop is run with each of these seeds."""
    single_seed: tuple[str, ...] = ()
    """Variants that are run with the first seed only."""
    augment: BuildAugmentSettings | None = BuildAugmentSettings()
    evaluate: BuildEvaluateSettings = BuildEvaluateSettings()
    parallel_loops: int = knob(1, ge=1)
    """Loops run at the same time in processes of their own; 1 runs one after the other on the job's executor."""

    def import_settings(self) -> ImportSettings:
        """The import's settings with the source filled in.

        Raises:
            SettingsError: if they do not fit.
        """
        values = _filled(self.import_.model_dump(mode="json", exclude_unset=True), self.source.rstrip("/"))
        values.setdefault("source", self.source)
        try:
            return ImportSettings.model_validate(values)
        except ValidationError as error:
            raise SettingsError(f"build.import: {error}") from error

    def variants(self) -> dict[str, ClosedLoopSettings]:
        """Every loop by name, the build's own first.

        Raises:
            SettingsError: if a variant's keys are none of a loop's.
        """
        base = self.loop.model_dump(mode="json")
        loops = {self.loop_name: self.loop}
        for name, changes in self.compare.items():
            try:
                loops[name] = ClosedLoopSettings.model_validate({**base, **changes})
            except ValidationError as error:
                raise SettingsError(f"build.compare.{name}: {error}") from error
        return loops


def _filled(value: Any, source: str) -> Any:
    if isinstance(value, str):
        return value.replace(SOURCE_MARK, source)
    if isinstance(value, Mapping):
        return {key: _filled(item, source) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, source) for item in value]
    return value


def plan_build(settings: BuildSettings, seed: int) -> Plan:
    """The plan of the build's first step, the import; the other steps' depend on what it makes."""
    return plan_import(settings.import_settings(), seed)


def run_build(settings: BuildSettings, context: RunContext) -> dict[str, Any]:
    """Run the main job, or go on with it.

    Raises:
        PlanMismatchError: if the output holds a build of another recipe.
        SettingsError: if the settings do not fit each other or the data.
    """
    out = context.out_url.rstrip("/")
    loops = settings.variants()
    imported = run_import(settings.import_settings(), _below(context, SOURCE))
    for note in imported.notes[:10]:
        context.progress.log(note)
    tasks = [
        LoopTask(name, seed, _with_start(loop, out, seed, settings), loop_url(out, name, seed, settings))
        for seed in settings.seeds
        for name, loop in _ordered(loops)
        if seed == settings.seeds[0] or name not in settings.single_seed
    ]
    run_loops(tasks, f"{out}/{SOURCE}", context, settings.parallel_loops)
    result: dict[str, Any] = {"pairs": imported.units.n_pairs, "quarantined": imported.units.quarantined}
    result |= _augment(settings, context, out)
    rows = _evaluate(settings, tasks, context, f"{out}/{SOURCE}")
    document = {"baseline": settings.evaluate.baseline, "loop": settings.loop_name, "rows": rows}
    text = json.dumps(document, indent=1, sort_keys=True, allow_nan=False)
    open_store(out).write_bytes("evaluation.json", text.encode())
    return result


def loop_url(out: str, name: str, seed: int, settings: BuildSettings) -> str:
    """Where a loop of the build writes."""
    if name == settings.loop_name and seed == settings.seeds[0]:
        return f"{out}/{LOOP}"
    return f"{out}/{COMPARE}/{name}/seed-{seed}"


def _ordered(loops: Mapping[str, ClosedLoopSettings]) -> list[tuple[str, ClosedLoopSettings]]:
    """The baselines first, in the recipe's order; those that start from another's estimator after all others."""
    own_last = [*list(loops.items())[1:], *list(loops.items())[:1]]
    return sorted(own_last, key=lambda item: (item[1].start_from or "").startswith(VARIANT_MARK))


def _with_start(loop: ClosedLoopSettings, out: str, seed: int, settings: BuildSettings) -> ClosedLoopSettings:
    """`start_from: variant:NAME` as the path of that variant's estimator."""
    if loop.start_from is None or not loop.start_from.startswith(VARIANT_MARK):
        return loop
    name = loop.start_from.removeprefix(VARIANT_MARK)
    if name not in settings.variants():
        raise SettingsError(
            f"build.compare: start_from names the variant {name!r}; there are {', '.join(settings.variants())}"
        )
    return loop.model_copy(update={"start_from": f"{loop_url(out, name, seed, settings)}/lifter.safetensors"})


def _below(context: RunContext, path: str, seed: int | None = None) -> RunContext:
    return replace(
        context,
        out_url=f"{context.out_url.rstrip('/')}/{path}",
        seed=context.seed if seed is None else seed,
    )


def _augment(settings: BuildSettings, context: RunContext, out: str) -> dict[str, Any]:
    """The augmented dataset, by the loop's own augmentor; a random one is used by name."""
    chosen = settings.loop.augmentor
    if settings.augment is None or chosen.kind == "none":
        return {}
    augmentor: dict[str, Any] = {"kind": "trained", "checkpoint": f"{out}/{LOOP}/augmentor.safetensors"}
    if chosen.kind == "random":
        augmentor = {"kind": chosen.preset}
    values = {**settings.augment.model_dump(mode="json"), "source": f"{out}/{SOURCE}", "augmentor": augmentor}
    made = run_augment(AugmentSettings.model_validate(values), _below(context, AUGMENTED))
    return {"augmented_pairs": made.n_pairs, "augmented_rejected": made.rejected}


def _evaluate(
    settings: BuildSettings, tasks: list[LoopTask], context: RunContext, source_url: str
) -> list[dict[str, Any]]:
    """Every estimator on every part under every rig."""
    chosen = settings.evaluate
    table = load_table([PairsSource(url=source_url, parts=chosen.parts, rigs=chosen.rigs)])
    rows: list[dict[str, Any]] = []
    for task in tasks:
        if task.name.startswith(HIDDEN_PREFIX):
            continue
        lifter = load_trained_lifter(f"{task.out_url}/lifter.safetensors")
        found = evaluate_table(lifter, table, chosen.protocols, False, context)
        rows += [{**row.to_dict(), "variant": task.name, "seed": task.seed} for row in found]
    return rows
