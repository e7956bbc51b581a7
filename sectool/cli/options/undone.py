"""Options of the commands that meet messages they cannot do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from sectool.cli.options.paths import path_option
from sectool.values import dataclass

if TYPE_CHECKING:
    from sectool.jobs import Undone

AnyUndone = TypeVar("AnyUndone", bound="Undone")

Acknowledge = Annotated[
    Path | None,
    path_option(
        "--acknowledge",
        metavar="FILE",
        help="File of messages you have looked at and cannot do. They stay listed and still need"
        " their keys, but no longer cause exit code 3.",
    ),
]


@dataclass(frozen=True, eq=False, repr=False)
class UndoneOptions:
    """What to do with messages that were not done, or are not."""

    acknowledge: Acknowledge = None
    retry: Annotated[
        bool,
        typer.Option("--retry", help="Only what an earlier run could not do, as with another key."),
    ] = False

    max_failures: Annotated[
        int,
        typer.Option(
            "--max-failures",
            metavar="PERCENT",
            min=0,
            max=100,
            help="Leave a folder in which more of the messages fail than this; 100: never.",
        ),
    ] = 20

    def added_to(self, run: AnyUndone) -> AnyUndone:
        """The same run with these."""
        return replace(
            run,
            acknowledge=self.acknowledge,
            retry=self.retry,
            max_failures=self.max_failures,
        )
