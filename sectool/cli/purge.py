"""``sectool purge``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sectool.cli import afterwards, options
from sectool.cli.account import AccountOptions

if TYPE_CHECKING:
    from sectool.jobs import Purge

EXAMPLE = "Example: sectool purge ~/move --verify-keys new.p12 --dry-run"

Abandon = Annotated[
    bool,
    typer.Option(
        "--abandon",
        help="Remove everything, also what belongs to messages that were not replaced.",
    ),
]

Yes = Annotated[bool, typer.Option("--yes", help="Remove without a question on the terminal.")]


def purge(
    directory: afterwards.Directory,
    mailbox: afterwards.Mailbox = None,
    *,
    verify_keys: afterwards.VerifyKeys = [],  # noqa: B006  # typer copies it
    accept_unproven: afterwards.AcceptUnproven = False,
    abandon: Abandon = False,
    partial: afterwards.Partial = False,
    yes: Yes = False,
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
    _ask(spec, yes=yes)
    show(run_job(account.at_account(spec), manners), manners)


def _ask(spec: Purge, *, yes: bool) -> None:
    """Asks before what cannot be undone: the first time on a job, and giving up each time.

    Raises:
        Interrupted: the answer was no.
    """
    from sectool import jobs
    from sectool.cli.session import confirm, is_somebody_there

    if yes or spec.dry_run or not is_somebody_there():
        return
    summary = jobs.status(spec.job, jobs.Trust.in_group(spec.trust_group))
    if spec.abandon:
        confirm(
            f"This removes everything of {spec.job}, also the only plaintext of mail that was not"
            " encrypted yet. It cannot be undone."
        )
    elif not summary.job_data_removed:
        confirm(
            f"This removes plaintext and originals of {spec.job}. After it nothing can be rolled"
            " back."
        )
