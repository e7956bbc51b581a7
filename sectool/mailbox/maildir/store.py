"""The Maildir and Maildir++ store.

Follows https://cr.yp.to/proto/maildir.html and the folder layouts of Courier
(Maildir++) and Dovecot (``LAYOUT=fs``). Knows no MIME and no CMS, and takes
no lock that a delivery waits for (``view`` says why none is needed).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from sectool import durable
from sectool.directories import Directory, DirectoryEntry
from sectool.errors import (
    MailboxError,
    MessageError,
    NoSuchMailbox,
    ReadOnlyMailbox,
    SectoolError,
)
from sectool.locks import DirectoryLock, is_held
from sectool.mailbox.access import MailboxSpecification, MessageHead
from sectool.mailbox.base import (
    Add,
    Capabilities,
    Mailbox,
    Note,
    Placed,
    Replace,
    Whereabouts,
    Written,
    note_nothing,
)
from sectool.mailbox.maildir.files import MaildirFiles, internal_date
from sectool.mailbox.maildir.folders import (
    MESSAGE_DIRECTORIES,
    NOTHING_THERE,
    Skipped,
    is_directory,
)
from sectool.mailbox.maildir.names import unique_name
from sectool.mailbox.maildir.replacing import MaildirReplacer
from sectool.mailbox.maildir.retiring import MaildirRetirer
from sectool.mailbox.maildir.view import Entry
from sectool.message import (
    IN_MEMORY,
    NOTHING,
    BytesContent,
    Content,
    Intent,
    Listing,
    MessageRef,
    StoredMessage,
    digest_stream,
    sight_of,
)
from sectool.trust import Trust

KIND = "maildir"


@dataclass(frozen=True)
class MaildirContent:
    """A large message where it lies; found again when a server renames it."""

    ref: MessageRef
    size: int
    digest: str
    """SHA-256 of the bytes when the message was fetched."""
    _files: MaildirFiles = field(repr=False)

    def open(self) -> BinaryIO:
        """A new stream from the first byte; the caller closes it.

        Raises:
            MessageVanished: the message is gone.
            MessageError: it cannot be read.
        """
        return self._files.open(self.ref)


class Maildir(Mailbox):
    """A Maildir with its folders.

    Args:
        specification: of kind ``maildir``; its location is the directory.

    Raises:
        NoSuchMailbox: there is no Maildir.
    """

    def __init__(self, specification: MailboxSpecification) -> None:
        self.specification = specification
        location = Path(specification.location)
        with durable.explained(f"look at {location}", denied=NoSuchMailbox):
            root = _open_maildir(location)
            if root is None:
                raise NoSuchMailbox(
                    f"there is no Maildir at {specification.location}",
                    hint="a Maildir is a directory that holds cur and new",
                )
            self._root = root
            self.capabilities = self._look_at_capabilities()
        self._files = MaildirFiles(self._root)
        self._replacer = MaildirReplacer(self._files, self.capabilities.spool_directory)
        self._retirer = MaildirRetirer(self._files)

    def _look_at_capabilities(self) -> Capabilities:
        parts = [part for part in MESSAGE_DIRECTORIES if is_directory(self._root / part)]
        # The rights that count are those of the effective user, and its capabilities.
        rights = os.R_OK | os.W_OK | os.X_OK
        descriptor = self._root.descriptor
        writable = all(
            os.access(name, rights, dir_fd=descriptor, effective_ids=True) for name in (".", *parts)
        )
        return Capabilities(writable=writable, spool_directory=self._spool() if writable else None)

    def _spool(self) -> Path | None:
        """The ``tmp`` of the mailbox where nobody else can lead its path elsewhere."""
        path = self._root.path / "tmp"
        try:
            way = Trust().walk(path)
            Trust().check_own_names(way.real, directories=(".",))
        except (OSError, SectoolError):
            return None
        return None if way.missing else path

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
        with self._files.open_at(ref, file, entry) as stream:
            status, sight = os.fstat(stream.fileno()), sight_of(stream)
            size = status.st_size
            raw = stream.read(size + 1) if size <= IN_MEMORY else b""
            content: Content = BytesContent(raw)
            if size > IN_MEMORY or len(raw) > size:
                # It is large, or grows.
                stream.seek(0)
                digest, size = digest_stream(stream), os.fstat(stream.fileno()).st_size
                content = MaildirContent(ref, size, digest, self._files)
        return StoredMessage(
            ref=ref,
            content=content,
            flags=self._files.view(ref.folder).flags(entry.letters),
            internal_date=internal_date(status),
            sight=sight,
        )

    def head(self, ref: MessageRef, most: int) -> MessageHead:
        return self._files.with_file(ref, lambda file, entry: self._head(ref, most, file, entry))

    def _head(self, ref: MessageRef, most: int, file: DirectoryEntry, entry: Entry) -> MessageHead:
        with self._files.open_at(ref, file, entry) as stream:
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

    def write(self, intended: Sequence[tuple[Intent, Content]]) -> list[Written | MessageError]:
        self._require_writable()
        return self._replacer.write(intended)

    def place(self, written: Sequence[Written]) -> list[Placed | MessageError]:
        self._require_writable()
        return self._replacer.place(written)

    def retire(
        self, placed: Sequence[Placed], note: Note = note_nothing
    ) -> list[Placed | MessageError]:
        self._require_writable()
        return self._retirer.retire(placed, note)

    def find(self, intents: Sequence[Intent]) -> list[Whereabouts]:
        return self._replacer.find(intents)

    def settle(self, intents: Sequence[Intent]) -> None:
        if self.capabilities.writable:
            with durable.explained("end the removal of old copies that was interrupted"):
                self._retirer.settle(intents)

    def abandon(self, intents: Sequence[Intent]) -> None:
        self._replacer.abandon(intents)

    def _require_writable(self) -> None:
        if not self.capabilities.writable:
            raise ReadOnlyMailbox(
                f"the mailbox {self.specification.location} cannot be written",
                hint="check the owner, the mode and the mount options",
            )


def is_maildir(path: Path) -> bool:
    """Whether ``path`` holds ``cur`` and ``new``; an empty ``tmp`` is lost by some ways to copy.

    Raises:
        UnsafeDirectory: somebody else could have made a link on the way.
        OSError: it cannot be told.
    """
    return _open_maildir(path) is not None


def _open_maildir(path: Path) -> Directory | None:
    """The directory of a mailbox, whose path may lead through other people's directories."""
    try:
        way = Trust().walk(path, judges_links_only=True)
        if way.missing:
            return None
        root = Directory.at(way.real)
    except OSError as error:
        if error.errno in NOTHING_THERE:
            return None
        raise
    return root if is_directory(root / "cur") and is_directory(root / "new") else None
