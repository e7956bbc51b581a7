"""A store that asks for a password, lets few in at once and notes who came and went.

It is opened wherever this module is imported, so in workers as well.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from sectool.errors import LoginRefused
from sectool.jobs.work.work import MailboxContext, WorkKind
from sectool.mailbox import Access, Mailbox
from sectool.mailbox.recognise import STORES
from tests.support.one_file import ImapLike

KIND = "guarded"
PASSWORD = "correct horse battery"
CONNECTIONS = 3


class Guarded(ImapLike):
    """An account with a door."""

    def __init__(self, access: Access) -> None:
        given = access.credentials
        if given is None or given.secret.reveal() != PASSWORD:
            raise LoginRefused("the password is not right")
        super().__init__(access.specification)
        self.capabilities = replace(self.capabilities, connections=CONNECTIONS)
        self._note("came")

    def close(self) -> None:
        self._note("went")
        super().close()

    def _note(self, what: str) -> None:
        place = Path(self.specification.location)
        with place.with_name("door").open("a", encoding="ascii") as door:
            door.write(f"{what} {os.getpid()}\n")


STORES[KIND] = Guarded


def door(location: Path) -> list[tuple[str, int]]:
    """Who came and went, by the numbers of their processes."""
    lines = location.with_name("door").read_text(encoding="ascii").splitlines()
    return [(what, int(process)) for what, process in map(str.split, lines)]


@dataclass(frozen=True)
class Argument:
    """Of a worker."""

    mailbox: Access


@dataclass(frozen=True)
class Task:
    """Something that is asked of it."""

    number: int
    size: int = 1_500_000


def count_mail(context: MailboxContext, task: Task) -> Counter[str]:
    """How much there is in each folder."""
    mailbox = context.mailbox
    assert isinstance(mailbox, Mailbox)
    return Counter({folder: len(list(mailbox.walk(folder))) for folder in mailbox.folders()})


COUNT_MAIL = WorkKind(MailboxContext, count_mail)
