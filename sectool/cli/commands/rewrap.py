"""``sectool rewrap``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sectool.cli import options
from sectool.cli.options import afterwards
from sectool.cli.options.paths import one_of, path_option
from sectool.cli.options.undone import UndoneOptions
from sectool.errors import UsageError
from sectool.values import dataclass

if TYPE_CHECKING:
    from sectool.jobs import Reason

EXAMPLE = "Example: sectool rewrap ~/Maildir --keys ~/old --to new.pem --job ~/renewal"

Job = Annotated[
    Path | None,
    path_option("--job", metavar="DIR", help="Job directory; made when it is not there."),
]


@dataclass(frozen=True, eq=False, repr=False)
class ExchangeOptions:
    """When new recipients are enough, and what is made of messages they are not enough for."""

    or_reencrypt: Annotated[
        bool,
        typer.Option(
            "--or-reencrypt", help="Encrypt anew, in memory, what must not stay encrypted as it is."
        ),
    ] = False
    reason_name: Annotated[
        str,
        typer.Option(
            "--reason",
            metavar="WORD",
            help="superseded, affiliation-changed, cessation-of-operation; key-compromise is"
            " refused.",
            autocompletion=one_of("superseded", "affiliation-changed", "cessation-of-operation"),
        ),
    ] = "superseded"
    shared: options.Shared = False

    @property
    def reason(self) -> Reason:
        """Why recipients are exchanged."""
        from sectool.jobs import Reason

        try:
            return Reason(self.reason_name)
        except ValueError:
            words = ", ".join(Reason)
            raise UsageError(
                f"there is no reason {self.reason_name!r}", hint=f"it is one of: {words}"
            ) from None


def rewrap(
    mailbox: options.Mailbox,
    *,
    keys: options.Keys,
    passphrases: options.PassphraseOptions,
    opening: options.OpeningOptions,
    parts: options.PartOptions,
    job: Job = None,
    certificates: options.NewCertificates,
    exchange: ExchangeOptions,
    verify_keys: afterwards.VerifyKeys = [],  # noqa: B006  # typer copies it
    dry_run: options.DryRun = False,
    undone: UndoneOptions,
    run: options.RunOptions,
    manners: options.RunManners,
) -> None:
    """Exchange the recipients of encrypted mail; no plaintext on disk.

    Its content stays as it is encrypted. The same command resumes.
    """
    from sectool import jobs
    from sectool.cli.session import run_job
    from sectool.cli.words.render import show

    spec = jobs.Rewrap(
        mailbox=options.not_certificate(mailbox),
        job=job,
        trust_group=passphrases.trust_group,
        keys=opening.added_to(passphrases.of(keys)),
        released=opening.released,
        part_selection=parts.selection,
        shared=exchange.shared,
        or_reencrypt=exchange.or_reencrypt,
        reason=exchange.reason,
        verify_keys=passphrases.of_any(verify_keys),
        dry_run=dry_run,
    )
    spec = run.added_to(undone.added_to(certificates.added_to(spec)))
    show(run_job(spec, manners), manners)
