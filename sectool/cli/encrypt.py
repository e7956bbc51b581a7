"""``sectool encrypt``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sectool.cli import afterwards, options
from sectool.cli.endings import ending
from sectool.cli.groups import spread

EXAMPLE = "Example: sectool encrypt /srv/mail/new --job ~/move --to new.pem"

Mailbox = Annotated[
    str | None,
    typer.Argument(metavar="MAILBOX", help="Where the mailbox is now. Default: where it was last."),
]
Job = Annotated[Path, typer.Option("--job", metavar="DIR", help="Job directory that decrypt made.")]
To = Annotated[
    list[Path],
    typer.Option(
        "--to", metavar="CERT", help="New certificate: PEM, DER or PKCS#12. Repeat for more."
    ),
]
ProfileName = Annotated[
    str,
    typer.Option(
        "--profile",
        metavar="NAME",
        help="compatible (every mail program), modern (AES-GCM) or post-quantum.",
    ),
]
Partial = Annotated[
    bool,
    typer.Option(
        "--partial", help="Go on although decrypting did not finish or most of the job is missing."
    ),
]
Accept = Annotated[
    list[str],
    typer.Option(
        "--accept-certificate",
        metavar="FINGERPRINT",
        help="Use the certificate with this SHA-256 fingerprint although a check fails.",
    ),
]

AcceptLost = Annotated[
    bool,
    typer.Option("--accept-lost", help="The user deleted what is lost: it leaves the job as gone."),
]


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command(epilog=ending("encrypt", EXAMPLE))(spread(encrypt))


def encrypt(
    mailbox: Mailbox = None,
    *,
    job: Job,
    to: To,
    profile: ProfileName = "compatible",
    partial: Partial = False,
    accept_certificate: Accept = [],  # noqa: B006  # typer copies it
    accept_lost: AcceptLost = False,
    verify_keys: afterwards.VerifyKeys = [],  # noqa: B006
    passphrases: options.PassphraseOptions,
    dry_run: options.DryRun = False,
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
        new_certificates=tuple(to),
        profile=options.profile(profile),
        selection=run.selection,
        workers=run.processes,
        dry_run=dry_run,
        partial=partial,
        accept_lost=accept_lost,
        accept_fingerprints=options.fingerprints(accept_certificate),
        verify_keys=passphrases.of(verify_keys) if verify_keys else None,
    )
    show(run_job(spec, manners), manners)
