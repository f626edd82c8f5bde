"""The verbs about datasets: `posemill inspect | verify | report | gc | diff | retry-quarantine`.

Heavy imports happen when a verb is used, so that `--help` is quick.
"""

import sys
from typing import Annotated

import typer

from jobs.options import (
    FAILED,
    DatasetArgument,
    JsonOption,
    QuietOption,
    RunArgument,
    SetOption,
    VersionOption,
    show,
)

commands = typer.Typer()


@commands.command("retry-quarantine")
def retry_quarantine(
    dataset: DatasetArgument,
    changes: SetOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Run the rows in quarantine again with today's code; what passes is published on top, once."""
    from jobs.retry import retry_datasets, to_json

    found = retry_datasets(dataset, changes or [], quiet or as_json)
    show(to_json(found), as_json, [line for one in found for line in one.lines()])


@commands.command()
def inspect(
    dataset: DatasetArgument,
    version: VersionOption = None,
    as_json: JsonOption = False,
) -> None:
    """What a dataset holds."""
    from jobs.inspection import inspection_lines
    from jobs.locate import dataset_urls
    from storage.inspect import inspect_dataset
    from storage.reader import Dataset

    found = [inspect_dataset(Dataset.open(url, version)) for url in dataset_urls(dataset)]
    show(found, as_json, [line for one in found for line in inspection_lines(one)])


@commands.command()
def verify(
    dataset: DatasetArgument,
    version: VersionOption = None,
    digests: Annotated[bool, typer.Option(help="Recompute every sha256.")] = True,
    rows: Annotated[bool, typer.Option(help="Read every row and check its geometry.")] = True,
    tolerance: Annotated[
        float,
        typer.Option("--tolerance-px", help="Greatest distance between 2D and projected 3D, in pixels."),
    ] = 0.5,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Recompute digests and check the geometry of every row. Exit code 1 if anything is wrong."""
    from jobs.locate import dataset_urls
    from jobs.progress import progress_for
    from jobs.verification import verification_lines, verify_with_progress
    from storage.reader import Dataset
    from storage.verify import VerifySettings

    if tolerance <= 0:
        raise typer.BadParameter("wanted more than 0 pixels", param_hint="--tolerance-px")
    settings = VerifySettings(projection_tolerance_px=tolerance, digests=digests, rows=rows)
    progress = progress_for(sys.stderr, quiet or as_json)
    try:
        opened = [Dataset.open(url, version) for url in dataset_urls(dataset)]
        reports = [verify_with_progress(one, settings, progress) for one in opened]
    finally:
        progress.close()
    values = [{**report.model_dump(mode="json"), "sound": report.is_sound} for report in reports]
    show(values, as_json, [line for report in reports for line in verification_lines(report)])
    if not all(report.is_sound for report in reports):
        raise typer.Exit(FAILED)


@commands.command()
def report(
    out: RunArgument,
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="The HTML file; OUT/report.html without.")
    ] = None,
    version: VersionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the HTML report of a run or a dataset."""
    from jobs.report.publish import publish_report

    written = publish_report(out, output, version)
    show({"report": written}, as_json, [f"report: {written}"])


@commands.command()
def gc(
    dataset: DatasetArgument,
    lease: Annotated[
        float,
        typer.Option(
            "--lease", min=0, metavar="HOURS", help="Younger files stay: a running unit may commit them yet."
        ),
    ] = 24.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would go, remove nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove what no version and no commit of a dataset names: files of attempts that died or lost a race."""
    from jobs.history import clean_datasets, garbage_json, garbage_lines

    reports = clean_datasets(dataset, lease, dry_run)
    show(garbage_json(reports), as_json, [line for one in reports for line in garbage_lines(one)])


@commands.command()
def diff(
    dataset: DatasetArgument,
    before: Annotated[int, typer.Argument(metavar="V1", min=1, help="A version of the dataset.")],
    after: Annotated[int, typer.Argument(metavar="V2", min=1, help="Another version.")],
    as_json: JsonOption = False,
) -> None:
    """What changed between two versions: files, rows, statistics, and what the runs were made of."""
    from jobs.history import diff_versions, difference_json, difference_lines

    found = diff_versions(dataset, before, after)
    show(difference_json(found), as_json, difference_lines(found))
