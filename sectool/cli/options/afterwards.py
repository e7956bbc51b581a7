"""Options of the commands that come after encrypting."""

from __future__ import annotations

from dataclasses import field
from pathlib import Path
from typing import Annotated

import typer

from sectool.cli.options.paths import path_argument, path_option
from sectool.cli.options.shared import SealKeys
from sectool.values import dataclass

Directory = Annotated[Path, path_argument(metavar="DIR", help="Job directory.")]
Mailbox = Annotated[
    str | None,
    typer.Argument(
        metavar="[MAILBOX]", help="Where the mailbox is now. Default: where it was last."
    ),
]
VerifyKeys = Annotated[
    list[Path],
    path_option(
        "--verify-keys",
        metavar="PATH",
        help="New private keys: open every replaced message with them. Repeat for more.",
    ),
]


@dataclass(frozen=True, eq=False, repr=False)
class OpeningKeys:
    """Private keys that open what the job wrote."""

    verify_keys: VerifyKeys = field(default_factory=list)
    seal_keys: SealKeys = field(default_factory=list)


Partial = Annotated[
    bool, typer.Option("--partial", help="Go on although most of the job is missing here.")
]
AcceptUnproven = Annotated[
    bool,
    typer.Option("--accept-unproven", help="Accept messages that no new key has opened yet."),
]
