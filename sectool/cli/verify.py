"""``sectool verify``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from sectool.cli import afterwards, options
from sectool.cli.endings import ending
from sectool.cli.groups import spread
from sectool.cli.undone import Acknowledge

EXAMPLE = "Example: sectool verify ~/move --verify-keys new.p12 --retire ~/keys"


@dataclass(frozen=True, eq=False, repr=False)
class KeyOptions(afterwards.OpeningKeys):
    """The same, and what is asked about keys."""

    deep: Annotated[
        bool,
        typer.Option("--deep", help="Read every message; open again what was opened before."),
    ] = False
    retire: Annotated[
        list[Path],
        typer.Option(
            "--retire",
            metavar="KEYS",
            help="Old keys: say of each whether it may be destroyed. Repeat for more.",
        ),
    ] = field(default_factory=list)

    def fields(self, passphrases: options.PassphraseOptions) -> dict[str, Any]:
        """The fields of a ``JobSpec`` that these options give."""
        asked = {"deep": self.deep, "retire": passphrases.of_any(self.retire)}
        return {**afterwards.OpeningKeys.fields(self, passphrases), **asked}


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command(epilog=ending("verify", EXAMPLE))(spread(verify))


def verify(
    directory: afterwards.Directory,
    mailbox: afterwards.Mailbox = None,
    *,
    keys: KeyOptions,
    accept_unproven: afterwards.AcceptUnproven = False,
    partial: afterwards.Partial = False,
    passphrases: options.PassphraseOptions,
    dry_run: options.DryRun = False,
    acknowledge: Acknowledge = None,
    run: options.RunOptions,
    manners: options.Manners,
) -> None:
    """Prove the mailbox against the job: what is there, lost or new.

    The mailbox stays as it is. With --verify-keys every replaced message is
    opened with the new key and compared with what was encrypted.
    """
    from sectool import jobs
    from sectool.cli.render import show
    from sectool.cli.session import run_job

    spec = jobs.JobSpec(
        jobs.Operation.VERIFY,
        mailbox,
        job=directory,
        dry_run=dry_run,
        partial=partial,
        acknowledge=acknowledge,
        accept_unproven=accept_unproven,
        **keys.fields(passphrases),
        **run.fields,
    )
    show(run_job(spec, manners), manners)
