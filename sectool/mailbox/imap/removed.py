"""Looks whether a server keeps what is removed, and shows it as mail in another folder.

Dovecot does with ``lazy_expunge``: all that is replaced would be there once more, encrypted for
the old keys.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping

from sectool.errors import ReadOnlyMailbox
from sectool.mailbox.access import Ahead
from sectool.mailbox.imap.connection import Connection, Refused
from sectool.mailbox.imap.folders import Folder
from sectool.mailbox.imap.reader import Data, Numbers, Status
from sectool.message import MessageRef, StoredMessage
from sectool.values import dataclass

MOST_WATCHED = 200
"""Messages of one folder that are looked at."""

Next = tuple[int, int]
"""UIDVALIDITY and UIDNEXT of a folder."""


@dataclass(slots=True)
class Watch:
    """A message that is removed, and what the folders were before."""

    ref: MessageRef
    digest: str
    """SHA-256 of its bytes."""
    before: Mapping[str, Next]
    is_over: bool = False

    def grown(self, after: Mapping[str, Next]) -> Iterator[tuple[str, int]]:
        """Folders to which mail came meanwhile, with the first UID that it can have."""
        for name, (validity, following) in after.items():
            known_validity, first = self.before.get(name, (validity, 1))
            if known_validity != validity:
                first = 1
            if following > first:
                yield name, first

    def check(self, name: str, came: Ahead) -> None:
        """Holds that the message is not among those that came to a folder.

        Raises:
            ReadOnlyMailbox: it is.
        """
        for copy in came.copies.values():
            if isinstance(copy, StoredMessage) and copy.content.digest == self.digest:
                raise ReadOnlyMailbox(
                    f"the server keeps what is removed: it is in the folder {name} again",
                    hint=f"switch that off for the run (Dovecot: lazy_expunge), or"
                    f" --skip-folder '{name}' if old mail may stay there",
                )


def next_uids(connection: Connection, folders: Iterable[Folder]) -> dict[str, Next]:
    """UIDVALIDITY and UIDNEXT of folders, by name; of those that the server tells of."""
    told: dict[str, Next] = {}
    for folder in list(folders):
        values: dict[str, int] = {}

        def take(response: Data | Numbers | Status, values: dict[str, int] = values) -> None:
            if isinstance(response, Data) and response.name == "STATUS":
                items = response.values[-1] if response.values else None
                words = [one for one in items if isinstance(one, str)] if items else []
                values.update(zip(words[::2], map(_number, words[1::2]), strict=False))

        with contextlib.suppress(Refused):
            connection.ask("STATUS", folder.wire, "(UIDVALIDITY UIDNEXT)", take=take)
        validity, following = values.get("UIDVALIDITY", 0), values.get("UIDNEXT", 0)
        if validity and following:
            told[folder.name] = validity, following
    return told


def _number(word: str) -> int:
    return int(word) if word.isascii() and word.isdigit() and len(word) <= 10 else 0
