"""``sectool purge``."""

from __future__ import annotations

from typing import Annotated

import typer

from sectool.cli import afterwards, options

EXAMPLE = "Example: sectool purge ~/move --verify-keys new.p12 --dry-run"

Abandon = Annotated[
    bool,
    typer.Option(
        "--abandon",
        help="Remove everything, also what belongs to messages that were not replaced.",
    ),
]


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command(epilog=EXAMPLE)(purge)


def purge(
    directory: afterwards.Directory,
    mailbox: afterwards.Mailbox = None,
    verify_keys: afterwards.VerifyKeys = [],  # noqa: B006  # typer copies it
    accept_unproven: afterwards.AcceptUnproven = False,
    abandon: Abandon = False,
    partial: afterwards.Partial = False,
    passphrase_file: options.PassphraseFile = None,
    passphrases: options.Passphrases = None,
    dry_run: options.DryRun = False,
    workers: options.Workers = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
) -> None:
    """Remove checkpoints and originals that are no longer needed.

    Only of messages whose replacement is in the mailbox now and was opened
    with the new key. What is removed cannot be rolled back.
    """
    from sectool import jobs
    from sectool.cli.render import show
    from sectool.cli.session import Manners, run_job

    manners = Manners(json, quiet, verbose)
    spec = jobs.JobSpec(
        jobs.Operation.PURGE,
        mailbox,
        job=directory,
        workers=jobs.default_workers() if workers is None else workers,
        dry_run=dry_run,
        partial=partial,
        verify_keys=options.key_specification(verify_keys, passphrase_file, passphrases),
        accept_unproven=accept_unproven,
        abandon=abandon,
    )
    show(run_job(spec, manners), manners)
