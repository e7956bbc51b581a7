"""Finds messages in the files of folders, whatever is appended to them or changed meanwhile.

Each process reads a file once from its beginning to its end, and then goes to a message at once:
what is there is held against the name, so that a file that changed is read again only where the
message is not where it was.
"""

from __future__ import annotations

import io
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import field
from typing import BinaryIO, TypeVar

from sectool.errors import MailboxError, MessageChanged, MessageError, MessageVanished, reason_of
from sectool.mailbox.mbox.folders import MboxFolders
from sectool.mailbox.mbox.index import FileState, Index, key_of, read_index
from sectool.mailbox.mbox.layout import USUAL_HEADER, Layout, RangesStream, digest_of, lay_out
from sectool.mailbox.mbox.reader import Reader
from sectool.message import COPY_BLOCK, MessageRef
from sectool.values import dataclass

INDEXES = 4
"""Files whose index is kept in memory."""

LOOKS = 5
"""Times a file that changes while it is read is read again."""

_PAUSE = 0.05

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Located:
    """One message in an open file."""

    layout: Layout
    digest: str
    """SHA-256 of its content."""
    reader: Reader


@dataclass(frozen=True)
class MboxContent:
    """A large message where it lies; found again wherever it comes to lie."""

    ref: MessageRef
    size: int
    digest: str
    _boxes: Boxes = field(repr=False)

    def open(self) -> BinaryIO:
        """A new stream from the first byte; the caller closes it.

        Raises:
            MessageVanished: the message is gone.
            MessageError: it cannot be read.
        """
        with self._boxes.located(self.ref) as found:
            descriptor = os.dup(found.reader.descriptor)
            return io.BufferedReader(RangesStream(descriptor, found.layout), COPY_BLOCK)


class Boxes:
    """The files of one mailbox, and what was read of them.

    Args:
        folders: where they lie.
    """

    def __init__(self, folders: MboxFolders) -> None:
        self.folders = folders
        self._indexes: OrderedDict[str, Index] = OrderedDict()

    def index(self, folder: str) -> Index:
        """The messages of a folder as they are now.

        Raises:
            MessageError: it is gone, or cannot be read.
            MailboxError: it does not stand still.
        """
        for _ in range(LOOKS):
            with self.folders.open(folder) as stream:
                index = self.index_of(folder, stream.fileno())
                if _is_whole(index.state, FileState.of(stream.fileno())):
                    return index
            self._indexes.pop(folder, None)
            time.sleep(_PAUSE)
        raise MailboxError(
            f"the folder {folder} does not stand still while it is read",
            hint="close the mail program, then run the command again",
        )

    def index_of(self, folder: str, descriptor: int) -> Index:
        """The messages of an open file, which was read before or is read now.

        Raises:
            MessageError: it cannot be read.
        """
        index = self._indexes.pop(folder, None)
        if index is None or not index.is_settled or index.state != FileState.of(descriptor):
            try:
                index = read_index(descriptor)
            except OSError as error:
                raise _unreadable(folder, error) from error
        self.keep(folder, index)
        return index

    def keep(self, folder: str, index: Index) -> None:
        """Remembers what was read of a folder."""
        self._indexes[folder] = index
        self._indexes.move_to_end(folder)
        while len(self._indexes) > INDEXES:
            self._indexes.popitem(last=False)

    @contextmanager
    def located(self, ref: MessageRef) -> Iterator[Located]:
        """A message in its file, which is open meanwhile.

        Raises:
            MessageVanished: there is no such message.
            MessageError: it cannot be read.
        """
        with self.folders.open(ref.folder) as stream:
            try:
                found = self._locate(ref, stream.fileno())
            except OSError as error:
                raise _unreadable(str(ref), error) from error
            yield found

    def _locate(self, ref: MessageRef, descriptor: int) -> Located:
        index = self._indexes.get(ref.folder)
        if index is None:
            index = self.index_of(ref.folder, descriptor)
        found = self._look(index, ref.key, descriptor)
        if found is None:
            # Not where it was; read again, unless nothing changed since.
            found = self._look(self.index_of(ref.folder, descriptor), ref.key, descriptor)
        if found is None:
            raise MessageVanished(f"the message {ref} is no longer there")
        return found

    @staticmethod
    def _look(index: Index, key: str, descriptor: int) -> Located | None:
        number = index.find(key)
        if number is None:
            return None
        state = FileState.of(descriptor)
        start, end = index.starts[number], min(index.ends[number], state.size)
        if start >= end:
            return None
        is_known = state == index.state and index.is_settled
        is_plain = is_known and bool(index.plain[number])
        reader = Reader(descriptor, state.size, USUAL_HEADER if is_plain else end - start)
        layout = lay_out(reader, start, end, by_length=index.by_length, is_plain=is_plain)
        digest = index.digest(number)
        if not is_known:
            now = digest_of(reader, layout)
            if now.hex() != digest or key_of(layout.line, now).hex() != key.partition(".")[0]:
                return None
        return Located(layout, digest, reader)

    def examine(self, ref: MessageRef, revision: str) -> Located:
        """A message that is to be what it was; its file is not open any more.

        Raises:
            MessageVanished: there is no such message.
            MessageChanged: its bytes do not have the SHA-256 ``revision``.
            MessageError: it cannot be read.
        """
        with self.located(ref) as found:
            if found.digest != revision:
                raise MessageChanged(f"the message {ref} is not the one that was read before")
            return found


def _is_whole(read: FileState, now: FileState) -> bool:
    """Whether a file was at most appended to while it was read."""
    return read == now or (read.inode == now.inode and read.size < now.size)


def answer(act: Callable[..., Answer], *arguments: object) -> Answer | MessageError:
    """What ``act`` returns, or the error that costs just this message."""
    try:
        return act(*arguments)
    except MessageError as error:
        return error


def _unreadable(what: str, error: OSError) -> MessageError:
    return MessageError(
        f"{what} cannot be read: {reason_of(error)}", hint="check the owner, the mode and the disk"
    )
