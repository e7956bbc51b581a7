"""``sectool verify``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from sectool.cli import options
from sectool.cli.options import afterwards
from sectool.cli.options.paths import path_option
from sectool.cli.options.undone import Acknowledge
from sectool.values import dataclass

if TYPE_CHECKING:
    from sectool.jobs import Verify
    from sectool.summary import VerifySummary

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
        path_option(
            "--retire",
            metavar="KEYS",
            help="Old keys: say of each whether mail here may need it. Repeat for more.",
        ),
    ] = field(default_factory=list)
    give_up: Annotated[
        Path | None,
        path_option(
            "--give-up",
            metavar="FILE",
            help="With --retire: messages you do without, the key of each, and why.",
        ),
    ] = None

    def added_to(self, run: Verify, passphrases: options.PassphraseOptions) -> Verify:
        """The same run with these."""
        return replace(
            run,
            verify_keys=passphrases.of_any(self.verify_keys),
            seal_keys=passphrases.of_any(self.seal_keys),
            deep=self.deep,
            retire=passphrases.of_any(self.retire),
            give_up=self.give_up,
        )


Places = Annotated[
    list[str],
    typer.Argument(
        metavar="DIR... [MAILBOX]",
        help="Job directory, and where its mailbox is now; or several job directories.",
    ),
]


def verify(
    places: Places,
    *,
    keys: KeyOptions,
    accept_unproven: afterwards.AcceptUnproven = False,
    partial: afterwards.Partial = False,
    passphrases: options.PassphraseOptions,
    dry_run: options.DryRun = False,
    acknowledge: Acknowledge = None,
    run: options.RunOptions,
    manners: options.RunManners,
) -> None:
    """Prove the mailbox against the job: what is there, lost or new.

    The mailbox stays as it is. With --verify-keys every replaced message is
    opened with the new key and compared with what was encrypted. With --retire
    the mail of the mailbox is looked through for what may need an old key; what
    lies elsewhere is not.
    """
    from sectool import jobs

    directories = [Path(place) for place in places]
    mailbox: str | None = None
    if len(places) == 2 and not jobs.is_job(directories[1]):
        # As it was written: it may be a URL.
        directories, mailbox = directories[:1], places[1]
    spec = jobs.Verify(
        mailbox=mailbox,
        job=directories[0],
        trust_group=passphrases.trust_group,
        accept_unproven=accept_unproven,
        partial=partial,
        dry_run=dry_run,
        acknowledge=acknowledge,
    )
    _verify(run.added_to(keys.added_to(spec, passphrases)), directories, manners)


def _verify(spec: Verify, directories: Sequence[Path], manners: options.RunManners) -> NoReturn:
    from sectool.cli.session import run_job
    from sectool.cli.words.many_jobs import see_each, show_many
    from sectool.cli.words.render import show

    def look(directory: Path) -> VerifySummary:
        return run_job(replace(spec, job=directory), manners)

    if len(directories) > 1:
        show_many(see_each(directories, look), manners, looks_only=False)
    show(look(directories[0]), manners)
