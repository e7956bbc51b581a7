"""Originals: replaced messages, byte for byte, until purge.

Named by the SHA-256 of their bytes. Where the mailbox lies on the same file
system, nobody but whoever runs this may write to the message, and its file has
no name but that of the one message, an original is a second name of the very
file that is being replaced; its times and mode are therefore those of the
message, and are not touched here. Any other is copied: it could still be changed,
by its owner or under a name that stays.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from sectool import durable
from sectool.checkpoint.layout import digests_in, file_name
from sectool.directories import Directory
from sectool.errors import (
    CheckpointDamaged,
    MessageChanged,
    MessageError,
    UsageError,
    why_unread,
)
from sectool.message import Content, DigestingSink, FileContent, copy
from sectool.outcome import MessageDigest
from sectool.sight import Sight
from sectool.values import dataclass


@dataclass(frozen=True, slots=True)
class OriginalToKeep:
    """A stored message that is about to be replaced."""

    digest: MessageDigest
    """SHA-256 of its bytes."""
    content: Content
    open_file: Callable[[], BinaryIO | None] = lambda: None
    """Opens the file that holds just these bytes and may get a second name; None: copy."""


@dataclass(frozen=True, slots=True)
class KeptOriginals:
    """What came of keeping originals."""

    refused: Mapping[str, MessageError]
    """By digest, why a message could not be read any more; all others are kept."""
    sights: Mapping[MessageDigest, Sight | None]
    """By digest, the messages whose file has a second name now, as it was read back with it."""


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

    def keep(self, originals: Sequence[OriginalToKeep]) -> KeptOriginals:
        """Keeps originals, durably; one that is kept already stays as it is.

        Raises:
            NoSpace: disk or quota full; nothing was removed from the mailbox.
            CheckpointDamaged: an original reads back otherwise than the message.
        """
        wanted: dict[MessageDigest, list[OriginalToKeep]] = defaultdict(list)
        for entry in originals:
            wanted[entry.digest].append(entry)
        with durable.explained("keep the originals", denied=UsageError):
            there = {digest for digest in wanted if self._is_apart(digest)}
            # Of two messages one may stay, and its file with it.
            alone = [entries[0] for entries in wanted.values() if len(entries) == 1]
            here = Directory(os.open(self._directory, os.O_PATH), self._directory)
            apart = [one for one in alone if one.digest not in there]
            linked = {one.digest for one in apart if self._link(one, here)}
            try:
                whole = self._whole([*there, *linked])
            except BaseException:
                for digest in linked:  # what a failed sync covered is never trusted again
                    with contextlib.suppress(OSError):
                        durable.unlink(self.path(digest), "original.overwrite", missing_ok=True)
                raise
            # The name may have been given to another file before it was linked.
            for digest in linked - whole.keys():
                durable.unlink(self.path(digest), "original.overwrite", missing_ok=True)
            refused = self._copy_all([wanted[digest] for digest in wanted if digest not in whole])
            durable.sync_directories([self._directory], "original.directory")
        return KeptOriginals(refused, {digest: whole[digest] for digest in linked & whole.keys()})

    def _is_apart(self, digest: MessageDigest) -> bool:
        """Whether there is a file by this name, and by no other that it could be changed under."""
        with contextlib.suppress(OSError):
            status = self.path(digest).lstat()
            return stat.S_ISREG(status.st_mode) and status.st_nlink == 1
        return False

    def _whole(self, digests: Sequence[MessageDigest]) -> dict[MessageDigest, Sight | None]:
        """Those of the files there that hold what they are called by; others are replaced."""
        read = durable.sync_and_read_back(list(map(self.path, digests)), "original.sync")
        return {
            digest: back.sight
            for digest, back in zip(digests, read, strict=True)
            if back.digest == digest
        }

    def _copy_all(self, missing: Sequence[Sequence[OriginalToKeep]]) -> dict[str, MessageError]:
        refused: dict[str, MessageError] = {}
        for entries in missing:
            for entry in entries:  # one of those that were alike may be another by now
                try:
                    self._copy(entry)
                except MessageError as error:
                    refused[entry.digest] = error
                else:
                    refused.pop(entry.digest, None)
                    break
        copied = [one.digest for one, *_ in missing if one.digest not in refused]
        paths = [self._new(digest) for digest in copied]
        for digest, back in zip(
            copied, durable.sync_and_read_back(paths, "original.sync"), strict=True
        ):
            if back.error is not None:
                refused[digest] = MessageError(why_unread(back.error))
            elif back.digest != digest:
                raise CheckpointDamaged(
                    "an original reads back otherwise than the message it was made from",
                    hint="the disk may be failing; nothing was removed from the mailbox",
                )
            else:
                durable.rename(self._new(digest), self.path(digest), "original.rename")
        return refused

    def purge(self, digests: Sequence[MessageDigest]) -> None:
        """Removes originals, durably; one that is gone already does no harm."""
        with durable.explained("remove originals", denied=UsageError):
            for digest in digests:
                durable.unlink(self.path(digest), "original.purge", missing_ok=True)
            if digests:
                durable.sync_directories([self._directory], "original.purged")

    def digests(self) -> list[MessageDigest]:
        """Of all originals that have a file."""
        with durable.explained("list the originals", denied=UsageError):
            return list(map(MessageDigest, digests_in(self._directory, ".eml")))

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

    def _link(self, entry: OriginalToKeep, directory: Directory) -> bool:
        """Whether the file of a message has the name of its original now, as its second."""
        target = directory / file_name(entry.digest, ".eml")
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
            sink = DigestingSink(writer)
            copy(reader, sink, lambda reason: MessageError(f"it cannot be read: {reason}"))
        if sink.hexdigest() != entry.digest:
            durable.unlink(target, "original.overwrite", missing_ok=True)
            raise MessageChanged("it was changed while its original was made")

    @staticmethod
    def _may_link(file: BinaryIO) -> bool:
        """Whether nobody can write to a file once its one name is gone."""
        sight = Sight.of(os.fstat(file.fileno()))
        return sight.is_callers and sight.links == 1
