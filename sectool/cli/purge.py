"""``sectool purge``."""

from __future__ import annotations

from typing import Annotated

import typer

from sectool.cli import afterwards, options
from sectool.cli.account import AccountOptions

EXAMPLE = "Example: sectool purge ~/move --verify-keys new.p12 --dry-run"

Abandon = Annotated[
    bool,
    typer.Option(
        "--abandon",
        help="Remove everything, also what belongs to messages that were not replaced.",
    ),
]


def purge(
    directory: afterwards.Directory,
    mailbox: afterwards.Mailbox = None,
    *,
    verify_keys: afterwards.VerifyKeys = [],  # noqa: B006  # typer copies it
    accept_unproven: afterwards.AcceptUnproven = False,
    abandon: Abandon = False,
    partial: afterwards.Partial = False,
    passphrases: options.PassphraseOptions,
    dry_run: options.DryRun = False,
    account: AccountOptions,
    workers: options.Workers = None,
    limit_factor: options.LimitFactor = 1,
    manners: options.RunManners,
) -> None:
    """Remove checkpoints and originals that are no longer needed.

    Only of messages whose replacement is in the mailbox now and was opened
    with the new key. What is removed cannot be rolled back.
    """
    from sectool import jobs
    from sectool.cli.render import show
    from sectool.cli.session import run_job

    spec = jobs.Purge(
        mailbox=mailbox,
        job=directory,
        trust_group=passphrases.trust_group,
        workers=options.worker_processes(workers),
        limit_factor=limit_factor,
        dry_run=dry_run,
        partial=partial,
        verify_keys=passphrases.of_any(verify_keys),
        accept_unproven=accept_unproven,
        abandon=abandon,
    )
    show(run_job(account.at_account(spec), manners), manners)
