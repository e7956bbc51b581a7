"""The typer application: one command a module."""

from __future__ import annotations

from typing import Annotated

import typer

from sectool import __version__
from sectool.cli import (
    decrypt,
    demo,
    encrypt,
    keys,
    purge,
    rewrap,
    rollback,
    scan,
    status,
    verify,
)
from sectool.cli.shell import say, write
from sectool.errors import UsageError

app = typer.Typer(
    name="sectool",
    epilog="Begin with: sectool demo",
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)


def _version(value: bool) -> None:  # typer's callback
    if value:
        write(f"sectool {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def sectool(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Move encrypted mail from one set of keys to another without losing a message."""
    if context.invoked_subcommand is None:
        say(context.get_help())
        raise typer.Exit(UsageError.exit_code)


for _module in (scan, keys, decrypt, encrypt, rewrap, status, verify, rollback, purge, demo):
    _module.register(app)
