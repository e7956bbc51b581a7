"""``sectool scan``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sectool.cli import options
from sectool.cli.options.paths import path_option
from sectool.errors import UsageError

EXAMPLE = "Example: sectool scan ~/Maildir --keys ~/keys --passphrase-file pass.txt"

NewKeys = Annotated[
    list[Path],
    path_option(
        "--new-keys",
        metavar="PATH",
        help="Keys that are there after the move: name the kind of move. Repeat for more.",
    ),
]
Check = Annotated[
    bool, typer.Option("--check", help="End with 3 unless the mailbox is safe to move now.")
]
Quick = Annotated[
    bool,
    typer.Option(
        "--quick", help="Read the first bytes of each message alone: a count, and no verdict."
    ),
]


def scan(
    mailbox: options.Mailbox,
    *,
    keys: options.Keys = [],  # noqa: B006  # typer copies it
    passphrases: options.PassphraseOptions,
    opening: options.OpeningOptions,
    parts: options.PartOptions,
    new_keys: NewKeys = [],  # noqa: B006
    check: Check = False,
    quick: Quick = False,
    run: options.RunOptions,
    manners: options.RunManners,
) -> None:
    """Count what a mailbox holds, and change nothing.

    With --keys every encrypted message is really opened, and those that no key
    opens are listed with the issuer and serial number of the key they need.
    """
    from sectool import jobs
    from sectool.cli.session import run_job
    from sectool.cli.words.render import show

    if quick:
        _check_quick(opening, parts, {"--new-keys": new_keys, "--check": check})
        look = jobs.QuickScan(mailbox=mailbox, keys=passphrases.of(keys) if keys else None)
        show(run_job(run.added_to(look), manners), manners, looks_only=True)
    spec = jobs.Scan(
        mailbox=mailbox,
        keys=opening.added_to(passphrases.of(keys)) if keys or opening.secrets else None,
        released=opening.released,
        part_selection=parts.selection,
        new_keys=passphrases.of_any(new_keys),
    )
    summary = run_job(run.added_to(spec), manners)
    show(summary, manners, looks_only=True, fails=check and not summary.is_safe_to_move)


def _check_quick(
    opening: options.OpeningOptions, parts: options.PartOptions, others: dict[str, object]
) -> None:
    given = {
        "--secrets": opening.secrets,
        "--try-keys": opening.try_keys,
        "--try-tokens": opening.try_tokens,
        "--accept": opening.accept,
        "--break-signatures": parts.break_signatures,
        "--leave-attachments": parts.leave_attachments,
        **others,
    }
    for name in (name for name, value in given.items() if value):
        raise UsageError(
            f"{name} does not go with --quick, which opens nothing and gives no verdict",
            hint="leave out one of the two",
        )
