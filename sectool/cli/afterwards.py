"""Options of the commands that come after encrypting."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="Job directory.")]
Mailbox = Annotated[
    str | None,
    typer.Argument(
        metavar="[MAILBOX]", help="Where the mailbox is now. Default: where it was last."
    ),
]
VerifyKeys = Annotated[
    list[Path],
    typer.Option(
        "--verify-keys",
        metavar="PATH",
        help="New private keys: open every replaced message with them. Repeat for more.",
    ),
]
Partial = Annotated[
    bool, typer.Option("--partial", help="Go on although most of the job is missing here.")
]
AcceptUnproven = Annotated[
    bool,
    typer.Option(
        "--accept-unproven", help="Be content with messages that no new key has opened yet."
    ),
]
