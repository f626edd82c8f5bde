"""The terminal: the entry point `posemill`, its errors and exit codes, and `posemill doctor`.

The other verbs are in `run_commands`, `dataset_commands`, `export_commands` and `import_weights`. Exit codes: 0 done,
1 failed, 2 the user's input, 3 stopped on request. Heavy imports happen inside the commands, so that `--help` is quick.
"""

import json
import os
import sys
from typing import Annotated, NoReturn

import typer

from jobs import dataset_commands, export_commands, import_weights, run_commands
from jobs.options import DONE, FAILED, STOPPED, USER_INPUT, JsonOption, show
from poses.errors import PosemillError

app = typer.Typer(
    name="posemill",
    help="Builds 3D human pose datasets: real motion in, augmented and verified 2D-3D pairs out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)
_USER_ERRORS = {
    "RecipeError", "SettingsError", "PlanError", "ReportError",
    "DatasetError", "ExportError", "ImporterError", "SkeletonError", "CheckpointError",
}  # fmt: skip


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
    show(found, as_json, lines(checks))
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


for _group in (run_commands, dataset_commands, export_commands, import_weights):
    app.add_typer(_group.commands)

if __name__ == "__main__":
    main()
