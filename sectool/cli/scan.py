"""``sectool scan``."""

from __future__ import annotations

import typer

from sectool.cli import options

EXAMPLE = "Example: sectool scan ~/Maildir --keys ~/keys --passphrase-file pass.txt"


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command(epilog=EXAMPLE)(scan)


def scan(
    mailbox: options.Mailbox,
    keys: options.Keys = [],  # noqa: B006  # typer copies it
    passphrase_file: options.PassphraseFile = None,
    passphrases: options.Passphrases = None,
    folder: options.Folder = "*",
    since: options.Since = None,
    before: options.Before = None,
    limit: options.Limit = None,
    workers: options.Workers = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
) -> None:
    """Count what a mailbox holds, and change nothing.

    With --keys every encrypted message is really opened, and those that no key
    opens are listed with the issuer and serial number of the key they need.
    """
    from sectool import jobs
    from sectool.cli.render import show
    from sectool.cli.session import Manners, run_job

    manners = Manners(json, quiet, verbose)
    spec = jobs.JobSpec(
        jobs.Operation.SCAN,
        mailbox,
        keys=options.key_specification(keys, passphrase_file, passphrases),
        selection=options.selection(folder, since, before, limit),
        workers=jobs.default_workers() if workers is None else workers,
    )
    show(run_job(spec, manners), manners, looks_only=True)
