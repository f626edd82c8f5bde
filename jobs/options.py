"""What commands of the terminal share: their common options, and how they print a result.

Every command prints lines for a reader, or with --json one JSON document on stdout.
"""

import json
from typing import Annotated, Any

import typer

DONE, FAILED, USER_INPUT, STOPPED = 0, 1, 2, 3
"""Exit codes."""

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
OneDatasetArgument = Annotated[
    str, typer.Argument(help="A posemill dataset, or the folder of a run that has one.")
]
VersionOption = Annotated[
    int | None, typer.Option("--version", min=1, help="A version of the dataset; the latest without.")
]
RunArgument = Annotated[str, typer.Argument(help="The folder or URL that a run writes (its `out`).")]


def show(values: Any, as_json: bool, lines: list[str]) -> None:
    """Print a result: its values as JSON, or its lines."""
    if as_json:
        print(json.dumps(values, indent=1, default=str))
        return
    for line in lines:
        print(line)
