"""``sectool status``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sectool.cli import options
from sectool.cli.endings import ending
from sectool.cli.groups import spread

EXAMPLE = "Example: sectool status ~/move"

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="Job directory.")]


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command(epilog=ending("status", EXAMPLE))(spread(status))


def status(directory: Directory, manners: options.Manners) -> None:
    """Show where a job stands, what is left, what failed and why."""
    from sectool import jobs
    from sectool.cli.render import show

    show(jobs.status(directory), manners, looks_only=True)
