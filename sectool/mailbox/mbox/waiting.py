"""New copies that wait beside the file of a folder, in a directory that mail programs pass over.

Each is a file with the message as it will stand in the mbox: its body quoted, without the fields
that are the store's. What a kill leaves there is found again by its name, which the job log has.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
from collections.abc import Iterator
from typing import BinaryIO

from sectool import durable
from sectool.crashpoints import crashpoint
from sectool.directories import Directory, DirectoryEntry
from sectool.errors import MessageError, MessageVanished, why_unread
from sectool.mailbox.files.inheriting import Inheritance
from sectool.mailbox.mbox.folders import MboxFolders, beside_name
from sectool.mailbox.mbox.form import HEADER_LIMIT, Header, header_end, quoted
from sectool.mailbox.mbox.layout import USUAL_HEADER, Layout, digest_of, lay_out
from sectool.mailbox.mbox.reader import Reader
from sectool.message import COPY_BLOCK, Content, Intent, open_regular_file

PART, WHOLE = ".part", ".new"
"""How the names of files end that are being written, and that were read back."""

REMOVED = "the new copy was removed while it waited"

_WHERE = re.compile(r"(?P<name>[0-9a-f]{16})-(?P<digest>[0-9a-f]{64})")
_EMPTY_ENOUGH = frozenset({errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT})


def where_of(content: Content) -> str:
    """The place of a new copy: a name of its own, and the digest it will be read back with."""
    return f"{os.urandom(8).hex()}-{_digest_when_read(content)}"


def digest_in(intent: Intent) -> str:
    """SHA-256 of what is read of a new copy, which may differ from what was written.

    Raises:
        MessageError: its place was never chosen here.
    """
    return _parts_of(intent)["digest"]


def names_of(intent: Intent) -> tuple[str, ...]:
    """All that a new copy that waits may be called; none where its place was never chosen here."""
    is_ours = _WHERE.fullmatch(intent.where) is not None
    return (written_name(intent), whole_name(intent)) if is_ours else ()


def written_name(intent: Intent) -> str:
    """Name of a new copy that was written."""
    return f"{_parts_of(intent)['name']}{PART}"


def whole_name(intent: Intent) -> str:
    """Its name once it was read back."""
    return f"{_parts_of(intent)['name']}{WHOLE}"


def _parts_of(intent: Intent) -> re.Match[str]:
    found = _WHERE.fullmatch(intent.where)
    if found is None:
        raise MessageError(f"{intent.where!r} is not the place of a new copy")
    return found


def _digest_when_read(content: Content) -> str:
    """What is read of a content once it was written: with a last line end, without what is ours."""
    header, stream_from = _beginning_of(content)
    is_kept = all(header.own)
    sha256 = hashlib.sha256(_own(header))
    last = b""
    with content.open() as stream:
        stream.seek(max(content.size - 1, 0))
        if is_kept and (stream.read(1) == b"\n" or not content.size):
            return content.digest
        stream.seek(stream_from)
        while block := stream.read(COPY_BLOCK):
            sha256.update(block)
            last = block[-1:]
    if (last or _own(header)[-1:]) not in {b"\n", b""}:
        sha256.update(b"\n")
    return sha256.hexdigest()


def _beginning_of(content: Content) -> tuple[Header, int]:
    """The header block of a content, and where its body begins."""
    with content.open() as stream:
        beginning = stream.read(USUAL_HEADER)
        if not header_end(beginning, is_whole=False) and beginning[:1] not in {b"\n", b"\r"}:
            beginning += stream.read(HEADER_LIMIT - USUAL_HEADER)
    length = header_end(beginning, is_whole=content.size <= len(beginning))
    return Header(beginning[:length]), length


def _own(header: Header) -> bytes:
    return b"".join(header.raw[start:end] for start, end in header.own_ranges())


def _stored(content: Content) -> Iterator[bytes]:
    """A content as it stands in an mbox, less its separator."""
    header, body = _beginning_of(content)
    last = own = _own(header)
    yield own
    with content.open() as stream:
        stream.seek(body)
        for block in quoted(iter(lambda: stream.read(COPY_BLOCK), b"")):
            yield block
            last = block
    if last[-1:] not in {b"\n", b""}:
        yield b"\n"


def _no_directory(entry: DirectoryEntry) -> MessageError:
    return MessageError(
        f"{entry.name} beside the mbox is no directory, or a link to one", hint="remove it"
    )


class Waiting:
    """The new copies of one mailbox that are not in their folders yet.

    Args:
        folders: for which they wait.
    """

    def __init__(self, folders: MboxFolders) -> None:
        self._folders = folders

    # --- the directory -----------------------------------------------------------------

    def directory(self, file: DirectoryEntry) -> Directory:
        """Where new copies of a folder wait, as far as it is there.

        Raises:
            MessageVanished: none wait there.
            MessageError: it is another user's.
            OSError: it cannot be opened.
        """
        entry = file.directory / beside_name(file.name)
        try:
            directory = entry.open_directory()
        except FileNotFoundError as error:
            raise MessageVanished(REMOVED) from error
        except NotADirectoryError as error:
            raise _no_directory(entry) from error
        self._folders.check_owner(entry, directory.status())
        return directory

    def ensure_directory(self, file: DirectoryEntry) -> Directory:
        """The same, made where it is not there, for the owner of the mailbox alone."""
        entry = file.directory / beside_name(file.name)
        try:
            directory = entry.open_directory()
        except NotADirectoryError as error:
            raise _no_directory(entry) from error
        except FileNotFoundError:
            entry.mkdir(0o700)
            crashpoint("mbox.made")
            directory = entry.open_directory()
        owner, status = self._folders.owner_status(), directory.status()
        if status.st_uid == owner.st_uid:
            return directory
        # What a killed run of root made and gave to nobody yet; to nothing else is anything given.
        is_ours = status.st_uid == os.geteuid() and not status.st_mode & 0o077
        with directory.scan() as entries:
            is_ours = is_ours and next(entries, None) is None
        if not is_ours:
            self._folders.check_owner(entry, status)
        Inheritance(owner.st_uid, owner.st_gid, 0o700).give(directory.descriptor)
        durable.sync_directories([file.directory], "mbox.made")
        return directory

    def remove_directory(self, file: DirectoryEntry) -> None:
        """Removes the directory once nothing is in it."""
        try:
            durable.remove_directory(file.directory / beside_name(file.name), "mbox.unmake")
        except OSError as error:
            if error.errno not in _EMPTY_ENOUGH:
                raise

    # --- one copy ------------------------------------------------------------------------

    def write(self, intent: Intent, content: Content, file: DirectoryEntry) -> None:
        """Writes a new copy, unsynced.

        Raises:
            MessageError: its content cannot be read.
            OSError: it cannot be written.
        """
        target = self.ensure_directory(file) / written_name(intent)
        durable.unlink(target, "mbox.discard", missing_ok=True)
        owner = self._folders.owner_status()
        with durable.new_file(target) as stream:
            crashpoint("mbox.write")
            blocks = _stored(content)
            while True:
                try:
                    block = next(blocks, None)
                except OSError as error:
                    raise MessageError(why_unread(error)) from error
                if block is None:
                    break
                stream.write(block)
            stream.flush()
            Inheritance(owner.st_uid, owner.st_gid, 0o600).give(stream.fileno())

    def open(self, entry: DirectoryEntry) -> BinaryIO:
        """Opens a new copy; the caller closes it.

        Raises:
            MessageVanished: it is gone.
            MessageError: it is another user's, or cannot be read.
        """
        try:
            stream = open_regular_file(entry)
        except FileNotFoundError as error:
            raise MessageVanished(REMOVED) from error
        except OSError as error:
            if durable.is_shortage(error):
                raise
            raise MessageError(f"the new copy cannot be read: {why_unread(error)}") from error
        try:
            self._folders.check_owner(entry, os.fstat(stream.fileno()))
        except BaseException:
            stream.close()
            raise
        return stream

    @staticmethod
    def layout(stream: BinaryIO, intent: Intent, digest: str = "") -> Layout:
        """How an open copy that is what it is to be lies in its file.

        Args:
            stream: the copy.
            intent: says what it is to be.
            digest: SHA-256 of all of the file, where that is known.

        Raises:
            MessageError: it is not, or cannot be read.
        """
        reader = Reader(stream.fileno(), os.fstat(stream.fileno()).st_size)
        try:
            layout = lay_out(reader, 0, reader.size, by_length=False, bare=True)
            # Nothing of it is quoted, or the store's: what is read of it is all of it.
            is_all = bool(digest) and layout.is_ended and layout.size == reader.size
            found = digest if is_all else digest_of(reader, layout).hex()
        except OSError as error:
            raise MessageError(f"the new copy does not read back: {why_unread(error)}") from error
        if found != digest_in(intent):
            raise MessageError(
                "the new copy reads back otherwise than it was written",
                hint="the disk may be failing, or an mbox cannot hold the message",
            )
        return layout

    def remove(self, intent: Intent, directory: Directory) -> bool:
        """Removes a new copy from a directory; whether there was one."""
        was_there = False
        for name in names_of(intent):
            with contextlib.suppress(FileNotFoundError):
                (directory / name).lstat()
                durable.unlink(directory / name, "mbox.discard", missing_ok=True)
                was_there = True
        return was_there
