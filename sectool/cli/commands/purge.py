"""``sectool purge``."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from sectool.cli import options
from sectool.cli.options import afterwards
from sectool.cli.options.account import AccountOptions
from sectool.errors import UsageError
from sectool.values import dataclass

if TYPE_CHECKING:
    from sectool.jobs import Purge

EXAMPLE = "Example: sectool purge ~/move --verify-keys new.p12 --dry-run"


def _age(text: str) -> timedelta:
    """So many days, as a person writes it."""
    found = re.fullmatch("([1-9][0-9]{0,4})d", text)
    if found is None:
        raise typer.BadParameter(f"{text!r} is no age in days like 30d")
    return timedelta(days=int(found[1]))


@dataclass(frozen=True, eq=False, repr=False)
class WhatGoes:
    """Which files go, and whether a person is asked before."""

    accept_unproven: afterwards.AcceptUnproven = False
    abandon: Annotated[
        bool,
        typer.Option(
            "--abandon",
            help="Remove everything, also what belongs to messages that were not replaced.",
        ),
    ] = False
    older_than: Annotated[
        timedelta | None,
        typer.Option(
            "--older-than",
            metavar="DAYS",
            parser=_age,
            help="Only what belongs to messages that were replaced so long ago: 30d.",
        ),
    ] = None
    yes: Annotated[
        bool, typer.Option("--yes", help="Remove without a question on the terminal.")
    ] = False

    def added_to(self, run: Purge) -> Purge:
        """The same run with these, where a person agrees.

        Raises:
            UsageError: unproven mail would go by its age while nobody looks, or the age means
                nothing.
            Interrupted: a person does not agree.
        """
        run = replace(
            run,
            accept_unproven=self.accept_unproven,
            abandon=self.abandon,
            older_than=self.older_than,
        )
        if self.older_than is not None and self.abandon:
            raise UsageError(
                "--older-than means nothing with --abandon, which removes everything",
                hint="leave out one of the two",
            )
        if not (self.yes or run.dry_run):
            _ask(run)
        return run


def purge(
    directory: afterwards.Directory,
    mailbox: afterwards.Mailbox = None,
    *,
    verify_keys: afterwards.VerifyKeys = [],  # noqa: B006  # typer copies it
    goes: WhatGoes,
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
    from sectool.cli.session import run_job
    from sectool.cli.words.render import show

    spec = jobs.Purge(
        mailbox=mailbox,
        job=directory,
        trust_group=passphrases.trust_group,
        workers=options.worker_processes(workers),
        limit_factor=limit_factor,
        dry_run=dry_run,
        partial=partial,
        verify_keys=passphrases.of_any(verify_keys),
    )
    show(run_job(goes.added_to(account.at_account(spec)), manners), manners)


def _ask(spec: Purge) -> None:
    """Asks before what cannot be undone: the first time on a job, and giving up each time.

    Raises:
        UsageError: nobody is there, and what no new key opened would go for its age.
        Interrupted: the answer was no.
    """
    from sectool import jobs
    from sectool.cli.session import confirm, is_somebody_there

    if not is_somebody_there():
        if spec.older_than is not None and spec.accept_unproven:
            raise UsageError(
                "nobody is at the terminal, and --accept-unproven would remove what no new key"
                " opened",
                hint="add --verify-keys with the new private key instead; or --yes, if that is"
                " meant",
            )
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
