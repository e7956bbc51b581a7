"""Brings messages into the folder that is open (APPEND: RFC 9051 section 6.3.12, RFC 3502).

Bytes of messages are only sent once the server has asked for them: one that refuses a flag or
a date before it has read the message may take the lines of that for commands. Without being
asked for they go where it took the same flags in the same folder over this very connection.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import field
from datetime import UTC, datetime

from sectool import durable
from sectool.crashpoints import crashpoint
from sectool.errors import MessageError, NoSpace, ServerUnavailable
from sectool.mailbox.imap.connection import Connection, Refused
from sectool.mailbox.imap.encoder import encode
from sectool.mailbox.imap.fetched import LAST_UID, Collected, date_text
from sectool.mailbox.imap.opening import OpenFolder, command
from sectool.mailbox.imap.reader import Status
from sectool.message import COPY_BLOCK, Content, Flags
from sectool.values import dataclass

TOGETHER = 64
"""Messages that come by one command."""

LARGEST_TOGETHER = 256 * 1024
"""Bytes of each of them."""

BYTES_TOGETHER = 4 * 1024 * 1024
"""Bytes of all of them, unless one has more."""

_YEARS = range(1971, 2037)
"""Of dates that no server is known to refuse."""

_KEYWORD = re.compile(r"[!#$&'+,\-./0-9:;<=>?@A-Z\[^_`a-z|}~]+")
_APPENDED = re.compile(r"APPENDUID (\d{1,10}) ([\d:,]{1,2000})", re.IGNORECASE)
_NO_ROOM = re.compile("quota|mailbox is full|no space", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message as it is sent: its lines end with CRLF."""

    content: Content
    size: int
    """Bytes that are sent."""
    flags: Flags
    date: datetime

    @classmethod
    def of(cls, content: Content, flags: Flags, date: datetime) -> Outgoing:
        """Looks through the message.

        Raises:
            MessageError: it holds what cannot be sent, or a flag has no name that can be.
        """
        size = 0
        for block in _with_crlf(content):
            if b"\0" in block:
                raise MessageError("it holds a NUL, which no IMAP server takes")
            size += len(block)
        for word in flags.keywords:
            if not _KEYWORD.fullmatch(word):
                raise MessageError(f"its keyword {word!a} cannot be sent")
        return cls(content, size, flags, date)

    @property
    def is_small(self) -> bool:
        return self.size <= LARGEST_TOGETHER and self.date.astimezone(UTC).year in _YEARS

    def head(self, *, is_awaited: bool) -> bytes:
        """What announces it."""
        last = "" if is_awaited else "+"
        return f' ({self.flags}) "{date_text(self.date)}" {{{self.size}{last}}}\r\n'.encode("ascii")

    def blocks(self) -> Iterator[bytes]:
        """Its bytes."""
        return _with_crlf(self.content)


def _with_crlf(content: Content) -> Iterator[bytes]:
    ends_with_cr = False
    with durable.explained("read a new message"), content.open() as stream:
        while block := stream.read(COPY_BLOCK):
            before = b"\r" if ends_with_cr else b""
            lines = (before + block).replace(b"\r\n", b"\n")
            yield lines.replace(b"\n", b"\r\n")[len(before) :]
            ends_with_cr = block.endswith(b"\r")


@dataclass(slots=True)
class Appender:
    """What one connection knows of the folders that messages are brought into."""

    connection: Connection
    _taken: dict[tuple[bytes, Flags], Flags] = field(default_factory=dict)
    """Of the flags that it took in a folder, those that it forgot meanwhile."""
    keeps_flags: bool = False
    """As ``Profile`` has it."""
    is_one_by_one: bool = False
    """It takes no more than one message at once."""

    def append(
        self, folder: OpenFolder, wire: bytes, messages: Sequence[Outgoing]
    ) -> Iterator[list[int | MessageError | None]]:
        """Appends messages, some at a time.

        Args:
            folder: is open to be written.
            wire: its name on the wire.
            messages: go into it in this order.

        Yields:
            Of the next messages the UIDs, or why they were refused; None: the server took them,
            and does not say where they are.

        Raises:
            NoSpace: a quota is full.
            ServerUnavailable: the connection is lost, and perhaps the answer to what was done.
        """
        for several in self._batches(wire, messages):
            answers = self._all(folder, wire, several) if len(several) > 1 else None
            if answers is not None:
                yield answers
                continue
            for message in several:
                yield [self._one(folder, wire, message)]

    def _batches(self, wire: bytes, messages: Sequence[Outgoing]) -> Iterator[list[Outgoing]]:
        batch: list[Outgoing] = []
        size = 0
        for message in messages:
            can_join = self._can_join(wire, message)
            if batch and (
                not can_join
                or not self._can_join(wire, batch[0])
                or len(batch) >= TOGETHER
                or size + message.size > BYTES_TOGETHER
            ):
                yield batch
                batch, size = [], 0
                can_join = self._can_join(wire, message)  # its flags may be known by now
            batch.append(message)
            size += message.size
        if batch:
            yield batch

    def _can_join(self, wire: bytes, message: Outgoing) -> bool:
        if self.is_one_by_one or not {"MULTIAPPEND", "LITERAL+"} <= self.connection.capabilities:
            return False
        return message.is_small and self._taken.get((wire, message.flags)) == Flags()

    def _all(
        self, folder: OpenFolder, wire: bytes, messages: Sequence[Outgoing]
    ) -> list[int | MessageError | None] | None:
        """All or none; None: none, and each is to be tried alone."""
        try:
            status = self._send(wire, messages, is_awaited=False)
        except Refused as refused:
            if not self.connection.is_open:
                self.is_one_by_one = True
                raise ServerUnavailable(f"the server knows no such command: {refused}") from refused
            return None
        return list(_uids(status, folder, len(messages)))

    def _one(self, folder: OpenFolder, wire: bytes, message: Outgoing) -> int | MessageError | None:
        try:
            status = self._send(wire, [message], is_awaited=True)
        except Refused as refused:
            return self._refused(folder, refused.status)
        (uid,) = _uids(status, folder, 1)
        is_it = uid is not None and self._remind(folder.name, wire, message, uid)
        return uid if is_it else None

    def _send(self, wire: bytes, messages: Sequence[Outgoing], *, is_awaited: bool) -> Status:
        crashpoint("imap.append.before")
        status = self.connection.pour(_command(wire, messages, is_awaited=is_awaited))
        crashpoint("imap.append.after")
        return status

    def _refused(self, folder: OpenFolder, status: Status) -> MessageError:
        code = status.code.upper().partition(" ")[0]
        if code == "OVERQUOTA" or (not code and _NO_ROOM.search(status.text)):
            raise NoSpace(
                f"the server has no room for more in the folder {folder.name}: {status.text}",
                hint="let mail be removed, or the quota be raised; the same command goes on",
            )
        if not self.connection.is_open:
            return MessageError(f"the server does not understand how it is sent: {status.text}")
        return MessageError(f"the server does not take it: {status.text or status.code}")

    def _remind(self, name: str, wire: bytes, message: Outgoing, uid: int) -> bool:
        """Looks whether the first message with some flags has them; sets those that are forgotten.

        Exchange forgets that a message is flagged.

        Returns:
            Whether it may be the message.
        """
        forgotten = self._taken.get((wire, message.flags))
        if self.keeps_flags:
            self._taken[wire, message.flags] = forgotten = Flags()
        if forgotten == Flags():
            return True
        told = Collected({uid})
        command(self.connection, name, f"UID FETCH {uid} (UID FLAGS INTERNALDATE)", take=told.take)
        found = told.messages.get(uid)
        if found is None or not found.tells_flags:
            return True
        if found.internal_date != message.date:
            return False
        if forgotten is None:
            forgotten = Flags(
                message.flags.system - found.flags.system,
                _lacking(message.flags.keywords, found.flags.keywords),
            )
            self._taken[wire, message.flags] = forgotten
        if forgotten != Flags():
            command(self.connection, name, f"UID STORE {uid} +FLAGS.SILENT ({forgotten})")
        return True


def _lacking(wanted: frozenset[str], found: frozenset[str]) -> frozenset[str]:
    folded = {word.lower() for word in found}
    return frozenset(word for word in wanted if word.lower() not in folded)


def _command(
    wire: bytes, messages: Sequence[Outgoing], *, is_awaited: bool
) -> Iterator[tuple[Iterable[bytes], bool]]:
    *before, last = encode("APPEND", (wire,))
    for piece in before:
        yield [piece], True
    begun: Iterable[bytes] = [last[:-2]]
    for message in messages:
        yield itertools.chain(begun, [message.head(is_awaited=is_awaited)]), is_awaited
        begun = message.blocks()
    yield itertools.chain(begun, [b"\r\n"]), False


def _uids(status: Status, folder: OpenFolder, count: int) -> list[int | None]:
    """Where messages came, in order (RFC 4315 section 3); None: it does not say credibly."""
    told = _APPENDED.match(status.code)
    uids: list[int] = []
    for part in told[2].split(",") if told and int(told[1]) == folder.validity else ():
        first, _, last = part.partition(":")
        if first.isdigit() and (last or first).isdigit():
            uids += range(int(first), min(int(last or first), int(first) + count) + 1)
    is_credible = (
        len(uids) == count
        and all(folder.uid_next <= uid <= LAST_UID for uid in uids)
        and all(one < other for one, other in itertools.pairwise(uids))
    )
    if not is_credible:
        return [None] * count
    folder.uid_next = uids[-1] + 1
    return list(uids)
