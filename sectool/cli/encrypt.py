"""``sectool encrypt``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sectool.cli import afterwards, options
from sectool.cli.endings import ending
from sectool.cli.groups import spread
from sectool.cli.undone import UndoneOptions

EXAMPLE = "Example: sectool encrypt /srv/mail/new --job ~/move --to new.pem"

Mailbox = Annotated[
    str | None,
    typer.Argument(metavar="MAILBOX", help="Where the mailbox is now. Default: where it was last."),
]
Job = Annotated[Path, typer.Option("--job", metavar="DIR", help="Job directory that decrypt made.")]
Partial = Annotated[
    bool,
    typer.Option(
        "--partial", help="Go on although decrypting did not finish or most of the job is missing."
    ),
]

RestartPhase = Annotated[
    bool,
    typer.Option(
        "--restart-phase",
        help="Other --to or --profile than before: encrypt all of the job anew to these.",
    ),
]

AcceptLost = Annotated[
    bool,
    typer.Option("--accept-lost", help="The user deleted what is lost: it leaves the job as gone."),
]

RestoreLost = Annotated[
    bool,
    typer.Option("--restore-lost", help="Put what is lost into the folder Recovered, encrypted."),
]


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command(epilog=ending("encrypt", EXAMPLE))(spread(encrypt))


def encrypt(
    mailbox: Mailbox = None,
    *,
    job: Job,
    certificates: options.NewCertificates,
    partial: Partial = False,
    accept_lost: AcceptLost = False,
    restart_phase: RestartPhase = False,
    restore_lost: RestoreLost = False,
    opening: afterwards.OpeningKeys,
    passphrases: options.PassphraseOptions,
    dry_run: options.DryRun = False,
    undone: UndoneOptions,
    run: options.RunOptions,
    manners: options.Manners,
) -> None:
    """After the move: encrypt the mail of the job to the new keys.

    Old mail is kept in the job once new is proven. The same command resumes.
    """
    from sectool import jobs
    from sectool.cli.render import show
    from sectool.cli.session import run_job

    spec = jobs.JobSpec(
        jobs.Operation.ENCRYPT,
        options.mailbox_not_certificate(mailbox),
        job,
        keys=passphrases.of([]),
        dry_run=dry_run,
        partial=partial,
        accept_lost=accept_lost,
        restart_phase=restart_phase,
        restore_lost=restore_lost,
        **opening.fields(passphrases),
        **certificates.fields,
        **undone.fields,
        **run.fields,
    )
    show(run_job(spec, manners), manners)
