"""``sectool verify``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from sectool.cli import afterwards, options
from sectool.cli.endings import ending
from sectool.cli.groups import spread
from sectool.cli.paths import path_option
from sectool.cli.undone import Acknowledge

if TYPE_CHECKING:
    from sectool.summary import Summary

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

    def fields(self, passphrases: options.PassphraseOptions) -> dict[str, Any]:
        """The fields of a ``JobSpec`` that these options give."""
        asked = {
            "deep": self.deep,
            "retire": passphrases.of_any(self.retire),
            "give_up": self.give_up,
        }
        return {**afterwards.OpeningKeys.fields(self, passphrases), **asked}


Places = Annotated[
    list[str],
    typer.Argument(
        metavar="DIR... [MAILBOX]",
        help="Job directory, and where its mailbox is now; or several job directories.",
    ),
]


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command(epilog=ending("verify", EXAMPLE))(spread(verify))


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
    manners: options.Manners,
) -> None:
    """Prove the mailbox against the job: what is there, lost or new.

    The mailbox stays as it is. With --verify-keys every replaced message is
    opened with the new key and compared with what was encrypted. With --retire
    the mail of the mailbox is looked through for what may need an old key; what
    lies elsewhere is not.
    """
    fields = {
        "dry_run": dry_run,
        "partial": partial,
        "acknowledge": acknowledge,
        "accept_unproven": accept_unproven,
        "trust_group": passphrases.trust_group,
        **keys.fields(passphrases),
        **run.fields,
    }
    _verify(places, fields, manners)


def _verify(places: Sequence[str], fields: dict[str, Any], manners: options.Manners) -> NoReturn:
    from sectool import jobs
    from sectool.cli.many_jobs import see_each, show_many
    from sectool.cli.render import show
    from sectool.cli.session import run_job

    mailbox: str | None = None
    directories = [Path(place) for place in places]
    if len(places) == 2 and not jobs.is_job(directories[1]):
        # As it was written: it may be a URL.
        directories, mailbox = directories[:1], places[1]

    def look(directory: Path) -> Summary:
        spec = jobs.JobSpec(jobs.Operation.VERIFY, mailbox, job=directory, **fields)
        return run_job(spec, manners)

    if len(directories) > 1:
        show_many(see_each(directories, look), manners, looks_only=False)
    show(look(directories[0]), manners)
