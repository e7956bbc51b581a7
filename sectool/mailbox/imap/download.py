"""Brings messages from one folder into files, a batch at a time, and goes on after a drop.

What a server says of a message's size is never believed: each part is asked for with its
length, and a message ends where a part is shorter than that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from pathlib import Path

from sectool.budget import Work, limit_of
from sectool.errors import LimitExceeded, MessageError, MessageVanished, ServerUnavailable
from sectool.mailbox.access import Ahead, MessageHead
from sectool.mailbox.imap.connection import Connection, Refused
from sectool.mailbox.imap.encoder import uid_set
from sectool.mailbox.imap.fetched import LAST_UID, Collected, Fetched
from sectool.mailbox.imap.reader import BadAnswer, Sink, Spooled
from sectool.mailbox.imap.spool import Spool
from sectool.message import COPY_BLOCK, FileContent, MessageRef, StoredMessage
from sectool.values import dataclass

PART = 1024 * 1024
"""Bytes of each message that a batch asks for; what is longer is gone on with alone."""

LARGE_PART = 8 * 1024 * 1024
"""Bytes of a large message that are asked for at once; a drop costs these."""

MOST_UNREADABLE = 10
"""Messages that a server may spoil the connection over, before it is left."""


@dataclass(slots=True)
class _Large:
    """A message that is longer than a part."""

    spool: Spool
    told: Fetched
    size: int
    """Bytes that are there."""


@dataclass(slots=True)
class Download:
    """Messages on their way, as far as they have come."""

    refs: tuple[MessageRef, ...]
    most: int | None
    """Bytes of each that are wanted; None: all."""
    directory: Path
    """Where files are made."""
    ahead: Ahead = field(default_factory=Ahead)
    """What has come."""
    substitute: bytes = b""
    """As ``Profile`` has it."""
    _spool: Spool | None = None
    _large: dict[MessageRef, _Large] = field(default_factory=dict)
    _alone: bool = False
    _spoiled: dict[MessageRef, int] = field(default_factory=dict)

    @property
    def progress(self) -> int:
        """Grows with what has come."""
        parts = sum(large.size for large in self._large.values())
        return len(self.ahead.copies) + len(self._large) + parts

    def waiting(self) -> list[MessageRef]:
        """What has not come yet."""
        return [ref for ref in self.refs if ref not in self.ahead.copies]

    def close(self) -> None:
        """Removes all files."""
        self.ahead.close()

    def give_up(self, refs: Sequence[MessageRef], error: MessageError) -> None:
        """Says of messages that they cannot be read."""
        self.ahead.copies.update(dict.fromkeys(refs, error))

    # --- from one folder, which is open ---------------------------------------------------

    def fetch(self, connection: Connection, refs: Sequence[MessageRef], validity: int) -> None:
        """Fetches messages of the folder that is open.

        Raises:
            ServerUnavailable: the connection is lost; the same call goes on on another one.
        """
        by_uid = {uid_of(ref): ref for ref in refs}
        new = {uid: ref for uid, ref in by_uid.items() if ref not in self._large}
        if new and not self._alone:
            try:
                self._batch(connection, new, validity)
            except BadAnswer:
                # One of them may be what the server cannot tell of.
                self._alone = True
                raise
        for uid, ref in by_uid.items():
            if ref not in self.ahead.copies:
                self._one(connection, uid, ref, validity)

    def _one(self, connection: Connection, uid: int, ref: MessageRef, validity: int) -> None:
        try:
            if ref not in self._large:
                self._batch(connection, {uid: ref}, validity)
            if (large := self._large.get(ref)) is not None:
                self._rest(connection, uid, ref, large, validity)
        except BadAnswer as error:
            self._spoiled[ref] = self._spoiled.get(ref, 0) + 1
            if self._spoiled[ref] > 1 and len(self._spoiled) <= MOST_UNREADABLE:
                self.give_up([ref], MessageError(f"its answer cannot be read: {error.message}"))
            raise
        if ref not in self.ahead.copies:
            self.give_up([ref], self._why_missing(connection, uid))

    def _why_missing(self, connection: Connection, uid: int) -> MessageError:
        there = Collected({uid})
        reason = ""
        try:
            connection.ask(f"UID FETCH {uid} (UID)", take=there.take)
        except Refused as refused:
            reason = refused.status.text
        if there.messages or reason:
            return MessageError(f"the server does not give it: {reason or 'it says nothing'}")
        return MessageVanished("the message is no longer there")

    def _batch(self, connection: Connection, by_uid: dict[int, MessageRef], validity: int) -> None:
        most = PART if self.most is None else self.most
        uids = sorted(by_uid)
        told = Collected(by_uid)
        sink = None
        if self.most is None:
            if self._spool is None:
                self._spool = Spool(self.directory)
                self.ahead.release.append(self._spool.close)
            sink = Sink(self._spool.file, most=PART, total=PART * (len(uids) + 1))
        items = f"(UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[]<0.{most}>)"
        # What came since is shown then, and what went is not: Cyrus goes on to give it
        # otherwise (RFC 2180 section 4.1). Awaited, since Dovecot would put it off.
        connection.ask("NOOP")
        try:
            command = f"UID FETCH {uid_set(uids)} {items}"
            connection.ask(command, take=told.take, sink=sink)
        except Refused:
            # Of one that it cannot read; each of the others is asked for alone.
            if not connection.is_open:
                raise BadAnswer("the server does not know the command to fetch") from None
        except ServerUnavailable:
            # What came before is whole, unless the server tells of a message in pieces.
            for uid, message in list(told.messages.items()):
                if message.internal_date is None:
                    del told.messages[uid]
            raise
        finally:
            if self._spool is not None:
                self._spool.flush()
            for uid, ref in by_uid.items():
                message = told.messages.get(uid, Fetched())
                if message.body is not None and message.origin == 0:
                    self._took(ref, message, validity)

    def _took(self, ref: MessageRef, message: Fetched, validity: int) -> None:
        body = message.body
        assert body is not None
        size = body.size if isinstance(body, Spooled) else len(body)
        if self.most is not None:
            raw = body if isinstance(body, bytes) else b""
            whole = size if size < self.most else max(size, message.size or 0)
            self.ahead.copies[ref] = MessageHead(raw[: self.most], whole)
            return
        assert self._spool is not None
        if isinstance(body, bytes):
            # As a quoted string, which a server may use for what is short.
            body = Spooled(self._spool.file.tell(), size)
            self._spool.file.write(message.body if isinstance(message.body, bytes) else b"")
            self._spool.flush()
        if size < PART:
            content = FileContent(self._spool.path, body.offset, size)
            self._is_whole(ref, message, content, validity)
            return
        large = _Large(Spool(self.directory), message, 0)
        self.ahead.release.append(large.spool.close)
        with self._spool.path.open("rb") as stream:
            stream.seek(body.offset)
            while large.size < size:
                block = stream.read(min(COPY_BLOCK, size - large.size))
                large.size += large.spool.file.write(block)
        self._large[ref] = large

    def _rest(
        self, connection: Connection, uid: int, ref: MessageRef, large: _Large, validity: int
    ) -> None:
        """All of a message behind its first part."""
        limit, file = limit_of(Work.SIZE), large.spool.file
        while True:
            told = Collected({uid})
            file.seek(large.size)
            sink = Sink(file, most=LARGE_PART, total=2 * LARGE_PART)
            command = f"UID FETCH {uid} (UID BODY.PEEK[]<{large.size}.{LARGE_PART}>)"
            try:
                connection.ask(command, take=told.take, sink=sink)
            except Refused:
                return
            part = told.messages.get(uid, Fetched())
            if part.body is None or part.origin != large.size:
                return
            if isinstance(part.body, bytes):
                file.seek(large.size)
                part.body = Spooled(large.size, file.write(part.body))
            if part.body.offset != large.size:
                # It sent another message's bytes first.
                file.seek(part.body.offset)
                block = file.read(part.body.size)
                file.seek(large.size)
                file.write(block)
            large.size += part.body.size
            if part.body.size < LARGE_PART:
                break
            if large.size > limit:
                self.give_up([ref], LimitExceeded(f"it is longer than {limit} bytes"))
                return
        large.spool.flush()
        self._is_whole(ref, large.told, FileContent(large.spool.path, 0, large.size), validity)

    def _is_whole(
        self, ref: MessageRef, message: Fetched, content: FileContent, validity: int
    ) -> None:
        if message.internal_date is None:
            self.give_up([ref], MessageError("the server tells no date of it that can be read"))
            return
        if self.substitute and _begins_subject(content, self.substitute):
            self.give_up([ref], MessageError("the server gives a text of its own in its place"))
            return
        token = f"{validity}:{uid_of(ref)}"
        self.ahead.copies[ref] = StoredMessage(
            ref, content, message.flags, message.internal_date, token
        )


def _begins_subject(content: FileContent, text: bytes) -> bool:
    with content.open() as stream:
        header = stream.read(COPY_BLOCK).partition(b"\r\n\r\n")[0]
    return b"\r\nsubject: " + text.lower() in b"\r\n" + header.lower()


def uid_of(ref: MessageRef) -> int:
    """The UID of a message; 0: the reference is none of an account."""
    text = ref.key.rpartition(":")[2]
    return int(text) if text.isascii() and text.isdigit() and int(text) <= LAST_UID else 0


def validity_of(ref: MessageRef) -> int:
    """The UIDVALIDITY that goes with it; 0: none."""
    text = ref.key.partition(":")[0]
    return int(text) if text.isascii() and text.isdigit() and len(text) < 12 else 0
