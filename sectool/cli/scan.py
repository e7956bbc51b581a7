"""``sectool scan``."""

from __future__ import annotations

import typer

from sectool.cli import options
from sectool.cli.endings import ending
from sectool.cli.groups import spread

EXAMPLE = "Example: sectool scan ~/Maildir --keys ~/keys --passphrase-file pass.txt"


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command(epilog=ending("scan", EXAMPLE))(spread(scan))


def scan(
    mailbox: options.Mailbox,
    *,
    keys: options.Keys = [],  # noqa: B006  # typer copies it
    passphrases: options.PassphraseOptions,
    opening: options.OpeningOptions,
    run: options.RunOptions,
    manners: options.Manners,
) -> None:
    """Count what a mailbox holds, and change nothing.

    With --keys every encrypted message is really opened, and those that no key
    opens are listed with the issuer and serial number of the key they need.
    """
    from sectool import jobs
    from sectool.cli.render import show
    from sectool.cli.session import run_job

    spec = jobs.JobSpec(
        jobs.Operation.SCAN,
        mailbox,
        keys=opening.added_to(passphrases.of(keys)) if keys or opening.secrets else None,
        released=opening.released,
        selection=run.selection,
        workers=run.processes,
    )
    show(run_job(spec, manners), manners, looks_only=True)
