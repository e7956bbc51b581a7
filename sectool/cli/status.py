"""``sectool status``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sectool.cli import options

EXAMPLE = "Example: sectool status ~/move"

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="Job directory.")]


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command(epilog=EXAMPLE)(status)


def status(
    directory: Directory,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
) -> None:
    """Show where a job stands, what is left, what failed and why."""
    from sectool import jobs
    from sectool.cli.render import show
    from sectool.cli.session import Manners

    show(jobs.status(directory), Manners(json, quiet, verbose), looks_only=True)
