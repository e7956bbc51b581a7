"""Originals: replaced messages, byte for byte, until purge.

Named by the SHA-256 of their bytes. Where the mailbox lies on the same file
system and belongs to the same user, an original is a second name of the very
file that is being replaced; its times and mode are therefore those of the
message, and are not touched here.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sectool import durable
from sectool.errors import CheckpointDamaged
from sectool.message import COPY_BLOCK, Content, FileContent


@dataclass(frozen=True, slots=True)
class OriginalToKeep:
    """A stored message that is about to be replaced."""

    digest: str
    """SHA-256 of its bytes."""
    content: Content
    file: Path | None
    """The file that holds just these bytes and may get a second name; None: copy."""


class OriginalStore:
    """The originals of one job.

    Args:
        directory: ``originals`` of a job directory.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def prepare(self) -> None:
        """Makes the directory and removes what an interrupted run left half written."""
        with durable.explained("make the directory of originals"):
            durable.make_directory(self._directory)
            for leftover in self._directory.glob("*.new"):
                durable.unlink(leftover, "original.sweep", missing_ok=True)

    def path(self, digest: str) -> Path:
        """Where an original lies."""
        return self._directory / f"{digest}.eml"

    def keep(self, originals: Sequence[OriginalToKeep]) -> None:
        """Keeps originals, durably; one that is kept already stays as it is.

        Raises:
            NoSpace: disk or quota full; nothing was removed from the mailbox.
            CheckpointDamaged: an original reads back otherwise than the message.
        """
        with durable.explained("keep the originals"):
            wanted = {entry.digest: entry for entry in originals}
            missing = [entry for entry in wanted.values() if not self.path(entry.digest).exists()]
            for entry in missing:
                self._write(entry)
            durable.sync_files((self._new(entry.digest) for entry in missing), "original.sync")
            for entry in missing:
                if durable.read_back_digest(self._new(entry.digest)) != entry.digest:
                    raise CheckpointDamaged(
                        "an original reads back otherwise than the message it was made from",
                        hint="the disk may be failing; nothing was removed from the mailbox",
                    )
            for entry in missing:
                durable.rename(self._new(entry.digest), self.path(entry.digest), "original.rename")
            durable.sync_directories([self._directory], "original.directory")

    def purge(self, digests: Sequence[str]) -> None:
        """Removes originals, durably; one that is gone already does no harm."""
        with durable.explained("remove originals"):
            for digest in digests:
                durable.unlink(self.path(digest), "original.purge", missing_ok=True)
            if digests:
                durable.sync_directories([self._directory], "original.purged")

    def size(self, digest: str) -> int:
        """Bytes that the file of an original takes; 0 where there is none."""
        path = self.path(digest)
        return path.lstat().st_size if path.is_file() else 0

    def open(self, digest: str) -> FileContent:
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

    def _new(self, digest: str) -> Path:
        return self._directory / f"{digest}.new"

    def _write(self, entry: OriginalToKeep) -> None:
        target = self._new(entry.digest)
        if entry.file is not None and self._may_link(entry.file):
            durable.link_or_copy(entry.file, target, "original.link")
            return
        target.unlink(missing_ok=True)
        with entry.content.open() as reader, durable.new_file(target) as writer:
            shutil.copyfileobj(reader, writer, COPY_BLOCK)

    def _may_link(self, file: Path) -> bool:
        # A link counts against the quota of the file's owner until purge.
        return file.lstat().st_uid == self._directory.stat().st_uid
