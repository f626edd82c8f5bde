"""The verbs that do and watch jobs: `posemill run | resume | demo | plan | submit | status`.

Heavy imports happen when a verb is used, so that `--help` is quick.
"""

import sys
from typing import Annotated, Any

import typer

from jobs.options import (
    FAILED,
    JsonOption,
    OutOption,
    QuietOption,
    RecipeArgument,
    RunArgument,
    SetOption,
    show,
)

commands = typer.Typer()


@commands.command()
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


@commands.command()
def resume(
    out: RunArgument, changes: SetOption = None, as_json: JsonOption = False, quiet: QuietOption = False
) -> None:
    """Go on with a run that was stopped, with the recipe that it keeps."""
    from jobs.running import resume_run

    _show_run(resume_run(out, changes or [], quiet=quiet or as_json), as_json)


@commands.command()
def demo(
    out: Annotated[str, typer.Option("--out", help="Where to write.")] = "runs/demo",
    changes: SetOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """The main job from end to end on an embedded source of motion; needs no data."""
    from jobs.running import run_recipe

    _show_run(run_recipe("demo", _changes(changes, out), quiet=quiet or as_json), as_json)


@commands.command()
def plan(
    recipe: RecipeArgument, changes: SetOption = None, out: OutOption = None, as_json: JsonOption = False
) -> None:
    """Say what a recipe would do, without doing it."""
    from jobs.planning import plan_recipe

    summary = plan_recipe(recipe, _changes(changes, out))
    show(summary.to_dict(), as_json, summary.lines())


@commands.command()
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
    show(outcome.to_dict(), as_json, outcome.lines())
    if outcome.exit_code:
        raise typer.Exit(outcome.exit_code)


@commands.command()
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
    show(found.to_dict(), as_json, found.lines())


def _changes(changes: list[str] | None, out: str | None) -> list[str]:
    from jobs.recipe import quoted_change

    return [*(changes or []), *([quoted_change("out", out)] if out is not None else [])]


def _show_run(outcome: Any, as_json: bool) -> None:
    show(outcome.to_dict(), as_json, outcome.lines())
    if not outcome.ok:
        raise typer.Exit(FAILED)
