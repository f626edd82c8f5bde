"""The verb `posemill import-weights`: a published weight file becomes a lifter that `posemill evaluate` takes."""

from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import typer

from jobs.options import JsonOption, show

commands = typer.Typer()
SUFFIX = ".lifter.safetensors"
_SHOWN = 6


@dataclass(frozen=True)
class ImportOutcome:
    """What was imported.

    Attributes:
        report: As `estimators.weights_import.importer.ImportReport`, plain values.
        out: The lifter's file; None after a dry run.
        state: 'written', 'unchanged' (it was there already) or 'dry run'.
    """

    report: dict[str, Any]
    out: str | None
    state: str

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {"ok": True, "out": self.out, "state": self.state, **self.report}

    def lines(self) -> list[str]:
        """For a reader."""
        report = self.report
        renamed = {old: new for old, new in report["mapped"].items() if old != new}
        facts = ", ".join(f"{name} {value}" for name, value in report["facts"].items())
        place = f" under {report['key']!r}" if report["key"] else ""
        found = [
            f"{report['file']}: {report['format']}, {report['size_bytes']:,} bytes, sha256 {report['sha256'][:16]}...",
            f"recognised: {report['network']} (kind {report['kind']}), skeleton {report['skeleton']}, "
            f"{report['parameters']:,} parameters{place}{f'; {facts}' if facts else ''}",
            f"settings: {', '.join(f'{name} {value}' for name, value in report['settings'].items() if name != 'kind')}",
            f"mapped: {len(report['mapped'])} tensors, {len(renamed)} under another name, none missing",
            *(f"  {old} -> {new}" for old, new in list(renamed.items())[:_SHOWN]),
            *([f"  ... and {len(renamed) - _SHOWN} more"] if len(renamed) > _SHOWN else []),
            *(f"set to zero: {name}" for name in report["filled"][:_SHOWN]),
            *(f"untrained: {name}" for name in report["untrained"]),
            *(f"ignored: {what}" for what in report["ignored"]),
            *(f"note: {note}" for note in report["notes"]),
        ]
        return [*found, f"{self.state}: {self.out}" if self.out else "dry run: nothing written"]


def import_weights_file(
    source: str, out: str | None, options: Any = None, dry_run: bool = False
) -> ImportOutcome:
    """Import a weight file.

    Args:
        source: A path or URL.
        out: The lifter's file, a path or URL; without it, beside the working directory's other files, named after the
            source.
        options: `estimators.weights_import.plan.ImportOptions`.
        dry_run: Say what would be done, write nothing.

    Raises:
        CheckpointError: if the source cannot be read or imported, or another file is in the way.
    """
    from estimators.weights_import.importer import import_weights

    imported = import_weights(_read(source), source, options)
    report = asdict(imported.report)
    if dry_run:
        return ImportOutcome(report, None, "dry run")
    target = out or _named_after(source)
    metadata = {
        "step": imported.report.facts.get("step"),
        "selected_on": imported.report.selected_on,
        "origin": imported.report.origin,
    }
    content = _lifter_file(imported, metadata)
    return ImportOutcome(report, target, _write(target, content))


def _lifter_file(imported: Any, metadata: dict[str, Any]) -> bytes:
    from estimators.checkpoints import checkpoint_to_bytes
    from pipelines.trained_lifter import lifter_to_bytes

    weights, settings, skeleton = imported.module.state_dict(), imported.settings, imported.module.skeleton
    if imported.report.kind != "trajectory":
        return lifter_to_bytes(weights, settings, skeleton, metadata)
    document = {
        "kind": "trajectory",
        "lifter": settings.model_dump(mode="json"),
        "skeleton": skeleton.to_dict(),
    }
    return checkpoint_to_bytes(weights, {**metadata, **document})


def _named_after(source: str) -> str:
    name = PurePosixPath(source.rstrip("/")).name
    for suffix in (".tar", ".pth", ".pt", ".bin", ".h5", ".hdf5", ".npz", ".safetensors", ".tr"):
        name = name.removesuffix(suffix)
    return f"{name or 'weights'}{SUFFIX}"


def _read(source: str) -> bytes:
    from estimators.errors import CheckpointError
    from estimators.weights_import.container import check_size
    from storage.errors import StoreError
    from storage.object_store import open_store

    folder, _, name = source.rpartition("/")
    try:
        if "://" in source:
            store = open_store(folder)
            check_size(store.size_bytes(name), source)
            return store.read_bytes(name)
        path = Path(source)
        if path.is_dir():
            raise CheckpointError(f"{source}: a folder, wanted one weight file")
        check_size(path.stat().st_size, source)
        return path.read_bytes()
    except (OSError, StoreError) as error:
        raise CheckpointError(
            f"{source}: cannot be read ({error}); give the path of a weight file"
        ) from error


def _write(target: str, content: bytes) -> str:
    """Put the lifter in place, whole or not at all; a file with the same bytes stays, another one is not replaced."""
    from estimators.errors import CheckpointError
    from storage.object_store import open_store

    folder, _, name = target.rpartition("/")
    if not name:
        raise CheckpointError(
            f"{target}: a folder, wanted the name of a file, such as {target}lifter.safetensors"
        )
    store = open_store(folder or ("/" if target.startswith("/") else "."))
    if store.put_if_absent(name, content):
        return "written"
    if store.read_bytes(name) == content:
        return "unchanged"
    raise CheckpointError(
        f"{target}: holds something else already; give another name with --out, or remove it"
    )


@commands.command("import-weights")
def import_weights_command(
    file: Annotated[
        str,
        typer.Argument(metavar="FILE", help="torch (.pth .tar .pt .bin), safetensors, Keras .h5 or npz."),
    ],
    out: Annotated[
        str | None, typer.Option("--out", help=f"The lifter's file; NAME{SUFFIX} here without.")
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option("--as", metavar="KIND", help="The kind of lifter, where it is not recognised."),
    ] = None,
    key: Annotated[
        str | None, typer.Option("--key", help="The entry with the state dict, such as model_traj.")
    ] = None,
    skeleton: Annotated[
        str | None, typer.Option("--skeleton", help="Where it is not Human3.6M's 16 or 17 joints.")
    ] = None,
    keypoints: Annotated[
        str | None,
        typer.Option("--keypoints", help="VideoPose: skeleton of the 2D joints, such as coco_17."),
    ] = None,
    causal: Annotated[bool, typer.Option("--causal", help="VideoPose: it looks only backwards.")] = False,
    without_camera: Annotated[
        bool, typer.Option("--without-camera", help="RepNet: the generator alone will do.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what is in it, write nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a lifter of a published weight file. Nothing in the file is run, and what does not fit is refused."""
    from estimators.weights_import.plan import ImportOptions
    from poses.skeleton import load_skeleton

    joints = load_skeleton(skeleton) if skeleton is not None else None
    options = ImportOptions(kind, key, joints, keypoints, causal, without_camera)
    outcome = import_weights_file(file, out, options, dry_run)
    show(outcome.to_dict(), as_json, outcome.lines())
