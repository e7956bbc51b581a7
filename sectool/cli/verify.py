"""``sectool verify``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sectool.cli import afterwards, options
from sectool.cli.endings import ending
from sectool.cli.groups import spread
from sectool.cli.undone import Acknowledge

EXAMPLE = "Example: sectool verify ~/move --verify-keys new.p12 --retire ~/keys"

Deep = Annotated[
    bool,
    typer.Option("--deep", help="Read every message; open again what was opened before."),
]
Retire = Annotated[
    list[Path],
    typer.Option(
        "--retire",
        metavar="KEYS",
        help="Old keys: say of each whether it may be destroyed. Repeat for more.",
    ),
]


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command(epilog=ending("verify", EXAMPLE))(spread(verify))


def verify(
    directory: afterwards.Directory,
    mailbox: afterwards.Mailbox = None,
    *,
    verify_keys: afterwards.VerifyKeys = [],  # noqa: B006  # typer copies it
    deep: Deep = False,
    retire: Retire = [],  # noqa: B006
    accept_unproven: afterwards.AcceptUnproven = False,
    partial: afterwards.Partial = False,
    passphrases: options.PassphraseOptions,
    dry_run: options.DryRun = False,
    acknowledge: Acknowledge = None,
    run: options.RunOptions,
    manners: options.Manners,
) -> None:
    """Prove the mailbox against the job: what is there, lost or new.

    The mailbox stays as it is. With --verify-keys every replaced message is
    opened with the new key and compared with what was encrypted.
    """
    from sectool import jobs
    from sectool.cli.render import show
    from sectool.cli.session import run_job

    spec = jobs.JobSpec(
        jobs.Operation.VERIFY,
        mailbox,
        job=directory,
        selection=run.selection,
        workers=run.processes,
        dry_run=dry_run,
        partial=partial,
        verify_keys=passphrases.of(verify_keys) if verify_keys else None,
        deep=deep,
        acknowledge=acknowledge,
        retire=passphrases.of(retire) if retire else None,
        accept_unproven=accept_unproven,
    )
    show(run_job(spec, manners), manners)
