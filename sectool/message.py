"""The values every store, the engine and the MIME layer exchange.

A message is never a plain ``bytes``: its ``Content`` can be opened again and
again, so one of a gigabyte passes as easily as one of a kilobyte.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import stat
from collections.abc import Callable
from dataclasses import field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, Protocol

from sectool.directories import FilePath, open_at
from sectool.errors import reason_of
from sectool.outcome import Integrity, PlaintextDigest
from sectool.sight import Sight
from sectool.values import dataclass

IN_MEMORY = 8 * 1024 * 1024
"""Bytes up to which a message, and each content inside of it, is held in memory and read once."""

COPY_BLOCK = 256 * 1024
"""Bytes read at a time wherever content is copied or hashed."""


class Content(Protocol):
    """Bytes that can be read more than once."""

    @property
    def size(self) -> int:
        """Length in bytes."""

    @property
    def digest(self) -> str:
        """SHA-256 of all bytes, lower-case hexadecimal."""

    def open(self) -> BinaryIO:
        """A new stream from the first byte; the caller closes it."""


class Sink(Protocol):
    """Receives bytes in order."""

    def write(self, data: bytes, /) -> object:
        """Takes the next bytes."""


class Inheritable(Protocol):
    """What a new copy has of the old one beside its bytes, in a store that keeps files."""

    def give(self, descriptor: int, /) -> None:
        """Gives it to an open file that nobody but its maker has a right on.

        Raises:
            MessageError: it cannot be given its owner.
            OSError: it cannot be given another thing.
        """


class Writable(Content, Protocol):
    """Content that writes itself, which is all that a large plaintext can do at once."""

    def write_to(self, sink: Sink, /) -> object:
        """Writes all of it."""


def digest_stream(stream: BinaryIO) -> str:
    """SHA-256 of what is left in ``stream``, lower-case hexadecimal."""
    sha256 = hashlib.sha256()
    while block := stream.read(COPY_BLOCK):
        sha256.update(block)
    return sha256.hexdigest()


def copy(source: BinaryIO, sink: Sink, unreadable: Callable[[str], Exception]) -> None:
    """Copies what is left in ``source``, a block at a time.

    Args:
        source: read to its end.
        sink: written to; its errors go through.
        unreadable: makes the error where the source cannot be read, from the reason.
    """
    while True:
        try:
            block = source.read(COPY_BLOCK)
        except OSError as error:
            raise unreadable(reason_of(error)) from error
        if not block:
            return
        sink.write(block)


class DigestingSink:
    """Passes bytes on to a stream and takes their SHA-256.

    Args:
        stream: takes them.
        holds: whether they are kept in memory as well, while they are few enough.
    """

    def __init__(self, stream: BinaryIO, *, holds: bool = False) -> None:
        self._stream = stream
        self._sha256 = hashlib.sha256()
        self._blocks: list[bytes] | None = [] if holds else None
        self._room = IN_MEMORY

    def write(self, data: bytes, /) -> int:
        """Takes the next bytes."""
        self._sha256.update(data)
        if self._blocks is not None:
            self._blocks.append(data)
            self._room -= len(data)
            if self._room < 0:
                self._blocks = None
        return self._stream.write(data)

    @property
    def held(self) -> BytesContent | None:
        """What was written so far; None where it is not in memory."""
        return None if self._blocks is None else BytesContent(b"".join(self._blocks))

    def hexdigest(self) -> str:
        """Of what was written so far, lower-case hexadecimal."""
        return self._sha256.hexdigest()


@dataclass(frozen=True)
class BytesContent:
    """Content held in memory, for small messages."""

    raw: bytes
    headers: list[object] = field(default_factory=list, compare=False, repr=False)
    """The header block that it begins with, once that was read (``mime.header_of``)."""

    @property
    def size(self) -> int:
        return len(self.raw)

    @cached_property
    def digest(self) -> str:
        return hashlib.sha256(self.raw).hexdigest()

    def open(self) -> BinaryIO:
        return io.BytesIO(self.raw)

    def write_to(self, sink: Sink, /) -> None:
        sink.write(self.raw)


@dataclass(frozen=True)
class FileContent:
    """A file, or a slice of one, opened without following a link at its last component."""

    path: Path
    offset: int = 0
    """First byte of the slice."""
    length: int | None = None
    """Bytes of the slice; None: to the end of the file."""
    known_digest: str = ""
    """SHA-256 of the slice where it was taken while the file was written."""
    inherited: Inheritable | None = None
    """What it was given of the copy whose place it is to take; None: nothing."""
    sight: Sight | None = None
    """Of the file when its bytes were read back from the disk; None: they were not."""

    @cached_property
    def size(self) -> int:
        if self.sight is not None:
            return self.sight.size
        if self.length is not None:
            return self.length
        return self.path.lstat().st_size - self.offset

    @cached_property
    def digest(self) -> str:
        if self.known_digest:
            return self.known_digest
        with self.open() as stream:
            return digest_stream(stream)

    def open(self) -> BinaryIO:
        stream = open_regular_file(self.path)
        if self.offset == 0 and self.length is None:
            return stream
        return Slice.of(stream, self.offset, self.size)


def open_regular_file(path: FilePath) -> BinaryIO:
    """Opens a regular file for reading; a link, FIFO or device at ``path`` is refused.

    Raises:
        OSError: as ``open`` does, and ELOOP or EINVAL for what is not a file.
    """
    # O_NONBLOCK: a FIFO planted in a mailbox must not hang the run.
    descriptor = open_at(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        return io.BufferedReader(_ReadOnly(descriptor, "rb"))
    except BaseException:
        os.close(descriptor)
        raise


class _ReadOnly(io.FileIO):
    """A file that is only read: that it could not be closed well says nothing of its bytes."""

    def close(self) -> None:
        with contextlib.suppress(OSError):
            super().close()


class Slice(io.RawIOBase):
    """A read-only window on an open file, which it owns."""

    def __init__(self, stream: BinaryIO, offset: int, length: int) -> None:
        super().__init__()
        self._stream = stream
        self._start = offset
        self._length = length
        self._position = 0
        stream.seek(offset)

    @classmethod
    def of(cls, stream: BinaryIO, offset: int, length: int) -> BinaryIO:
        """So many bytes of a stream, read in blocks."""
        return io.BufferedReader(cls(stream, offset, length), COPY_BLOCK)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._length}[whence]
        self._position = max(base + offset, 0)
        self._stream.seek(self._start + self._position)
        return self._position

    def readinto(self, buffer: object) -> int:
        left = max(self._length - self._position, 0)
        view = memoryview(buffer)[:left]  # type: ignore[arg-type]  # the buffer protocol
        count = self._stream.readinto(view)  # type: ignore[attr-defined]  # BufferedReader has it
        self._position += count
        return int(count)

    def close(self) -> None:
        self._stream.close()
        super().close()


@dataclass(frozen=True, slots=True, order=True)
class MessageRef:
    """Where one stored copy lies; a hint across runs, never an identity."""

    folder: str
    """Folder name with ``/`` between levels; the inbox is ``INBOX``."""
    key: str
    """What names the copy in its folder: the printable name of a file, of a Maildir
    all before ``:2,``; or UIDVALIDITY and UID joined by a colon."""

    def __str__(self) -> str:
        return f"{self.folder}/{self.key}"


@dataclass(frozen=True, slots=True)
class Flags:
    """System flags and keywords of one stored copy (RFC 9051 section 2.3.2)."""

    system: frozenset[str] = frozenset()
    """Lower case without the backslash: answered, flagged, deleted, seen, draft, passed."""
    keywords: frozenset[str] = frozenset()

    @property
    def deleted(self) -> bool:
        return "deleted" in self.system

    @property
    def marked(self) -> Flags:
        """These, and the mark of what is to be removed."""
        return Flags(self.system | {"deleted"}, self.keywords)

    @property
    def unmarked(self) -> Flags:
        """These without it."""
        return Flags(self.system - {"deleted"}, self.keywords)

    def merged(self, *, base: Flags, other: Flags) -> Flags:
        """These, with every flag that ``other`` has set or cleared since ``base``."""
        return Flags(
            _merge(self.system, base.system, other.system),
            _merge(self.keywords, base.keywords, other.keywords),
        )

    def agreed(self, *, base: Flags, told: Flags) -> Flags:
        """Of each flag what ``told`` says of it where these say the same, else what ``base`` does.

        What these have of ``told`` was carried over to them; whether the rest was, nobody knows.
        """
        return Flags(
            _agree(self.system, base.system, told.system),
            _agree(self.keywords, base.keywords, told.keywords),
        )

    def __str__(self) -> str:
        """As the job log has them: words apart, system flags with their backslash."""
        return " ".join([*(f"\\{word}" for word in sorted(self.system)), *sorted(self.keywords)])

    @classmethod
    def of_text(cls, text: str) -> Flags:
        """The flags that ``str`` made a text of."""
        words = frozenset(text.split())
        system = frozenset(word for word in words if word.startswith("\\"))
        return cls(frozenset(word[1:] for word in system), words - system)


def _merge(ours: frozenset[str], base: frozenset[str], theirs: frozenset[str]) -> frozenset[str]:
    return (ours | (theirs - base)) - (base - theirs)


def _agree(ours: frozenset[str], base: frozenset[str], told: frozenset[str]) -> frozenset[str]:
    return (ours & told) | (base & (ours ^ told))


@dataclass(frozen=True, slots=True)
class Listing:
    """What a store tells of a message without reading it."""

    ref: MessageRef
    size: int
    """Bytes as stored."""
    flags: Flags
    hint: str
    """Store-made token that changes when the stored bytes may have: size and
    mtime on a Maildir, UIDVALIDITY and UID on IMAP. Trusted to skip work on
    resume, never to decide identity."""
    internal_date: datetime | None = None
    """When the store received it, aware; None where only ``fetch`` tells."""


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """One stored copy with its bytes."""

    ref: MessageRef
    content: Content
    flags: Flags
    internal_date: datetime
    """When the store received it; always aware."""
    token: str = ""
    """What tells this very copy from any other, where it is no digest: on IMAP UIDVALIDITY and
    UID."""
    sight: Sight | None = None
    """Of the file with just these bytes; None where there is none."""
    inheritance: Inheritable | None = None
    """What a new copy has of it; None where a copy has no file of its own."""

    @property
    def revision(self) -> str:
        """Compare-and-swap token of this very copy; on file stores the SHA-256 of its bytes."""
        return self.token or self.content.digest


NOTHING = MessageRef("", "")
"""What an addition replaces; no store has a message of this name."""


@dataclass(frozen=True, slots=True)
class Intent:
    """Where a new copy will come and what it will hold; logged before anything is written."""

    replaced: MessageRef
    """``NOTHING`` of an addition."""
    revision: str
    """Of the copy to be replaced; empty of an addition."""
    folder: str
    """Where the new copy comes."""
    where: str
    """The store's own text, by which it finds the new copy after a crash."""
    digest: str
    """SHA-256 of the new copy's bytes."""
    size: int
    internal_date: datetime | None = None
    """Of an addition; a replacement has the date of the copy it replaces."""
    flags: Flags = Flags()  # it is frozen
    """Of the old copy: the new one is written with just these."""
    told: Flags | None = None
    """Of the old copy, as they were to be carried over to the new one when the log was last
    told; None: they were not to be."""
    met: MessageRef | None = None
    """Where the new copy was met since; None: nowhere yet."""


@dataclass(frozen=True, slots=True)
class InnerEntity:
    """Plaintext that was proven to be plaintext.

    Made only by ``smime.accept`` (a test holds that no other module calls the
    constructor), and the only thing a checkpoint can be made from.
    """

    size: int
    sha256: PlaintextDigest
    """Of the exact bytes that were encrypted, lower-case hexadecimal."""
    content_type: str
    """``encryptedContentInfo.contentType`` as a dotted object identifier."""
    integrity: Integrity
    has_header_block: bool
    """False for the rare MIME body that was encrypted without any header."""
    content: Writable = field(repr=False)
    """The plaintext. What is too large for memory is decrypted a second time whenever it is
    read, and compared with ``sha256`` at the end."""

    def write_to(self, sink: Sink) -> None:
        """Writes the plaintext."""
        self.content.write_to(sink)
