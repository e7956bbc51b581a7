"""Checkpoints: the plaintext of encrypted parts, durable, enough to encrypt them again.

A checkpoint is a file named by the content digest of its part: the outer
header the part was first seen with, for a person who looks; as its last line
``X-Sectool-Checkpoint`` with offset, digest and content type of what follows;
then the exact inner entity. The files are enough without the job log.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from sectool import durable
from sectool.crashpoints import crashpoint
from sectool.errors import CheckpointDamaged
from sectool.message import DigestingSink, FileContent, InnerEntity, open_regular_file

FIELD = b"X-Sectool-Checkpoint"

HEAD_LIMIT = 16 * 1024 * 1024
"""Bytes of a checkpoint in which the field is looked for."""

_OFFSET_DIGITS = 12
"""Width of ``inner-offset``: fixed, because the line tells its own end."""

_LINE = re.compile(
    rb"^X-Sectool-Checkpoint: v=1; inner-offset=(\d{12}); inner-sha256=([0-9a-f]{64});"
    rb" content-type=([0-9.]+)\r?\n",
    re.MULTILINE,
)

_OWN_FIELD = re.compile(
    rb"^X-Sectool-Checkpoint[ \t]*:[^\n]*(?:\n[ \t][^\n]*)*(?:\n|\Z)", re.MULTILINE | re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class IncomingCheckpoint:
    """A checkpoint that a worker wrote, not yet durable."""

    content_digest: str
    path: Path
    file_digest: str
    """SHA-256 of the whole file."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint as it lies in the job directory."""

    inner: FileContent
    """The exact bytes that were encrypted."""
    inner_sha256: str
    content_type: str
    """Dotted object identifier of what was encrypted."""


class CheckpointStore:
    """The checkpoints of one job.

    Args:
        directory: ``checkpoints`` of a job directory.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.incoming = directory / "incoming"
        """Where workers write; its files count for nothing and go when a run begins."""

    def prepare(self) -> None:
        """Makes the directories and removes what an interrupted run left half written."""
        with durable.explained("make the checkpoint directory"):
            durable.make_directory(self._directory)
            durable.make_directory(self.incoming)
        self.sweep()

    def sweep(self) -> None:
        """Removes incoming checkpoints that were never adopted; while nobody writes any."""
        with durable.explained("clean the checkpoint directory"):
            for leftover in self.incoming.iterdir():
                durable.unlink(leftover, "checkpoint.sweep", missing_ok=True)

    def path(self, content_digest: str) -> Path:
        """Where the checkpoint of a part lies."""
        return self._directory / f"{content_digest}.eml"

    def write(
        self, content_digest: str, outer_header: bytes, inner: InnerEntity
    ) -> IncomingCheckpoint:
        """Writes a checkpoint, unsynced, among the incoming ones; any process may.

        Args:
            content_digest: of the encrypted part.
            outer_header: header lines for a person, each with its line end,
                without the blank line.
            inner: what was encrypted.

        Raises:
            NoSpace: disk or quota full.
        """
        path = self.incoming / f"{content_digest}.{os.getpid()}.{os.urandom(4).hex()}"
        with durable.explained("write a checkpoint"), durable.new_file(path) as stream:
            writer = DigestingSink(stream)
            writer.write(_head(outer_header, inner))
            inner.write_to(writer)
            crashpoint("checkpoint.written")
        return IncomingCheckpoint(content_digest, path, writer.hexdigest())

    def adopt(self, incoming: Sequence[IncomingCheckpoint]) -> None:
        """Makes checkpoints durable, reads them back, and gives them their names, durably.

        Raises:
            NoSpace: a sync failed for want of space; none of them counts.
            RunError: a sync failed, or a file reads back otherwise than it was written.
        """
        with durable.explained("make the checkpoints durable"):
            durable.sync_files((entry.path for entry in incoming), "checkpoint.sync")
            for entry in incoming:
                if durable.read_back_digest(entry.path) != entry.file_digest:
                    raise CheckpointDamaged(
                        "a checkpoint reads back otherwise than it was written",
                        hint="the disk may be failing; nothing was removed from the mailbox",
                    )
            for entry in incoming:
                durable.rename(entry.path, self.path(entry.content_digest), "checkpoint.rename")
            durable.sync_directories([self._directory], "checkpoint.directory")

    def discard(self, incoming: Iterable[IncomingCheckpoint]) -> None:
        """Removes checkpoints that are not wanted after all."""
        for entry in incoming:
            durable.unlink(entry.path, "checkpoint.discard", missing_ok=True)

    def purge(self, content_digests: Sequence[str]) -> None:
        """Removes checkpoints, durably; one that is gone already does no harm."""
        with durable.explained("remove checkpoints"):
            for digest in content_digests:
                durable.unlink(self.path(digest), "checkpoint.purge", missing_ok=True)
            if content_digests:
                durable.sync_directories([self._directory], "checkpoint.purged")

    def size(self, content_digest: str) -> int:
        """Bytes that the file of a checkpoint takes; 0 where there is none."""
        path = self.path(content_digest)
        return path.lstat().st_size if path.is_file() else 0

    def open(self, content_digest: str) -> Checkpoint:
        """The checkpoint of a part, from the file alone.

        The digest of the inner entity is not computed here: whoever reads the
        content compares.

        Raises:
            CheckpointDamaged: there is none, or it does not hold together.
        """
        path = self.path(content_digest)
        try:
            with open_regular_file(path) as stream:
                size = os.fstat(stream.fileno()).st_size
                return _parse(path, size, stream)
        except OSError as error:
            raise _damaged(content_digest, (error.strerror or "cannot be read").lower()) from error


def _head(outer_header: bytes, inner: InnerEntity) -> bytes:
    line_end = b"\r\n" if b"\r\n" in outer_header else b"\n"
    # A field of this name in somebody's mail must not be taken for ours.
    header = _OWN_FIELD.sub(b"", outer_header)
    if header and not header.endswith(b"\n"):
        header += line_end
    # What does not begin with a header of its own would be read as header lines.
    gap = b"" if inner.has_header_block else line_end
    line = b"%s: v=1; inner-offset=%0*d; inner-sha256=%s; content-type=%s%s"
    fixed = (inner.sha256.encode(), inner.content_type.encode(), line_end)
    length = len(line % (FIELD, _OFFSET_DIGITS, 0, *fixed))
    offset = len(header) + length + len(gap)
    return header + line % (FIELD, _OFFSET_DIGITS, offset, *fixed) + gap


def _parse(path: Path, size: int, stream: BinaryIO) -> Checkpoint:
    head = stream.read(HEAD_LIMIT)
    match = _LINE.search(head)
    if match is None:
        raise _damaged(path.stem, "it has no X-Sectool-Checkpoint line")
    offset = int(match[1])
    between = head[match.end() : offset]
    if between not in {b"", b"\n", b"\r\n"} or offset > size or offset < match.end():
        raise _damaged(path.stem, "its X-Sectool-Checkpoint line does not fit the file")
    inner = FileContent(path, offset=offset, length=size - offset)
    return Checkpoint(inner, match[2].decode(), match[3].decode())


def _damaged(content_digest: str, reason: str) -> CheckpointDamaged:
    return CheckpointDamaged(
        f"the checkpoint {content_digest[:16]}… is missing or damaged: {reason}",
        hint="restore it from a backup of the job directory, or decrypt again with the old keys",
    )
