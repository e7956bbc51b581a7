"""Originals: replaced messages, byte for byte, until purge.

Named by the SHA-256 of their bytes. Where the mailbox lies on the same file
system and nobody but whoever runs this may write to the message, an original
is a second name of the very file that is being replaced; its times and mode are
therefore those of the message, and are not touched here. Any other is copied:
its owner could still change it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from sectool import durable
from sectool.checkpoint.layout import file_name
from sectool.errors import CheckpointDamaged, MessageError, UsageError, why_unread
from sectool.message import Content, FileContent, copy
from sectool.outcome import MessageDigest


@dataclass(frozen=True, slots=True)
class OriginalToKeep:
    """A stored message that is about to be replaced."""

    digest: MessageDigest
    """SHA-256 of its bytes."""
    content: Content
    open_file: Callable[[], BinaryIO | None] = lambda: None
    """Opens the file that holds just these bytes and may get a second name; None: copy."""


class OriginalStore:
    """The originals of one job.

    Args:
        directory: ``originals`` of a job directory.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def prepare(self) -> None:
        """Makes the directory and removes what an interrupted run left half written."""
        with durable.explained("make the directory of originals", denied=UsageError):
            durable.make_directory(self._directory)
            for leftover in self._directory.glob("*.new"):
                durable.unlink(leftover, "original.sweep", missing_ok=True)

    def path(self, digest: MessageDigest) -> Path:
        """Where an original lies."""
        return self._directory / file_name(digest, ".eml")

    def keep(self, originals: Sequence[OriginalToKeep]) -> dict[str, MessageError]:
        """Keeps originals, durably; one that is kept already stays as it is.

        Returns:
            By digest, why a message could not be read any more; all others are kept.

        Raises:
            NoSpace: disk or quota full; nothing was removed from the mailbox.
            CheckpointDamaged: an original reads back otherwise than the message.
        """
        with durable.explained("keep the originals", denied=UsageError):
            wanted = {entry.digest: entry for entry in originals}
            missing = [entry for entry in wanted.values() if not self._is_kept(entry.digest)]
            refused = self._write_all(missing)
            missing = [entry for entry in missing if entry.digest not in refused]
            durable.sync_files((self._new(entry.digest) for entry in missing), "original.sync")
            missing = [entry for entry in missing if self._is_whole(entry, refused)]
            for entry in missing:
                durable.rename(self._new(entry.digest), self.path(entry.digest), "original.rename")
            durable.sync_directories([self._directory], "original.directory")
        return refused

    def _is_kept(self, digest: MessageDigest) -> bool:
        """Whether the file of this name holds the message; whatever else does is replaced."""
        try:
            return durable.read_back_digest(self.path(digest)) == digest
        except OSError:
            return False

    def _write_all(self, missing: Sequence[OriginalToKeep]) -> dict[str, MessageError]:
        refused: dict[str, MessageError] = {}
        for entry in missing:
            try:
                self._write(entry)
            except MessageError as error:
                refused[entry.digest] = error
        return refused

    def _is_whole(self, entry: OriginalToKeep, refused: dict[str, MessageError]) -> bool:
        """Reads an original back, which may be a second name of a file that cannot be read."""
        try:
            self._check(entry)
        except OSError as error:
            refused[entry.digest] = MessageError(why_unread(error))
        except MessageError as error:
            refused[entry.digest] = error
        return entry.digest not in refused

    def _check(self, entry: OriginalToKeep) -> None:
        path = self._new(entry.digest)
        if durable.read_back_digest(path) == entry.digest:
            return
        # The name may have been given to another file before it was linked.
        self._copy(entry)
        durable.sync_files([path], "original.sync")
        if durable.read_back_digest(path) == entry.digest:
            return
        raise CheckpointDamaged(
            "an original reads back otherwise than the message it was made from",
            hint="the disk may be failing; nothing was removed from the mailbox",
        )

    def purge(self, digests: Sequence[MessageDigest]) -> None:
        """Removes originals, durably; one that is gone already does no harm."""
        with durable.explained("remove originals", denied=UsageError):
            for digest in digests:
                durable.unlink(self.path(digest), "original.purge", missing_ok=True)
            if digests:
                durable.sync_directories([self._directory], "original.purged")

    def size(self, digest: MessageDigest) -> int:
        """Bytes that the file of an original takes; 0 where there is none."""
        return durable.size_of(self.path(digest))

    def open(self, digest: MessageDigest) -> FileContent:
        """The bytes of an original.

        Raises:
            CheckpointDamaged: there is no such original.
        """
        path = self.path(digest)
        if not path.is_file():
            raise CheckpointDamaged(
                f"the original {digest[:16]}… is missing",
                hint="restore it from a backup of the job directory",
            )
        return FileContent(path)

    def _new(self, digest: MessageDigest) -> Path:
        return self._directory / file_name(digest, ".new")

    def _write(self, entry: OriginalToKeep) -> None:
        target = self._new(entry.digest)
        durable.unlink(target, "original.overwrite", missing_ok=True)
        if not self._link(entry, target):
            self._copy(entry)

    def _link(self, entry: OriginalToKeep, target: Path) -> bool:
        file = entry.open_file()
        # A real fault shows again in the copy.
        with file or contextlib.nullcontext(), contextlib.suppress(OSError):
            if file is not None and self._may_link(file):
                durable.link(file, target, "original.link")
                return True
        return False

    def _copy(self, entry: OriginalToKeep) -> None:
        target = self._new(entry.digest)
        durable.unlink(target, "original.overwrite", missing_ok=True)
        with entry.content.open() as reader, durable.new_file(target) as writer:
            copy(reader, writer, lambda reason: MessageError(f"it cannot be read: {reason}"))

    @staticmethod
    def _may_link(file: BinaryIO) -> bool:
        """Whether nobody but whoever runs this can write to a file, under whatever name."""
        status = os.fstat(file.fileno())
        return status.st_uid == os.geteuid() and not status.st_mode & 0o022
