"""``sectool decrypt``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sectool.cli import options

EXAMPLE = "Example: sectool decrypt ~/Maildir --keys ~/keys --job ~/move"

Job = Annotated[
    Path | None,
    typer.Option(
        "--job", metavar="DIR", help="Job directory; made when it is not there. Holds plaintext."
    ),
]


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command(epilog=EXAMPLE)(decrypt)


def decrypt(
    mailbox: options.Mailbox,
    keys: options.Keys,
    job: Job = None,
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
    """Before the move: write a plaintext checkpoint of every message the keys open.

    The mailbox stays as it is. Whatever interrupts the run, the same command
    goes on where it stopped; run again later, it takes just what is new.
    """
    from sectool import jobs
    from sectool.cli.render import show
    from sectool.cli.session import Manners, run_job

    manners = Manners(json, quiet, verbose)
    spec = jobs.JobSpec(
        jobs.Operation.DECRYPT,
        mailbox,
        job=job,
        keys=options.key_specification(keys, passphrase_file, passphrases),
        selection=options.selection(folder, since, before, limit),
        workers=jobs.default_workers() if workers is None else workers,
        dry_run=dry_run,
    )
    after = f"move the mailbox, then: sectool encrypt NEWPLACE --job {job} --to new.pem"
    show(run_job(spec, manners), manners, hint="" if dry_run else after)
