"""``sectool verify``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sectool.cli import afterwards, options

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
    app.command(epilog=EXAMPLE)(verify)


def verify(
    directory: afterwards.Directory,
    mailbox: afterwards.Mailbox = None,
    verify_keys: afterwards.VerifyKeys = [],  # noqa: B006  # typer copies it
    deep: Deep = False,
    retire: Retire = [],  # noqa: B006
    accept_unproven: afterwards.AcceptUnproven = False,
    partial: afterwards.Partial = False,
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
    """Hold the mailbox against the job: what is there, lost, new or changed.

    The mailbox stays as it is. With --verify-keys every replaced message is
    opened with the new key and compared with what was encrypted.
    """
    from sectool import jobs
    from sectool.cli.render import show
    from sectool.cli.session import Manners, run_job

    manners = Manners(json, quiet, verbose)
    spec = jobs.JobSpec(
        jobs.Operation.VERIFY,
        mailbox,
        job=directory,
        selection=options.selection(folder, since, before, limit),
        workers=jobs.default_workers() if workers is None else workers,
        dry_run=dry_run,
        partial=partial,
        verify_keys=options.key_specification(verify_keys, passphrase_file, passphrases),
        deep=deep,
        retire=options.key_specification(retire, passphrase_file, passphrases),
        accept_unproven=accept_unproven,
    )
    show(run_job(spec, manners), manners)
