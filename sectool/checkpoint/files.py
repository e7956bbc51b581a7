"""How a checkpoint becomes a file and is read from it, and the plain way of doing so."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO, Protocol

from sectool.checkpoint.layout import Checkpoint, damaged, head, read_layout
from sectool.errors import CheckpointDamaged, MessageError, reason_of
from sectool.message import DigestingSink, FileContent, InnerEntity, open_regular_file
from sectool.outcome import HeaderDigest, PlaintextDigest


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
