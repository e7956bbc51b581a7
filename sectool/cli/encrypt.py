"""``sectool encrypt``."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from sectool.cli import afterwards, options
from sectool.cli.endings import ending
from sectool.cli.groups import spread
from sectool.cli.paths import path_option
from sectool.cli.undone import UndoneOptions

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

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of a ``JobSpec`` that these options give."""
        return asdict(self)


@dataclass(frozen=True, eq=False, repr=False)
class LostOptions:
    """What becomes of mail that is not found any more."""

    accept_lost: Annotated[
        bool,
        typer.Option(
            "--accept-lost", help="The user deleted what is lost: it leaves the job as gone."
        ),
    ] = False
    restore_lost: Annotated[
        bool,
        typer.Option(
            "--restore-lost", help="Put what is lost into the folder Recovered, encrypted."
        ),
    ] = False

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of a ``JobSpec`` that these options give."""
        return asdict(self)


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command(epilog=ending("encrypt", EXAMPLE))(spread(encrypt))


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
        trust_group=passphrases.trust_group,
        keys=passphrases.of([]),
        dry_run=dry_run,
        **phase.fields,
        **lost.fields,
        restore_subject=restore_subject,
        **opening.fields(passphrases),
        **certificates.fields,
        **undone.fields,
        **run.fields,
    )
    show(run_job(spec, manners), manners)
