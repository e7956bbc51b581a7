"""What stands in a checkpoint: an outer header, a line that says what follows, the inner entity."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import BinaryIO

from sectool.errors import CheckpointDamaged, JobLogDamaged
from sectool.message import Content, InnerEntity
from sectool.outcome import HeaderDigest, PlaintextDigest
from sectool.values import dataclass

FIELD = b"X-Sectool-Checkpoint"

HEAD_LIMIT = 16 * 1024 * 1024
"""Bytes of a checkpoint in which the field is looked for."""

_FIRST_LOOK = 64 * 1024
"""Bytes in which it stands as a rule."""

_OFFSET_DIGITS = 12
"""Width of ``inner-offset``: fixed, because the line tells its own end."""

_LINE = re.compile(
    rb"^X-Sectool-Checkpoint: v=1; inner-offset=(\d{12}); inner-sha256=([0-9a-f]{64});"
    rb" content-type=([0-9.]+)\r?\n",
    re.MULTILINE,
)

_DIGEST = re.compile(r"[0-9a-f]{64}")

_OWN_FIELD = re.compile(
    rb"^X-Sectool-Checkpoint[ \t]*:[^\n]*(?:\n[ \t][^\n]*)*(?:\n|\Z)", re.MULTILINE | re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint as it lies in the job directory."""

    inner: Content
    """The exact bytes that were encrypted."""
    inner_sha256: PlaintextDigest
    content_type: str
    """Dotted object identifier of what was encrypted."""
    outer_header: bytes
    """Of the message the part was first seen in, each line with its end, without blank line."""

    @property
    def header_sha256(self) -> HeaderDigest:
        """Of that header, lower-case hexadecimal."""
        return HeaderDigest(hashlib.sha256(self.outer_header).hexdigest())


@dataclass(frozen=True, slots=True)
class Layout:
    """What the line of a checkpoint says."""

    offset: int
    """Of the inner entity, in bytes."""
    inner_sha256: PlaintextDigest
    content_type: str
    """Dotted."""
    outer_header: bytes
    """Lines before it, each with its line end."""


def header_of(outer_header: bytes) -> bytes:
    """A header as a checkpoint begins with it."""
    # A field of this name in somebody's mail must not be taken for ours.
    header = _OWN_FIELD.sub(b"", outer_header)
    return header if not header or header.endswith(b"\n") else header + _line_end(outer_header)


def _line_end(outer_header: bytes) -> bytes:
    return b"\r\n" if b"\r\n" in outer_header else b"\n"


def head(outer_header: bytes, inner: InnerEntity) -> bytes:
    """All that stands before the inner entity.

    Args:
        outer_header: header lines, each with its line end, without the blank line.
        inner: what follows.
    """
    line_end = _line_end(outer_header)
    header = header_of(outer_header)
    # What does not begin with a header of its own would be read as header lines.
    gap = b"" if inner.has_header_block else line_end
    line = b"%s: v=1; inner-offset=%0*d; inner-sha256=%s; content-type=%s%s"
    fixed = (inner.sha256.encode(), inner.content_type.encode(), line_end)
    length = len(line % (FIELD, _OFFSET_DIGITS, 0, *fixed))
    offset = len(header) + length + len(gap)
    return header + line % (FIELD, _OFFSET_DIGITS, offset, *fixed) + gap


def read_layout(name: str, stream: BinaryIO, size: int) -> Layout:
    """Reads a checkpoint as far as its line.

    Args:
        name: content digest, for the error.
        stream: positioned at the first byte.
        size: bytes of the whole checkpoint.

    Raises:
        CheckpointDamaged: the line is missing, or does not fit the size.
    """
    text = stream.read(_FIRST_LOOK)
    match = _LINE.search(text)
    if match is None:
        text += stream.read(HEAD_LIMIT - len(text))
        match = _LINE.search(text)
    if match is None:
        raise damaged(name, "it has no X-Sectool-Checkpoint line")
    offset = int(match[1])
    between = text[match.end() : offset]
    if between not in {b"", b"\n", b"\r\n"} or offset > size or offset < match.end():
        raise damaged(name, "its X-Sectool-Checkpoint line does not fit the file")
    return Layout(
        offset, PlaintextDigest(match[2].decode()), match[3].decode(), text[: match.start()]
    )


def file_name(digest: str, ending: str) -> str:
    """What a file is called that is named by a digest: nothing else ever becomes a name.

    Raises:
        JobLogDamaged: it is no digest.
    """
    if not _DIGEST.fullmatch(digest):
        raise JobLogDamaged("the job log names a file by what is no digest")
    return f"{digest}{ending}"


def digests_in(directory: Path, ending: str) -> list[str]:
    """What ``file_name`` made names from of the files in a directory that end so."""
    stems = (path.name.removesuffix(ending) for path in directory.glob(f"*{ending}"))
    return [stem for stem in stems if _DIGEST.fullmatch(stem)]


def damaged(name: str, reason: str) -> CheckpointDamaged:
    """The error of a checkpoint that cannot be used.

    Args:
        name: its content digest.
        reason: what is wrong with it.
    """
    return CheckpointDamaged(
        f"the checkpoint {name[:16]}… is missing or damaged: {reason}",
        hint="restore it from a backup of the job directory, or decrypt again with the old keys",
    )
