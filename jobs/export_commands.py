"""The verbs that hand a dataset to other programs: `posemill export` and `posemill register`."""

import sys
from typing import Annotated

import typer

from jobs.options import JsonOption, OneDatasetArgument, QuietOption, VersionOption, show

FORMATS = "coco, videopose3d, webdataset, huggingface or delta"

commands = typer.Typer()


@commands.command()
def export(
    dataset: OneDatasetArgument,
    to: Annotated[str, typer.Option("--to", help=f"The format: {FORMATS}.")],
    out: Annotated[str, typer.Option("--out", help="A new or empty folder, or a URL.")],
    version: VersionOption = None,
    parts: Annotated[
        list[str] | None, typer.Option("--parts", help="Only these parts (names or patterns, by commas).")
    ] = None,
    rig: Annotated[
        list[str] | None, typer.Option("--rig", help="Only these rigs (names or patterns, by commas).")
    ] = None,
    shard_rows: Annotated[
        int | None, typer.Option("--shard-rows", help="Pairs per file; the format's own number without.")
    ] = None,
    name: Annotated[str, typer.Option("--name", help="Goes into file names and cards.")] = "posemill",
    pickled: Annotated[
        bool,
        typer.Option(
            "--pickled",
            help="videopose3d: also write pickled files, which the published loader needs and which"
            " are unsafe to pass on.",
        ),
    ] = False,
    workers: Annotated[
        int,
        typer.Option(
            "--workers",
            min=0,
            help="Ray actors that make files (webdataset, huggingface); 0: this process.",
        ),
    ] = 0,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write a dataset's pairs in another format. It appears whole or not at all; the same command goes on."""
    from jobs.exporting import export_lines, export_settings, export_with_progress
    from jobs.progress import progress_for

    settings = export_settings(parts or [], rig or [], shard_rows, name, pickled)
    progress = progress_for(sys.stderr, quiet or as_json)
    try:
        done = export_with_progress(dataset, version, to, out, settings, progress, workers)
    finally:
        progress.close()
    show(done, as_json, export_lines(done))


@commands.command()
def register(
    dataset: OneDatasetArgument,
    delta: Annotated[
        bool, typer.Option("--delta", help="As a Delta Lake table: a log beside the Parquet files.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show a dataset's committed Parquet files to a lakehouse, without copying them."""
    from jobs.errors import RecipeError
    from jobs.exporting import register as register_dataset
    from jobs.exporting import register_lines

    if not delta:
        raise RecipeError("register: wanted to know as what; there is --delta")
    done = register_dataset(dataset)
    show(done, as_json, register_lines(done))
