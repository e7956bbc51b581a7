"""What stores have in common whose messages are files: reading, and what is asked of the root."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import field
from pathlib import Path
from typing import BinaryIO, ClassVar

from sectool import durable
from sectool.directories import Directory, DirectoryEntry
from sectool.errors import MailboxError, MessageError, NoSuchMailbox
from sectool.locks import DirectoryLock, is_held
from sectool.mailbox.access import MailboxSpecification, MessageHead
from sectool.mailbox.base import Add, Capabilities, Mailbox, Placed, Replace, Whereabouts, Written
from sectool.mailbox.files.folders import NOTHING_THERE, Folder, Skipped
from sectool.mailbox.files.inheriting import Inheritance, attributes_of
from sectool.mailbox.files.message_files import MessageFiles, internal_date
from sectool.mailbox.files.names import unique_name
from sectool.mailbox.files.replacing import FileReplacer
from sectool.mailbox.files.view import Entry, FolderView
from sectool.message import (
    IN_MEMORY,
    NOTHING,
    BytesContent,
    Content,
    Intent,
    Listing,
    MessageRef,
    Slice,
    StoredMessage,
    digest_stream,
)
from sectool.sight import Sight
from sectool.trust import Trust
from sectool.values import dataclass


@dataclass(frozen=True)
class StoredContent:
    """A large message where it lies; found again when a server renames it."""

    ref: MessageRef
    size: int
    digest: str
    """SHA-256 of the bytes when the message was fetched."""
    _files: MessageFiles = field(repr=False)
    _offset: int = 0
    """Of its first byte in the file."""

    def open(self) -> BinaryIO:
        """A new stream from the first byte; the caller closes it.

        Raises:
            MessageVanished: the message is gone.
            MessageError: it cannot be read.
        """
        return Slice.of(self._files.open(self.ref), self._offset, self.size)


def open_root(path: Path) -> Directory | None:
    """The directory of a mailbox, whose path may lead through other people's directories.

    Returns:
        None where there is no directory.

    Raises:
        UnsafeDirectory: somebody else could have made a link on the way.
        OSError: it cannot be told.
    """
    try:
        way = Trust().walk(path, judges_links_only=True)
        return None if way.missing else Directory.at(way.real)
    except OSError as error:
        if error.errno in NOTHING_THERE:
            return None
        raise


class FileMailbox(Mailbox):
    """A mailbox of directories and files, one a message; a store adds its layout and its acts.

    Args:
        specification: its location is the root directory.

    Raises:
        NoSuchMailbox: there is none.
    """

    what: ClassVar[str]
    """What has to be there."""
    what_hint: ClassVar[str]
    view: ClassVar[type[FolderView]]

    def __init__(self, specification: MailboxSpecification) -> None:
        self.specification = specification
        location = Path(specification.location)
        with durable.explained(f"look at {location}", denied=NoSuchMailbox):
            root = open_root(location)
            if root is None or not self.may_be(root):
                message = f"there is no {self.what} at {specification.location}"
                raise NoSuchMailbox(message, hint=self.what_hint)
            self._root = root
            self._files = MessageFiles(root, self.find_folders, self.view)
            self.capabilities = self.look_at_capabilities()

    @staticmethod
    @abstractmethod
    def find_folders(root: Directory) -> tuple[list[Folder], list[Skipped]]:
        """All folders, ``INBOX`` first, and what is passed over.

        Raises:
            MailboxError: a directory cannot be listed; mail in it would be passed over.
        """

    @classmethod
    def may_be(cls, root: Directory) -> bool:  # noqa: ARG003  # for stores that look
        """Whether a directory may be a mailbox of this kind.

        Raises:
            OSError: it cannot be told.
        """
        return True

    @abstractmethod
    def look_at_capabilities(self) -> Capabilities:
        """What this user can do there.

        Raises:
            OSError: it cannot be told.
        """

    def may_write(self, *parts: str) -> bool:
        """Whether this user may read and write in directories of the root.

        Args:
            parts: names; ``.``: the root itself.
        """
        # The rights that count are those of the effective user, and its capabilities.
        rights, descriptor = os.R_OK | os.W_OK | os.X_OK, self._root.descriptor
        return all(os.access(part, rights, dir_fd=descriptor, effective_ids=True) for part in parts)

    def lock(self) -> AbstractContextManager[object]:
        """Keeps other runs of this program out of the mailbox; mail programs do not notice it.

        Raises:
            Locked: on entering, when another run holds it.
        """
        return DirectoryLock(self._root, what="mailbox")

    def is_in_use(self) -> bool:
        return is_held(self._root / ".")

    @property
    def skipped(self) -> Sequence[Skipped]:
        """What was seen so far and not read as mail: links, devices, FIFOs, directories."""
        return self._files.skipped()

    @property
    def passed_over(self) -> Sequence[str]:
        return tuple(skipped.path for skipped in self.skipped if skipped.may_be_mail)

    # --- reading -----------------------------------------------------------------

    def folders(self) -> Iterator[str]:
        with durable.explained(f"list {self._root.path}", denied=MailboxError):
            yield from self._files.folders()

    def walk(self, folder: str) -> Iterator[Listing]:
        with durable.explained(f"list {self._root.path}", denied=MailboxError):
            yield from self._files.walk(folder)

    def fetch(self, ref: MessageRef) -> StoredMessage:
        return self._files.with_file(ref, lambda file, entry: self._fetch(ref, file, entry))

    def _fetch(self, ref: MessageRef, file: DirectoryEntry, entry: Entry) -> StoredMessage:
        stream, status = self._files.open_at(ref, file, entry)
        with stream:
            sight, size = Sight.now(status), status.st_size
            raw = stream.read(size + 1) if size <= IN_MEMORY else b""
            content: Content = BytesContent(raw)
            if size > IN_MEMORY or len(raw) > size:
                # It is large, or grows.
                stream.seek(0)
                digest, size = digest_stream(stream), os.fstat(stream.fileno()).st_size
                content = StoredContent(ref, size, digest, self._files)
            inheritance = Inheritance.of_copy(status, attributes_of(stream.fileno()))
        view = self._files.view(ref.folder)
        return StoredMessage(
            ref=ref,
            content=content,
            flags=view.flags(view.letters_of(entry)),
            internal_date=internal_date(status),
            sight=sight,
            inheritance=inheritance,
        )

    def head(self, ref: MessageRef, most: int) -> MessageHead:
        return self._files.with_file(ref, lambda file, entry: self._head(ref, most, file, entry))

    def _head(self, ref: MessageRef, most: int, file: DirectoryEntry, entry: Entry) -> MessageHead:
        stream, _ = self._files.open_at(ref, file, entry)
        with stream:
            descriptor = stream.fileno()
            return MessageHead(os.read(descriptor, most), os.fstat(descriptor).st_size)

    def open_file(self, ref: MessageRef) -> BinaryIO | None:
        try:
            return self._files.open(ref)
        except MessageError:
            return None

    def free_bytes(self) -> int | None:
        try:
            return durable.free_bytes(self._root.descriptor)
        except OSError:
            return None

    def overlaps(self, path: Path) -> bool:
        # Not resolve(), to which links in a circle are no OSError.
        other, own = (Path(os.path.realpath(each)) for each in (path, self._root.path))
        return other.is_relative_to(own) or own.is_relative_to(other)

    # --- writing -------------------------------------------------------------------

    def intend(self, changes: Sequence[Replace | Add]) -> list[Intent]:
        self._files.forget_readings()
        with durable.explained("read the new copies"):
            return [self._intent(change) for change in changes]

    def _intent(self, change: Replace | Add) -> Intent:
        content = change.content
        where = unique_name(content.size)
        if isinstance(change, Add):
            date = change.internal_date
            return Intent(NOTHING, "", change.folder, where, content.digest, content.size, date)
        self._files.note_reading(change.sight, change.revision)
        return Intent(
            replaced=change.ref,
            revision=change.revision,
            folder=change.ref.folder,
            where=where,
            digest=content.digest,
            size=content.size,
            flags=self._files.flags(change.ref),
        )

    @abstractmethod
    def replacer(self) -> FileReplacer:
        """The writing half; of no use where nothing can be written."""

    def write(self, intended: Sequence[tuple[Intent, Content]]) -> list[Written | MessageError]:
        self.require_writable()
        return self.replacer().write(intended)

    def place(self, written: Sequence[Written]) -> list[Placed | MessageError]:
        self.require_writable()
        return self.replacer().place(written)

    def find(self, intents: Sequence[Intent]) -> list[Whereabouts]:
        return self.replacer().find(intents)

    def abandon(self, intents: Sequence[Intent]) -> None:
        self.replacer().abandon(intents)
