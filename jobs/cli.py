"""The terminal: `posemill run | plan | resume | status | inspect | verify | report | doctor | demo`.

Exit codes: 0 done, 1 failed, 2 the user's input, 3 stopped on request. Heavy imports happen inside the commands, so
that `--help` is quick.
"""

import json
import os
import sys
from typing import Annotated, Any, NoReturn

import typer

from jobs.export_commands import add_export_commands
from jobs.import_weights import add_import_command
from poses.errors import PosemillError

app = typer.Typer(
    name="posemill",
    help="Builds 3D human pose datasets: real motion in, augmented and verified 2D-3D pairs out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)
DONE, FAILED, USER_INPUT, STOPPED = 0, 1, 2, 3
_USER_ERRORS = {
    "RecipeError", "SettingsError", "PlanError", "ReportError",
    "DatasetError", "ExportError", "ImporterError", "SkeletonError", "CheckpointError",
}  # fmt: skip

RecipeArgument = Annotated[
    str, typer.Argument(help="A recipe: a YAML file, or the name of a built-in one (demo, cmu_hdm05, ...).")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change one value, such as loop.rounds=8. May be repeated."
    ),
]
OutOption = Annotated[
    str | None, typer.Option("--out", help="Where to write (a folder or URL); the same as --set out=...")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
QuietOption = Annotated[bool, typer.Option("--quiet", help="No progress, only messages.")]
DatasetArgument = Annotated[
    str, typer.Argument(help="A posemill dataset, or the folder of a run (then all its datasets).")
]
RunArgument = Annotated[str, typer.Argument(help="The folder or URL that a run writes (its `out`).")]


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", is_eager=True)
    ] = False,
) -> None:
    if debug:
        os.environ["POSEMILL_DEBUG"] = "1"
    if version:
        from jobs.doctor import own_version

        print(f"posemill {own_version()}")
        raise typer.Exit


@app.command()
def run(
    recipe: RecipeArgument,
    changes: SetOption = None,
    out: OutOption = None,
    add: Annotated[
        bool,
        typer.Option(
            "--on-top",
            "--add",
            help="Where the output holds another plan (recipe, input, weights or code changed): do this one as a new "
            "run, published as the next version, instead of refusing.",
        ),
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Do a job. Running it again on the same output resumes it."""
    from jobs.running import run_recipe

    _show_run(
        run_recipe(recipe, _changes(changes, out), accept_other_plan=add, quiet=quiet or as_json), as_json
    )


@app.command()
def resume(
    out: RunArgument, changes: SetOption = None, as_json: JsonOption = False, quiet: QuietOption = False
) -> None:
    """Go on with a run that was stopped, with the recipe that it keeps."""
    from jobs.running import resume_run

    _show_run(resume_run(out, changes or [], quiet=quiet or as_json), as_json)


@app.command()
def demo(
    out: Annotated[str, typer.Option("--out", help="Where to write.")] = "runs/demo",
    changes: SetOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """The main job from end to end on an embedded source of motion; needs no data."""
    from jobs.running import run_recipe

    _show_run(run_recipe("demo", _changes(changes, out), quiet=quiet or as_json), as_json)


@app.command()
def plan(
    recipe: RecipeArgument, changes: SetOption = None, out: OutOption = None, as_json: JsonOption = False
) -> None:
    """Say what a recipe would do, without doing it."""
    from jobs.planning import plan_recipe

    summary = plan_recipe(recipe, _changes(changes, out))
    _print(summary.to_dict(), as_json, summary.lines())


@app.command()
def submit(
    recipe: RecipeArgument,
    changes: SetOption = None,
    out: OutOption = None,
    address: Annotated[
        str | None, typer.Option("--address", help="http://HOST:PORT of the cluster's dashboard.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Show the job's log until it ends.")] = True,
    add: Annotated[
        bool, typer.Option("--on-top", "--add", help="Add to an output that holds another plan.")
    ] = False,
    working_dir: Annotated[
        str | None, typer.Option("--working-dir", help="The checkout to send; this one without.")
    ] = None,
    coordinator_labels: Annotated[
        list[str] | None,
        typer.Option("--coordinator-label", metavar="KEY=VALUE", help="Label of the driver's node."),
    ] = None,
    plain_http: Annotated[
        bool, typer.Option("--plain-http", help="Send the token over http:// to another machine.")
    ] = False,
    open_cluster: Annotated[
        bool, typer.Option("--open-cluster", help="Accept a cluster that asks for no token.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Do a job on a Ray cluster. The token comes from RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH."""
    from jobs.cluster_access import cluster_at
    from jobs.submit import SubmitOptions, labels_of, submit_recipe

    options = SubmitOptions(wait, open_cluster, working_dir, add, labels_of(coordinator_labels or []))
    log = sys.stderr if as_json else sys.stdout
    outcome = submit_recipe(recipe, _changes(changes, out), cluster_at(address, plain_http), options, log)
    _print(outcome.to_dict(), as_json, outcome.lines())
    if outcome.exit_code:
        raise typer.Exit(outcome.exit_code)


@app.command()
def status(
    out: RunArgument,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show it again and again until the run ends.")
    ] = False,
    every_s: Annotated[float, typer.Option("--every", min=0.2, help="Seconds between two looks.")] = 2.0,
    as_json: JsonOption = False,
) -> None:
    """How far a run is, who works on what, and how long it will take; also of a job that is dead."""
    from jobs.status import folder_status
    from jobs.status_watch import watch_status

    if watch:
        watch_status(out, every_s, as_json, sys.stdout)
        return
    found = folder_status(out)
    _print(found.to_dict(), as_json, found.lines())


@app.command("retry-quarantine")
def retry_quarantine(
    dataset: DatasetArgument,
    changes: SetOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Run the rows in quarantine again with today's code; what passes is published on top, once."""
    from jobs.retry import retry_datasets, to_json

    found = retry_datasets(dataset, changes or [], quiet or as_json)
    _print(to_json(found), as_json, [line for one in found for line in one.lines()])


@app.command()
def inspect(
    dataset: DatasetArgument,
    version: Annotated[
        int | None, typer.Option("--version", help="A version of the dataset; the latest without.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """What a dataset holds."""
    from jobs.inspection import inspection_lines
    from jobs.locate import dataset_urls
    from storage.inspect import inspect_dataset
    from storage.reader import Dataset

    found = [inspect_dataset(Dataset.open(url, version)) for url in dataset_urls(dataset)]
    _print(found, as_json, [line for one in found for line in inspection_lines(one)])


@app.command()
def verify(
    dataset: DatasetArgument,
    version: Annotated[
        int | None, typer.Option("--version", help="A version of the dataset; the latest without.")
    ] = None,
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
    _print(values, as_json, [line for report in reports for line in verification_lines(report)])
    if not all(report.is_sound for report in reports):
        raise typer.Exit(FAILED)


@app.command()
def report(
    out: RunArgument,
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="The HTML file; OUT/report.html without.")
    ] = None,
    version: Annotated[
        int | None, typer.Option("--version", min=1, help="A version of the dataset; the latest without.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the HTML report of a run or a dataset."""
    from jobs.report.publish import publish_report

    written = publish_report(out, output, version)
    _print({"report": written}, as_json, [f"report: {written}"])


@app.command()
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
    _print(garbage_json(reports), as_json, [line for one in reports for line in garbage_lines(one)])


@app.command()
def diff(
    dataset: DatasetArgument,
    before: Annotated[int, typer.Argument(metavar="V1", min=1, help="A version of the dataset.")],
    after: Annotated[int, typer.Argument(metavar="V2", min=1, help="Another version.")],
    as_json: JsonOption = False,
) -> None:
    """What changed between two versions: files, rows, statistics, and what the runs were made of."""
    from jobs.history import diff_versions, difference_json, difference_lines

    found = diff_versions(dataset, before, after)
    _print(difference_json(found), as_json, difference_lines(found))


@app.command()
def doctor(
    folder: Annotated[str, typer.Option("--folder", help="Where runs shall be written.")] = ".",
    address: Annotated[
        str | None, typer.Option("--address", help="Look at the cluster behind this job API instead.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """What this machine has, and what posemill misses. Exit code 1 if something it needs is not there."""
    from jobs.doctor import examine, examine_cluster, lines, to_json

    checks = examine_cluster(address) if address is not None else examine(folder)
    found = to_json(checks)
    _print(found, as_json, lines(checks))
    if not found["ok"]:
        raise typer.Exit(FAILED)


def main() -> NoReturn:
    """The entry point: posemill's own errors become one line on stderr and an exit code."""
    arguments = sys.argv[1:]
    if "--debug" in arguments:
        sys.argv[1:] = ["--debug", *(argument for argument in arguments if argument != "--debug")]
    try:
        app()
    except PosemillError as error:
        if os.environ.get("POSEMILL_DEBUG"):
            raise
        from jobs.redaction import redacted_text

        kind, message = type(error).__name__, _without_traceback(redacted_text(str(error)))
        print(f"{kind}: {message}", file=sys.stderr)
        if "--json" in arguments:
            print(json.dumps({"ok": False, "error": kind, "message": message}))
        raise SystemExit(exit_code_of(error)) from None
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(FAILED) from None
    raise SystemExit(DONE)


def _without_traceback(message: str) -> str:
    """A worker's traceback, which some errors carry, is for --debug."""
    words, traceback, _ = message.partition("\nTraceback (most recent call last):")
    return f"{words}\n(--debug shows where)" if traceback else words


def exit_code_of(error: PosemillError) -> int:
    """2 where the user can mend it by another input, 3 where the job stopped on request, 1 where the work failed."""
    if any(kind.__name__ == "JobStoppedError" for kind in type(error).__mro__):
        return STOPPED
    return USER_INPUT if any(kind.__name__ in _USER_ERRORS for kind in type(error).__mro__) else FAILED


def _changes(changes: list[str] | None, out: str | None) -> list[str]:
    from jobs.recipe import quoted_change

    return [*(changes or []), *([quoted_change("out", out)] if out is not None else [])]


def _show_run(outcome: Any, as_json: bool) -> None:
    _print(outcome.to_dict(), as_json, outcome.lines())
    if not outcome.ok:
        raise typer.Exit(FAILED)


def _print(values: Any, as_json: bool, lines: list[str]) -> None:
    if as_json:
        print(json.dumps(values, indent=1, default=str))
        return
    for line in lines:
        print(line)


add_export_commands(app, _print)
add_import_command(app, _print)

if __name__ == "__main__":
    main()
