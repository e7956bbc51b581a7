"""Where a secret comes from, as an option asks for it; it is never an argument itself."""

from __future__ import annotations

from typing import Any

import typer

from sectool.cli.options.paths import path_option


def secret_file(option: str, what: str, variable: str, *, or_input: bool = True) -> Any:
    """An option that names a file with a secret.

    Args:
        option: its name.
        what: the secret, in words.
        variable: of the environment, which may hold it instead.
        or_input: whether ``-`` means standard input.
    """
    dash = "; - is standard input" if or_input else ""
    words = f"File with the {what}{dash}. Else {variable}, or you are asked."
    return path_option(option, metavar="FILE", help=words)


def secret_command(option: str, what: str) -> Any:
    """An option that names a command which prints a secret."""
    words = f"Run this, without a shell; the first line it prints is the {what}."
    return typer.Option(option, metavar="COMMAND", help=words)
