"""The store of ``.emlx`` files: a count of bytes, so many bytes of a message, a property list.

Apple Mail keeps an index of these files and would not know of another one, so nothing is
written.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import BinaryIO, NamedTuple, TypeVar

from sectool.directories import Directory, DirectoryEntry
from sectool.errors import MessageError
from sectool.mailbox.access import MessageHead
from sectool.mailbox.base import Capabilities, Note, Placed, Whereabouts, note_nothing
from sectool.mailbox.eml.layout import EmlView, find_folders
from sectool.mailbox.files.folders import Folder, Skipped
from sectool.mailbox.files.inheriting import EPOCH
from sectool.mailbox.files.message_files import internal_date
from sectool.mailbox.files.replacing import FileReplacer
from sectool.mailbox.files.store import FileMailbox, StoredContent
from sectool.mailbox.files.view import Entry, WhyNot
from sectool.message import (
    IN_MEMORY,
    BytesContent,
    Content,
    Flags,
    Intent,
    Listing,
    MessageRef,
    Slice,
    StoredMessage,
    digest_stream,
)

KIND = "emlx"
SUFFIX = ".emlx"

_COUNT_LIMIT = 32
"""Bytes of the first line at most."""

_LIST_LIMIT = 64 * 1024
"""Bytes of the property list that are read."""

_LATEST = 253_402_300_799
"""Seconds since 1970 until the last moment that a ``datetime`` can say."""

Answer = TypeVar("Answer")

_COUNT = re.compile(rb" *(\d{1,19})[ \t]*\r?\n")
# What two integers of it say needs no reader of property lists, which hostile ones could burden.
_FLAGS = re.compile(rb"<key>flags</key>\s*<integer>(\d{1,19})</integer>")
_RECEIVED = re.compile(rb"<key>date-received</key>\s*<integer>(\d{1,12})</integer>")

_BITS = {0: "seen", 1: "deleted", 2: "answered", 4: "flagged", 6: "draft", 8: "passed"}


class _Parts(NamedTuple):
    """What one file says of its message."""

    offset: int
    size: int
    flags: Flags
    date: datetime


class EmlxView(EmlView):
    """The ``.emlx`` files in a directory."""

    suffix = SUFFIX

    def why_no_message(self, name: str) -> WhyNot | None:
        if name.lower().endswith(f".partial{SUFFIX}"):
            return WhyNot("its attachments lie elsewhere")
        return super().why_no_message(name)


class Emlx(FileMailbox):
    """A tree of ``.emlx`` files."""

    what = "directory"
    what_hint = "name the directory in which the .emlx files lie"
    view = EmlxView

    @staticmethod
    def find_folders(root: Directory) -> tuple[list[Folder], list[Skipped]]:
        return find_folders(root)

    def look_at_capabilities(self) -> Capabilities:
        return Capabilities(
            writable=False,
            read_only_because="Apple Mail keeps an index of its .emlx files",
            read_only_hint="export it in Mail as .mbox (Mailbox > Export Mailbox) and name that",
        )

    # --- reading -----------------------------------------------------------------

    def walk(self, folder: str) -> Iterator[Listing]:
        for listing in super().walk(folder):
            try:
                parts = self._with_file(listing.ref, lambda _, parts: parts)
            except MessageError:
                yield listing  # whoever reads it tells why it cannot be read
            else:
                yield replace(listing, size=parts.size, flags=parts.flags, internal_date=parts.date)

    def fetch(self, ref: MessageRef) -> StoredMessage:
        def stored(stream: BinaryIO, parts: _Parts) -> StoredMessage:
            content: Content
            if parts.size <= IN_MEMORY:
                content = BytesContent(stream.read(parts.size))
            else:
                digest = digest_stream(Slice.of(stream, parts.offset, parts.size))
                content = StoredContent(ref, parts.size, digest, self._files, parts.offset)
            return StoredMessage(ref, content, parts.flags, parts.date)

        return self._with_file(ref, stored)

    def head(self, ref: MessageRef, most: int) -> MessageHead:
        return self._with_file(
            ref, lambda stream, parts: MessageHead(stream.read(min(most, parts.size)), parts.size)
        )

    def open_file(self, ref: MessageRef) -> BinaryIO | None:
        del ref  # the file holds more than the message
        return None

    def _with_file(self, ref: MessageRef, act: Callable[[BinaryIO, _Parts], Answer]) -> Answer:
        """Calls ``act`` with the file of a message, at its first byte."""

        def read(file: DirectoryEntry, entry: Entry) -> Answer:
            stream, _ = self._files.open_at(ref, file, entry)
            with stream:
                parts = _parts(ref, stream)
                stream.seek(parts.offset)
                return act(stream, parts)

        return self._files.with_file(ref, read)

    # --- writing -----------------------------------------------------------------

    def replacer(self) -> FileReplacer:
        raise NotImplementedError  # nothing is ever written

    def retire(
        self, placed: Sequence[Placed], note: Note = note_nothing
    ) -> list[Placed | MessageError]:
        del placed, note
        self.require_writable()
        return []

    def find(self, intents: Sequence[Intent]) -> list[Whereabouts]:
        return [Whereabouts((), self._is_there(intent)) for intent in intents]

    def _is_there(self, intent: Intent) -> bool:
        try:
            return self.fetch(intent.replaced).revision == intent.revision
        except MessageError:
            return False

    def abandon(self, intents: Sequence[Intent]) -> None:
        del intents  # nothing was ever written


def _parts(ref: MessageRef, stream: BinaryIO) -> _Parts:
    """Reads the first line and the property list.

    Raises:
        MessageError: it says no length, or one beyond its end.
    """
    status = os.fstat(stream.fileno())
    count = _COUNT.match(stream.read(_COUNT_LIMIT))
    if count is None:
        raise MessageError(f"the message {ref} does not begin with the number of its bytes")
    offset, size = count.end(), int(count[1])
    if offset + size > status.st_size:
        raise MessageError(
            f"the message {ref} is to have {size} bytes and has {status.st_size - offset}",
            hint="the file is cut off; restore it from a backup",
        )
    stream.seek(offset + size)
    properties = stream.read(_LIST_LIMIT)
    bits, received = _FLAGS.search(properties), _RECEIVED.search(properties)
    value = int(bits[1]) if bits else 0
    flags = frozenset(word for bit, word in _BITS.items() if value >> bit & 1)
    date = internal_date(status)
    if received:
        date = EPOCH + timedelta(seconds=min(int(received[1]), _LATEST))
    return _Parts(offset, size, Flags(flags), date)
