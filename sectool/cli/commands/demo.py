"""``sectool demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from sectool.cli import options
from sectool.cli.options.paths import path_argument
from sectool.cli.shell import report

EXAMPLE = "Example: sectool demo /tmp/look"

Directory = Annotated[
    Path | None,
    path_argument(metavar="DIR", help="Empty directory to play in. Default: a temporary one."),
]


def demo(directory: Directory = None, verbose: options.Verbose = 0) -> None:
    """Tell the whole story of a move on a copy of the sample mailbox."""
    from sectool.demo.story import play

    play(directory, lambda line: report([line]))
