"""One folder on a connection: EXAMINE to read it, SELECT where it is to be written; commands."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import field
from typing import TypeAlias

from sectool.errors import MailboxError, MessageError, NoSpace, ReadOnlyMailbox, ServerUnavailable
from sectool.mailbox.imap.connection import Connection, Refused, Take, nothing
from sectool.mailbox.imap.download import uid_of, validity_of
from sectool.mailbox.imap.encoder import uid_set
from sectool.mailbox.imap.fetched import LAST_UID, Collected, Fetched
from sectool.mailbox.imap.folders import Folder
from sectool.mailbox.imap.reader import BadAnswer, Data, Numbers, Status
from sectool.message import Flags, MessageRef
from sectool.values import dataclass

ANY_KEYWORD = "\\*"

FULL = "what the server keeps of removed mail may be full (Exchange: Recoverable Items)"

_NO_ROOM = re.compile("quota|recoverable", re.IGNORECASE)


class NoSuchFolder(MailboxError):
    """It is not there, or not any more."""


@dataclass(slots=True)
class OpenFolder:
    """A folder that is open on a connection, and what the server told of it then."""

    name: str
    for_writing: bool
    validity: int = 0
    """Its UIDVALIDITY."""
    uid_next: int = 1
    """No message that comes from now on has a lower UID."""
    permanent: frozenset[str] | None = None
    """Flags that stay, in lower case; None: the server does not say."""
    counts_changes: bool = False
    """Whether each change of flags has a number (RFC 7162)."""
    is_read_only: bool = False
    _codes: dict[str, str] = field(default_factory=dict)

    def take(self, response: Data | Numbers | Status) -> None:
        """Given each untagged response."""
        if isinstance(response, Status):
            name, _, value = response.code.partition(" ")
            self._codes[name.upper()] = value

    def settle(self) -> None:
        """Reads what was told.

        Raises:
            MailboxError: there is no UIDVALIDITY among it.
        """
        self.validity = _number(self._codes.get("UIDVALIDITY", ""))
        if not self.validity:
            raise MailboxError(f"the server tells no UIDVALIDITY of the folder {self.name}")
        self.uid_next = _number(self._codes.get("UIDNEXT", "")) or 1
        self.counts_changes = "HIGHESTMODSEQ" in self._codes
        if (told := self._codes.get("PERMANENTFLAGS")) is not None:
            self.permanent = frozenset(told.strip("()").lower().split())

    def not_kept(self, flags: Flags) -> Flags:
        """Which of these would be lost here."""
        if self.permanent is None:
            return Flags()
        system = {word for word in flags.system if f"\\{word}" not in self.permanent}
        if ANY_KEYWORD in self.permanent:
            return Flags(frozenset(system))
        keywords = {word for word in flags.keywords if word.lower() not in self.permanent}
        return Flags(frozenset(system), frozenset(keywords))


def open_folder(connection: Connection, folder: Folder, *, for_writing: bool) -> OpenFolder:
    """Opens it.

    Raises:
        MailboxError: there is none, or it may not be read, or not be written.
    """
    opened = OpenFolder(folder.name, for_writing)
    words: list[str | bytes] = ["SELECT" if for_writing else "EXAMINE", folder.wire]
    if for_writing and not {"CONDSTORE", "QRESYNC"}.isdisjoint(connection.capabilities):
        words.append("(CONDSTORE)")
    try:
        status = connection.ask(*words, take=opened.take)
    except Refused as refused:
        raise MailboxError(f"the folder {folder.name} cannot be opened: {refused}") from refused
    opened.is_read_only = status.code.upper() == "READ-ONLY"
    opened.settle()
    return opened


def kept(folder: OpenFolder, flags: Flags, *, drops_keywords: bool) -> Flags:
    """What a copy in a folder is given of these flags.

    Args:
        folder: is open to be written.
        flags: wanted.
        drops_keywords: whether keywords may be lost.

    Raises:
        MessageError: it would lose some that may not be.
    """
    lost = folder.not_kept(flags)
    if drops_keywords:
        flags = Flags(flags.system, flags.keywords - lost.keywords)
        lost = Flags(lost.system)
    if lost != Flags():
        hint = " (--drop-keywords does without)" if lost.keywords else ""
        raise MessageError(f"the folder {folder.name} cannot keep its flags {lost}{hint}")
    return flags


Open: TypeAlias = Callable[[str], tuple[Connection, OpenFolder]]
"""Opens a folder to be written, unless it is open."""


def command(
    server: Connection,
    name: str,
    words: str,
    *,
    take: Take = nothing,
    passes: re.Pattern[str] | None = None,
) -> Status:
    """A command in a folder that is open.

    Args:
        server: has it open.
        name: of the folder.
        words: of the command.
        take: given each untagged response.
        passes: code of a refusal that is an answer.

    Raises:
        ReadOnlyMailbox: the server refuses it.
        NoSpace: the same, since something is full.
        ServerUnavailable: it does not understand it, and the connection was dropped.
    """
    try:
        return server.ask(words, take=take)
    except Refused as refused:
        if passes is not None and passes.match(refused.status.code):
            return refused.status
        what = " ".join(words.split(" ")[:2])
        if not server.is_open:
            raise ServerUnavailable(f"the server does not understand {what}: {refused}") from None
        told = f"the server refuses {what} in the folder {name}: {refused}"
        if _NO_ROOM.search(f"{refused.status.code} {refused}"):
            raise NoSpace(told, hint=FULL) from None
        raise ReadOnlyMailbox(
            told,
            hint="give whoever logs in the rights of an owner there; the same command goes on",
        ) from None


def look(open_folder: Open, name: str, refs: Iterable[MessageRef]) -> dict[MessageRef, Fetched]:
    """Flags, dates and changes of those messages of a folder that are there."""
    try:
        server, folder = open_folder(name)
    except NoSuchFolder:
        return {}
    by_uid = {uid_of(ref): ref for ref in refs if validity_of(ref) == folder.validity}
    by_uid.pop(0, None)
    if not by_uid:
        return {}
    told = Collected(by_uid)
    # Before that a server may tell what was, not what others did meanwhile.
    command(server, name, "NOOP")
    items = f"(UID FLAGS INTERNALDATE{' MODSEQ' if folder.counts_changes else ''})"
    command(server, name, f"UID FETCH {uid_set(sorted(by_uid))} {items}", take=told.take)
    if not all(found.tells_flags for found in told.messages.values()):
        # None would be taken for all of them cleared.
        server.drop()
        raise BadAnswer("the server tells no flags of a message")
    return {by_uid[uid]: found for uid, found in told.messages.items()}


def _number(text: str) -> int:
    is_number = text.isascii() and text.isdigit() and len(text) <= 10
    return int(text) if is_number and 0 < int(text) <= LAST_UID else 0
