"""Opens one folder on a connection: EXAMINE to read it, SELECT where it is to be written."""

from __future__ import annotations

from dataclasses import field

from sectool.errors import MailboxError, MessageError
from sectool.mailbox.imap.connection import Connection, Refused
from sectool.mailbox.imap.fetched import LAST_UID
from sectool.mailbox.imap.folders import Folder
from sectool.mailbox.imap.reader import Data, Numbers, Status
from sectool.message import Flags
from sectool.values import dataclass

ANY_KEYWORD = "\\*"


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


def _number(text: str) -> int:
    is_number = text.isascii() and text.isdigit() and len(text) <= 10
    return int(text) if is_number and 0 < int(text) <= LAST_UID else 0
