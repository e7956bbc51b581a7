"""``sectool decrypt``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sectool.cli import options
from sectool.cli.options.paths import path_option
from sectool.cli.options.undone import UndoneOptions
from sectool.values import dataclass

if TYPE_CHECKING:
    from sectool.jobs import Decrypt

EXAMPLE = "Example: sectool decrypt ~/Maildir --keys ~/keys --job ~/move"

Job = Annotated[
    Path | None,
    path_option(
        "--job",
        metavar="DIR",
        help="Job directory; made when it is not there. Holds plaintext, unless sealed.",
    ),
]


@dataclass(frozen=True, eq=False, repr=False)
class InPlaceOptions:
    """Whether plaintext goes into the mailbox, and how."""

    in_place: Annotated[
        bool,
        typer.Option(
            "--in-place",
            help="Also put the plaintext into the mailbox, for mail to travel in clear.",
        ),
    ] = False
    nested: Annotated[
        bool,
        typer.Option(
            "--nested",
            help="With --in-place: also open encrypted forwards and layers in their places.",
        ),
    ] = False
    wrapped: Annotated[
        bool,
        typer.Option(
            "--wrapped",
            help="With --in-place: also open mail to which a mailing list added its footer.",
        ),
    ] = False
    restore_subject: options.RestoreSubject = False

    def added_to(self, run: Decrypt) -> Decrypt:
        """The same run with these."""
        return replace(
            run,
            in_place=self.in_place,
            nested=self.nested,
            wrapped=self.wrapped,
            restore_subject=self.restore_subject,
        )


def decrypt(
    mailbox: options.Mailbox,
    *,
    keys: options.Keys,
    passphrases: options.PassphraseOptions,
    opening: options.OpeningOptions,
    parts: options.ReaderOptions,
    sealing: options.SealingOptions,
    job: Job = None,
    in_place: InPlaceOptions,
    dry_run: options.DryRun = False,
    undone: UndoneOptions,
    run: options.RunOptions,
    manners: options.RunManners,
) -> None:
    """Before the move: write a plaintext checkpoint of all that opens.

    The mailbox stays as it is, unless with --in-place. Whatever interrupts the
    run, the same command goes on where it stopped; run again later, it takes
    just what is new.
    """
    from sectool import jobs
    from sectool.cli.session import run_job
    from sectool.cli.words.render import show

    spec = jobs.Decrypt(
        mailbox=mailbox,
        job=job,
        trust_group=passphrases.trust_group,
        keys=opening.added_to(passphrases.of(keys)),
        released=opening.released,
        dry_run=dry_run,
    )
    spec = sealing.added_to(in_place.added_to(parts.added_to(spec)), passphrases)
    spec = run.added_to(undone.added_to(spec))
    show(run_job(spec, manners), manners)
