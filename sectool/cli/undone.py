"""Options of the commands that meet messages they cannot do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from sectool.cli.paths import path_option

Acknowledge = Annotated[
    Path | None,
    path_option(
        "--acknowledge",
        metavar="FILE",
        help="Identities of messages you know cannot be done: they fail no run any more.",
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

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of a ``JobSpec`` that these options give."""
        return {
            "acknowledge": self.acknowledge,
            "retry": self.retry,
            "max_failures": self.max_failures,
        }
