"""``sectool encrypt``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sectool.cli import options
from sectool.cli.options import afterwards
from sectool.cli.options.paths import path_option
from sectool.cli.options.undone import UndoneOptions
from sectool.values import dataclass

if TYPE_CHECKING:
    from sectool.jobs import Encrypt

EXAMPLE = "Example: sectool encrypt /srv/mail/new --job ~/move --to new.pem"

Mailbox = Annotated[
    str | None,
    typer.Argument(metavar="MAILBOX", help="Where the mailbox is now. Default: where it was last."),
]
Job = Annotated[Path, path_option("--job", metavar="DIR", help="Job directory that decrypt made.")]


@dataclass(frozen=True, eq=False, repr=False)
class PhaseOptions:
    """How the phase stands to what was done before."""

    partial: Annotated[
        bool,
        typer.Option(
            "--partial",
            help="Go on although decrypting did not finish or most of the job is missing.",
        ),
    ] = False
    include_clear: Annotated[
        bool,
        typer.Option(
            "--include-clear", help="Also mail that never was encrypted; may begin a job."
        ),
    ] = False
    restart_phase: Annotated[
        bool,
        typer.Option(
            "--restart-phase",
            help="Other --to or --profile than before: encrypt all of the job anew to these.",
        ),
    ] = False

    def added_to(self, run: Encrypt) -> Encrypt:
        """The same run with these."""
        return replace(
            run,
            partial=self.partial,
            include_clear=self.include_clear,
            restart_phase=self.restart_phase,
        )


@dataclass(frozen=True, eq=False, repr=False)
class LostOptions:
    """What becomes of mail that is not found any more."""

    accept_lost: Annotated[
        bool,
        typer.Option(
            "--accept-lost", help="The owner deleted what is lost: let it go, and stop listing it."
        ),
    ] = False
    restore_lost: Annotated[
        bool,
        typer.Option(
            "--restore-lost", help="Put what is lost into the folder Recovered, encrypted."
        ),
    ] = False

    def added_to(self, run: Encrypt) -> Encrypt:
        """The same run with these."""
        return replace(run, accept_lost=self.accept_lost, restore_lost=self.restore_lost)


def encrypt(
    mailbox: Mailbox = None,
    *,
    job: Job,
    certificates: options.NewCertificates,
    phase: PhaseOptions,
    lost: LostOptions,
    restore_subject: options.RestoreSubject = False,
    opening: afterwards.OpeningKeys,
    passphrases: options.PassphraseOptions,
    dry_run: options.DryRun = False,
    undone: UndoneOptions,
    run: options.RunOptions,
    manners: options.RunManners,
) -> None:
    """After the move: encrypt the mail of the job to the new keys.

    Old mail is kept in the job once new is proven. The same command resumes.
    """
    from sectool import jobs
    from sectool.cli.session import run_job
    from sectool.cli.words.render import show

    spec = jobs.Encrypt(
        mailbox=None if mailbox is None else options.not_certificate(mailbox),
        job=job,
        trust_group=passphrases.trust_group,
        passphrases=passphrases.of([]),
        restore_subject=restore_subject,
        verify_keys=passphrases.of_any(opening.verify_keys),
        seal_keys=passphrases.of_any(opening.seal_keys),
        dry_run=dry_run,
    )
    spec = certificates.added_to(lost.added_to(phase.added_to(spec)))
    spec = run.added_to(undone.added_to(spec))
    show(run_job(spec, manners), manners)
