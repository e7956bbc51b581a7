"""Options that mean the same wherever they stand."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sectool.errors import UsageError

if TYPE_CHECKING:
    from sectool.cms import Profile
    from sectool.jobs import Selection
    from sectool.keys import KeySpecification

Mailbox = Annotated[
    str, typer.Argument(metavar="MAILBOX", help="Path of the mailbox, or a URL: maildir:PATH.")
]
Keys = Annotated[
    list[Path],
    typer.Option(
        "--keys",
        metavar="PATH",
        help="PKCS#12, PEM or DER file, or a directory of them. Repeat for more.",
    ),
]
PassphraseFile = Annotated[
    Path | None,
    typer.Option("--passphrase-file", metavar="FILE", help="File with the keys' passphrase."),
]
Passphrases = Annotated[
    Path | None,
    typer.Option("--passphrases", metavar="CSV", help="File with rows: key file name, passphrase."),
]
Folder = Annotated[
    str, typer.Option("--folder", metavar="GLOB", help="Only folders whose name matches.")
]
Since = Annotated[
    datetime | None,
    typer.Option(
        "--since", metavar="DATE", formats=["%Y-%m-%d"], help="Only mail received on or after."
    ),
]
Before = Annotated[
    datetime | None,
    typer.Option(
        "--before", metavar="DATE", formats=["%Y-%m-%d"], help="Only mail received before."
    ),
]
Limit = Annotated[
    int | None,
    typer.Option("--limit", metavar="N", min=0, help="Work on at most N messages."),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        metavar="N",
        min=0,
        max=256,
        help="Worker processes; 0: none. Default: one for each processor, 8 at most.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]
Verbose = Annotated[
    int, typer.Option("--verbose", "-v", count=True, help="Say more; -vv: also where errors arose.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Do everything but write; show what it would take.")
]


def selection(
    folder: str, since: datetime | None, before: datetime | None, limit: int | None
) -> Selection:
    """Builds the selection; dates are days in the local time zone."""
    from sectool.jobs import Selection

    return Selection(
        folder=folder,
        since=since and since.astimezone(),
        before=before and before.astimezone(),
        limit=limit,
    )


def key_specification(
    paths: list[Path], passphrase_file: Path | None, passphrases: Path | None
) -> KeySpecification | None:
    """Names the key history; None where no keys were given."""
    from sectool.keys import KeySpecification

    if not paths:
        return None
    return KeySpecification(tuple(paths), passphrase_file, passphrases)


def passphrase_sources(passphrase_file: Path | None, passphrases: Path | None) -> KeySpecification:
    """Where passphrases come from, for files that are named elsewhere."""
    from sectool.keys import KeySpecification

    return KeySpecification((), passphrase_file, passphrases)


def profile(name: str) -> Profile:
    """The encryption profile of this name."""
    from sectool.cms import Profile

    try:
        return Profile(name)
    except ValueError:
        names = ", ".join(profile.value for profile in Profile)
        raise UsageError(f"there is no profile {name!r}", hint=f"it is one of: {names}") from None


def fingerprints(texts: list[str]) -> frozenset[str]:
    """SHA-256 fingerprints, with or without colons, as lower-case hexadecimal."""
    return frozenset(text.replace(":", "").lower() for text in texts)


def mailbox_not_certificate(mailbox: str | None) -> str | None:
    """Refuses a second certificate that slipped into the place of the mailbox."""
    from sectool.keys import looks_like_key_or_certificate

    if mailbox is not None and looks_like_key_or_certificate(Path(mailbox)):
        raise UsageError(
            f"{mailbox} is a key or certificate, not a mailbox", hint="repeat --to before each one"
        )
    return mailbox
