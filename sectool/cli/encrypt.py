"""``sectool encrypt``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sectool.cli import afterwards, options

EXAMPLE = "Example: sectool encrypt /srv/mail/new --job ~/move --to new.pem"

Mailbox = Annotated[
    str | None,
    typer.Argument(
        metavar="[MAILBOX]", help="Where the mailbox is now. Default: where it was last."
    ),
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


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command(epilog=EXAMPLE)(encrypt)


def encrypt(
    job: Job,
    to: To,
    mailbox: Mailbox = None,
    profile: ProfileName = "compatible",
    partial: Partial = False,
    accept_certificate: Accept = [],  # noqa: B006  # typer copies it
    verify_keys: afterwards.VerifyKeys = [],  # noqa: B006
    passphrase_file: options.PassphraseFile = None,
    passphrases: options.Passphrases = None,
    dry_run: options.DryRun = False,
    folder: options.Folder = "*",
    since: options.Since = None,
    before: options.Before = None,
    limit: options.Limit = None,
    workers: options.Workers = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
) -> None:
    """After the move: encrypt every message of the job to the new certificate.

    Each new message is proven before the old one is removed; the old ones are
    kept in the job directory. The same command resumes.
    """
    from sectool import jobs
    from sectool.cli.render import show
    from sectool.cli.session import Manners, run_job

    manners = Manners(json, quiet, verbose)
    spec = jobs.JobSpec(
        jobs.Operation.ENCRYPT,
        options.mailbox_not_certificate(mailbox),
        job=job,
        keys=options.passphrase_sources(passphrase_file, passphrases),
        new_certificates=tuple(to),
        profile=options.profile(profile),
        selection=options.selection(folder, since, before, limit),
        workers=jobs.default_workers() if workers is None else workers,
        dry_run=dry_run,
        partial=partial,
        accept_fingerprints=options.fingerprints(accept_certificate),
        verify_keys=options.key_specification(verify_keys, passphrase_file, passphrases),
    )
    show(run_job(spec, manners), manners)
