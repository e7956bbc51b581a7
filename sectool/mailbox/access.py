"""What a mailbox is opened by, and what workers read that may not open it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sectool.errors import MessageError, MessageVanished
from sectool.hardening import Secret
from sectool.message import IN_MEMORY, BytesContent, MessageRef, StoredMessage
from sectool.values import dataclass

if TYPE_CHECKING:
    from sectool.mailbox.base import Mailbox


@dataclass(frozen=True, slots=True)
class MailboxSpecification:
    """How to open a mailbox again in another process; holds no secret."""

    kind: str
    """``maildir``; others as stores are added."""
    location: str
    """Absolute path, or URL without password."""

    @property
    def url(self) -> str:
        """``kind:location``, as the command line takes it."""
        return f"{self.kind}:{self.location}"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a store lets somebody in by."""

    user: str
    """Whose secret it is."""
    secret: Secret
    acts_for: str = ""
    """Whose mailbox it is, where that is not the user's own."""
    is_token: bool = False
    """An OAuth token instead of a password."""
    renew: Callable[[], Secret] | None = None
    """Gives the secret anew for each connection."""

    def renewed(self) -> Credentials:
        """What is good for a new connection."""
        return self if self.renew is None else replace(self, secret=self.renew())


@dataclass(frozen=True, slots=True)
class Account:
    """How a server is reached and judged, and who is let in; holds no secret."""

    user: str = ""
    """Whose mailbox it is; empty where its URL says it."""
    authuser: str = ""
    """Who logs in for them; empty: they do themselves."""
    password_file: Path | None = None
    password_command: str = ""
    token_command: str = ""
    """Prints an OAuth token; empty: a password lets in."""
    ca_file: Path | None = None
    """Certificates of authorities; None: those of the system."""
    insecure: bool = False
    """Neither a certificate nor TLS is asked for, of a server on this machine."""
    patience: float = 1800.0
    """Seconds that a run waits where a server asks it to."""
    skip_folders: tuple[str, ...] = ()
    """Shell patterns of folders that are left."""
    connections: int = 2
    """To the server at once: one that lists and writes, the others fetch ahead."""
    drop_keywords: bool = False
    """Keywords that a folder cannot keep may be lost."""

    @property
    def words(self) -> tuple[str, ...]:
        """Options by which the next command reaches the same account; holds no secret."""
        named = {
            "--authuser": self.authuser,
            "--password-file": self.password_file,
            "--password-command": self.password_command,
            "--token-command": self.token_command,
            "--ca-file": self.ca_file,
        }
        pairs = ((option, str(value)) for option, value in named.items() if value)
        insecure = ("--insecure",) if self.insecure else ()
        return (*(word for pair in pairs for word in pair), *insecure)


class MessageHead(NamedTuple):
    """How a message begins."""

    raw: bytes
    size: int
    """Bytes of the whole message."""


class MessageSource(ABC):
    """What messages are read from."""

    @abstractmethod
    def fetch(self, ref: MessageRef) -> StoredMessage:
        """One message with its bytes.

        Raises:
            MessageVanished: no such copy.
            MessageError: it cannot be read; costs this message only.
        """

    def head(self, ref: MessageRef, most: int) -> MessageHead:
        """The first bytes of one message; a store may have a quicker way to them.

        Args:
            ref: the message.
            most: bytes at most.

        Raises:
            MessageVanished: no such copy.
            MessageError: it cannot be read; costs this message only.
        """
        content = self.fetch(ref).content
        with content.open() as stream:
            return MessageHead(stream.read(most), content.size)

    def close(self) -> None:
        """Lets go of what it holds open; further calls are a bug."""
        return


@dataclass(slots=True)
class Ahead(MessageSource):
    """Messages that were fetched for whoever reads them, until it is closed.

    It travels to workers, which find large ones in files; closed is it where it was fetched.
    """

    copies: dict[MessageRef, StoredMessage | MessageHead | MessageError] = field(
        default_factory=dict
    )
    release: list[Callable[[], object]] = field(default_factory=list)
    """What removes the files."""

    def __reduce__(self) -> tuple[object, ...]:
        return Ahead, (self.copies,)

    def fetch(self, ref: MessageRef) -> StoredMessage:
        found = self._found(ref)
        assert isinstance(found, StoredMessage)
        if found.content.size > IN_MEMORY or isinstance(found.content, BytesContent):
            return found
        with found.content.open() as stream:
            return replace(found, content=BytesContent(stream.read()))

    def head(self, ref: MessageRef, most: int) -> MessageHead:
        found = self._found(ref)
        return found if isinstance(found, MessageHead) else super().head(ref, most)

    @property
    def size(self) -> int:
        """Bytes of all."""
        return sum(
            found.content.size if isinstance(found, StoredMessage) else len(found.raw)
            for found in self.copies.values()
            if not isinstance(found, MessageError)
        )

    def _found(self, ref: MessageRef) -> StoredMessage | MessageHead:
        found = self.copies.get(ref, MessageVanished("the message is no longer there"))
        if isinstance(found, MessageError):
            raise found
        return found

    def close(self) -> None:
        while self.release:
            self.release.pop()()


@dataclass(frozen=True, slots=True)
class Access:
    """All that opens a mailbox, also in a worker, which is given it as it starts (``Secret``)."""

    specification: MailboxSpecification
    credentials: Credentials | None = None
    """None: the store asks for none."""
    connections: int | None = None
    """As ``Capabilities`` has it."""
    account: Account | None = None
    """Of a store on a server."""
    opened: Mailbox | None = field(default=None, repr=False, compare=False)
    """Where the run has it open; a worker is never given that."""

    def __reduce__(self) -> tuple[object, ...]:
        # A worker that may not open the mailbox need not know how.
        credentials = None if self.is_of_run_alone else self.credentials
        return Access, (self.specification, credentials, self.connections, self.account)

    @property
    def is_of_run_alone(self) -> bool:
        """Whether no worker opens the mailbox: what it works on is fetched ahead for it."""
        return self.connections == 1

    def workers(self, wanted: int) -> int:
        """How many worker processes there may be beside the run itself."""
        if self.connections is None or self.is_of_run_alone:
            return wanted
        return min(wanted, max(self.connections - 1, 0))
