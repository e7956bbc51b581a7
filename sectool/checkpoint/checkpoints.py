"""Checkpoints: the plaintext of encrypted parts, durable, enough to encrypt them again.

A checkpoint is a file named by the content digest of its part: the outer
header the part was first seen with, for a person who looks; as its last line
``X-Sectool-Checkpoint`` with offset, digest and content type of what follows;
then the exact inner entity. The files are enough without the job log, be they
plain or, with the keys they were sealed to, sealed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

from sectool import durable
from sectool.checkpoint.layout import (
    Checkpoint,
    damaged,
    digests_in,
    file_name,
    head,
    header_of,
    read_layout,
)
from sectool.crashpoints import crashpoint
from sectool.errors import CheckpointDamaged, MessageError, UsageError, reason_of
from sectool.message import DigestingSink, FileContent, InnerEntity, open_regular_file
from sectool.outcome import ContentDigest, HeaderDigest, PlaintextDigest
from sectool.values import dataclass

# --- how a checkpoint becomes a file and is read from it, and the plain way of doing so -----------


class CheckpointFiles(Protocol):
    """One way in which all checkpoints of a job are kept."""

    @property
    def suffix(self) -> str:
        """With which their names end."""

    def write(
        self, path: Path, stream: BinaryIO, outer_header: bytes, inner: InnerEntity, /
    ) -> str:
        """Writes a whole checkpoint to a new file.

        Args:
            path: of that file.
            stream: open for writing at its first byte; the caller closes it.
            outer_header: header lines for a person, each with its line end,
                without the blank line.
            inner: what was encrypted.

        Returns:
            SHA-256 of the file, lower-case hexadecimal.

        Raises:
            MessageError: the inner entity changed meanwhile, or what was written
                does not hold it.
        """

    def open(self, path: Path) -> Checkpoint:
        """Reads a checkpoint, without computing the digest of its inner entity.

        Raises:
            CheckpointDamaged: it is not there, or does not hold together.
        """

    def may_hold(self, path: Path, inner_size: int) -> bool:
        """Whether the file is there and as long as it must be for so large an inner entity."""

    def is_whole(
        self,
        path: Path,
        inner_sha256: PlaintextDigest,
        inner_size: int,
        header_sha256: HeaderDigest | None,
    ) -> bool:
        """Whether a checkpoint is what it was, as far as that can be told without a key.

        Args:
            path: of its file.
            inner_sha256: of the inner entity.
            inner_size: of it, in bytes.
            header_sha256: of the header; None: it is not known.
        """

    def is_for_keys(self, path: Path) -> bool | None:
        """Whether the keys at hand open a checkpoint; None: it is missing or damaged."""

    def size_of(self, inner_size: int) -> int:
        """Bytes of file that an inner entity of this size takes, headers aside."""


class PlainFiles:
    """Checkpoints as they are, for anybody to read."""

    suffix = ".eml"

    def write(
        self, _path: Path, stream: BinaryIO, outer_header: bytes, inner: InnerEntity, /
    ) -> str:
        writer = DigestingSink(stream)
        writer.write(head(outer_header, inner))
        inner.write_to(writer)
        return writer.hexdigest()

    def open(self, path: Path) -> Checkpoint:
        try:
            with open_regular_file(path) as stream:
                size = os.fstat(stream.fileno()).st_size
                layout = read_layout(path.stem, stream, size)
        except OSError as error:
            raise damaged(path.stem, reason_of(error)) from error
        inner = FileContent(path, offset=layout.offset, length=size - layout.offset)
        return Checkpoint(inner, layout.inner_sha256, layout.content_type, layout.outer_header)

    def may_hold(self, path: Path, inner_size: int) -> bool:
        try:
            return self.open(path).inner.size == inner_size
        except CheckpointDamaged:
            return False

    def is_whole(
        self,
        path: Path,
        inner_sha256: PlaintextDigest,
        inner_size: int,
        header_sha256: HeaderDigest | None,
    ) -> bool:
        try:
            checkpoint = self.open(path)
            found = (checkpoint.inner.size, checkpoint.inner.digest, checkpoint.header_sha256)
        except (CheckpointDamaged, OSError, MessageError):
            return False
        return found == (inner_size, inner_sha256, header_sha256 or found[2])

    def is_for_keys(self, path: Path) -> bool | None:
        return True if path.is_file() else None

    def size_of(self, inner_size: int) -> int:
        return inner_size


# --- all of a job ---------------------------------------------------------------------------------

INCOMING_NAME = "incoming"
"""Directory that workers write to."""


@dataclass(frozen=True, slots=True)
class IncomingCheckpoint:
    """A checkpoint that a worker wrote, not yet durable."""

    content_digest: ContentDigest
    path: Path
    file_digest: str
    """SHA-256 of the whole file."""
    header_sha256: HeaderDigest
    """Of the header it begins with, lower-case hexadecimal."""
    is_durable: bool = False
    """Whether it was synced, and read back as it was written."""


class CheckpointStore:
    """The checkpoints of one job.

    Args:
        directory: ``checkpoints`` of a job directory.
        files: how they are written and read; None: plain.
    """

    def __init__(self, directory: Path, files: CheckpointFiles | None = None) -> None:
        self._directory = directory
        self._files = files or PlainFiles()
        self.incoming = directory / INCOMING_NAME
        """Where workers write; its files count for nothing and go when a run begins."""

    def prepare(self) -> None:
        """Makes the directories and removes what an interrupted run left half written."""
        with durable.explained("make the checkpoint directory", denied=UsageError):
            durable.make_directory(self._directory)
            durable.make_directory(self.incoming)
        self.sweep()

    def sweep(self) -> None:
        """Removes incoming checkpoints that were never adopted; while nobody writes any."""
        with durable.explained("clean the checkpoint directory", denied=UsageError):
            for leftover in self.incoming.iterdir():
                durable.unlink(leftover, "checkpoint.sweep", missing_ok=True)

    def path(self, content_digest: ContentDigest) -> Path:
        """Where the checkpoint of a part lies."""
        return self._directory / file_name(content_digest, self._files.suffix)

    def write(
        self, content_digest: ContentDigest, outer_header: bytes, inner: InnerEntity
    ) -> IncomingCheckpoint:
        """Writes a checkpoint, unsynced, among the incoming ones; any process may.

        Args:
            content_digest: of the encrypted part.
            outer_header: header lines for a person, each with its line end,
                without the blank line.
            inner: what was encrypted.

        Raises:
            NoSpace: disk or quota full.
            MessageError: the inner entity changed meanwhile, or what was written
                does not hold it.
        """
        path = self.incoming / file_name(content_digest, f".{os.getpid()}.{os.urandom(4).hex()}")
        with durable.new_output(path, "write a checkpoint", denied=UsageError) as stream:
            digest = self._files.write(path, stream, outer_header, inner)
            crashpoint("checkpoint.written")
        header = HeaderDigest(hashlib.sha256(header_of(outer_header)).hexdigest())
        return IncomingCheckpoint(content_digest, path, digest, header)

    def make_durable(self, incoming: Sequence[IncomingCheckpoint]) -> None:
        """Makes what was written durable, and reads it back; any process may.

        Raises:
            NoSpace: a sync failed for want of space; none of them counts.
            RunError: a sync failed, or a file reads back otherwise than it was written.
        """
        with durable.explained("make the checkpoints durable", denied=UsageError):
            paths = [entry.path for entry in incoming]
            read = durable.sync_and_read_back(paths, "checkpoint.sync")
            for error in filter(None, (back.error for back in read)):
                raise error
        if [back.digest for back in read] != [entry.file_digest for entry in incoming]:
            raise CheckpointDamaged(
                "a checkpoint reads back otherwise than it was written",
                hint="the disk may be failing; nothing was removed from the mailbox",
            )

    def adopt(self, incoming: Sequence[IncomingCheckpoint]) -> None:
        """Gives checkpoints their names, durably, after all of them are durable themselves.

        Raises:
            NoSpace: a sync failed for want of space; none of them counts.
            RunError: a sync failed, or a file reads back otherwise than it was written.
        """
        self.make_durable([entry for entry in incoming if not entry.is_durable])
        with durable.explained("make the checkpoints durable", denied=UsageError):
            for entry in incoming:
                self._give_name(entry)
            durable.sync_directories([self._directory], "checkpoint.directory")

    def _give_name(self, entry: IncomingCheckpoint) -> None:
        path = self.path(entry.content_digest)
        try:
            durable.rename(entry.path, path, "checkpoint.rename")
        except IsADirectoryError as error:
            raise CheckpointDamaged(
                f"a directory lies in the place of the checkpoint {path}",
                hint="move it away, then run the same command again",
            ) from error

    def discard(self, incoming: Iterable[IncomingCheckpoint]) -> None:
        """Removes checkpoints that are not wanted after all."""
        for entry in incoming:
            durable.unlink(entry.path, "checkpoint.discard", missing_ok=True)

    def purge(self, content_digests: Sequence[ContentDigest]) -> None:
        """Removes checkpoints, durably; one that is gone already does no harm."""
        with durable.explained("remove checkpoints", denied=UsageError):
            for digest in content_digests:
                durable.unlink(self.path(digest), "checkpoint.purge", missing_ok=True)
            if content_digests:
                durable.sync_directories([self._directory], "checkpoint.purged")

    def digests(self) -> list[ContentDigest]:
        """Content digests of all that have a file."""
        with durable.explained("list the checkpoints", denied=UsageError):
            return list(map(ContentDigest, digests_in(self._directory, self._files.suffix)))

    def size(self, content_digest: ContentDigest) -> int:
        """Bytes that the file of a checkpoint takes; 0 where there is none."""
        return durable.size_of(self.path(content_digest))

    def open(self, content_digest: ContentDigest) -> Checkpoint:
        """The checkpoint of a part, from the file alone.

        The digest of the inner entity is not computed here: whoever reads the
        content compares.

        Raises:
            CheckpointDamaged: there is none, or it does not hold together.
        """
        return self._files.open(self.path(content_digest))

    def may_hold(self, content_digest: ContentDigest, inner_size: int) -> bool:
        """Whether the file of a checkpoint is as long as it was; needs no key."""
        return self._files.may_hold(self.path(content_digest), inner_size)

    def is_whole(
        self,
        content_digest: ContentDigest,
        inner_sha256: PlaintextDigest,
        inner_size: int,
        header_sha256: HeaderDigest | None,
    ) -> bool:
        """Whether a checkpoint is what it was, as far as that can be told without a key.

        Args:
            content_digest: of the part.
            inner_sha256: of the inner entity.
            inner_size: of it, in bytes.
            header_sha256: of the header; None: it is not known.
        """
        path = self.path(content_digest)
        return self._files.is_whole(path, inner_sha256, inner_size, header_sha256)

    def is_for_keys(self, content_digest: ContentDigest) -> bool | None:
        """Whether the keys at hand open a checkpoint; None: it is missing or damaged."""
        return self._files.is_for_keys(self.path(content_digest))

    def size_of(self, inner_size: int) -> int:
        """Bytes that a checkpoint of so large an inner entity would take, headers aside."""
        return self._files.size_of(inner_size)
