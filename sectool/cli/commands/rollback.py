"""``sectool rollback``."""

from __future__ import annotations

from typing import Annotated

import typer

from sectool.cli import options
from sectool.cli.options import afterwards
from sectool.cli.options.paths import one_of

EXAMPLE = "Example: sectool rollback ~/move"

ToStage = Annotated[
    str,
    typer.Option(
        "--to-stage",
        metavar="STAGE",
        help="original: what was there first. decrypted: the plaintext of a job in place.",
        autocompletion=one_of("original", "decrypted"),
    ),
]


def rollback(
    directory: afterwards.Directory,
    mailbox: afterwards.Mailbox = None,
    *,
    to_stage: ToStage = "original",
    partial: afterwards.Partial = False,
    seal_keys: options.SealKeys = [],  # noqa: B006  # typer copies it
    passphrases: options.PassphraseOptions,
    dry_run: options.DryRun = False,
    run: options.RunOptions,
    manners: options.RunManners,
) -> None:
    """Put the originals back.

    With the flags and in the folders of now. Mail that was deleted since stays
    deleted. The mail needs the old keys again, and encrypt is closed on this
    job until decrypt was run once more.
    """
    from sectool import jobs
    from sectool.cli.session import run_job
    from sectool.cli.words.render import show

    spec = jobs.Rollback(
        mailbox=mailbox,
        job=directory,
        trust_group=passphrases.trust_group,
        dry_run=dry_run,
        partial=partial,
        to_stage=options.stage(to_stage),
        seal_keys=passphrases.of_any(seal_keys),
    )
    show(run_job(run.added_to(spec), manners), manners)
