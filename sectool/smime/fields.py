"""Header blocks as bytes: fields with their offsets (RFC 5322 section 2.2).

Tolerates LF, CRLF and both, 8-bit values and a missing blank line. It changes
nothing and keeps every byte countable.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sectool.errors import LimitExceeded
from sectool.smime.limits import DEFAULT_LIMITS, Limits
from sectool.smime.lines import LineScanner, match_delimiter
from sectool.smime.transfer import looks_like_cms

# RFC 5322 section 3.6.8, and the white space before the colon of its section 4.5.
_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:")
_FIELD_AFTER_CR = re.compile(rb"\r[!-9;-~]+[ \t]*:")
_MBOX_LINE = re.compile(rb">?From ")
_FOLD = re.compile(rb"\r?\n")

_LOOK_AHEAD = 16 * 1024
"""Bytes in which a field is looked for behind a line that is none."""
_LONGEST_NAME = 256
"""A field name with its colon; longer ones begin no field."""

CONTENT_FIELDS = frozenset(
    {
        b"content-type",
        b"content-transfer-encoding",
        b"content-disposition",
        b"content-description",
        b"content-id",
    }
)
"""The fields that describe an encrypted body and are replaced with it."""


@dataclass(frozen=True, slots=True)
class Field:
    """One header field with its continuation lines."""

    name: bytes
    """Lower case."""
    start: int
    """Offset of its first byte in the stream."""
    raw: bytes
    """All its lines as they are, with their ends."""

    @property
    def end(self) -> int:
        """Offset after its last byte."""
        return self.start + len(self.raw)

    @property
    def value(self) -> bytes:
        """Unfolded, without white space around it."""
        return _FOLD.sub(b"", self.raw.partition(b":")[2]).strip(b" \t\r\n")


@dataclass(frozen=True, slots=True)
class HeaderBlock:
    """The header of an entity and where it lies."""

    start: int
    """Offset of the first byte of the entity."""
    end: int
    """Offset after the last line that belongs to the header."""
    body_start: int
    """Offset of the body: after the blank line, or ``end`` where none is there."""
    fields: tuple[Field, ...]
    """In order. Lines that are no field, such as an mbox separator, are in none."""
    line_end: bytes
    """Of the first line: CRLF or LF; LF where there is none."""

    def first(self, name: bytes) -> bytes | None:
        """The value of the first field of that name, lower case; None: there is none.

        Of duplicates the first counts, as in most mail programs.
        """
        return next((field.value for field in self.fields if field.name == name), None)


def field_name(line: bytes) -> bytes | None:
    """The name, in lower case, of the field that a line begins; None: it begins none."""
    match = _FIELD.match(line)
    return match[1].lower() if match else None


def is_blank(line: bytes) -> bool:
    """Whether the line is empty but for its end."""
    return line in {b"\r\n", b"\n"}


def has_bare_cr_lines(header: HeaderBlock) -> bool:
    """Whether the whole header is one line to us because its lines end in bare CR.

    RFC 5322 section 2.3 forbids that; an old Macintosh program wrote it. What such
    a message holds cannot be told.
    """
    if len(header.fields) != 1:
        return False
    raw = header.fields[0].raw
    return b"\n" not in raw and _FIELD_AFTER_CR.search(raw) is not None


def read_header(
    scanner: LineScanner, boundaries: Sequence[bytes] = (), limits: Limits = DEFAULT_LIMITS
) -> HeaderBlock:
    """Reads the header of the entity at the scanner's position, and its blank line.

    A line that is neither field nor continuation ends the header, unless a field
    follows it before the next blank line, or CMS behind that: such lines occur in
    real mail, and what follows them says whether the message is encrypted. A
    delimiter line ends it too.

    Args:
        scanner: left at the first byte of the body.
        boundaries: of the multiparts around, each with its two leading hyphens.
        limits: bounds on size and count.

    Raises:
        LimitExceeded: the header is too long or has too many fields.
    """
    start = scanner.offset
    starts: list[tuple[bytes, int]] = []
    lines: list[list[bytes]] = []
    latest: list[bytes] | None = None
    count = 0
    line_end = line = b""
    while _may_continue(scanner.peek(_LONGEST_NAME)) or (starts and _goes_on(scanner)):
        line = scanner.read_line(limits.header_size - (scanner.offset - start))
        line_end = line_end or (b"\r\n" if line.endswith(b"\r\n") else b"\n")
        if is_blank(line):
            break
        if _is_delimiter(line, boundaries):
            scanner.push_back(line)
            break
        if name := field_name(line):
            starts.append((name, scanner.offset - len(line)))
            lines.append(latest := [line])
        elif line[0] not in b" \t":
            # An mbox separator or a damaged line: of the header, but of no field.
            latest = []
        elif latest is None:
            scanner.push_back(line)
            break
        else:
            latest.append(line)
        line = b""
        count += 1
        if len(lines) > limits.header_fields or count > limits.header_lines:
            raise LimitExceeded("a header block has too many fields or lines")
    fields = tuple(
        Field(name, offset, b"".join(parts))
        for (name, offset), parts in zip(starts, lines, strict=True)
    )
    body_start = scanner.offset
    end = body_start - len(line) if is_blank(line) else body_start
    return HeaderBlock(start, end, body_start, fields, line_end or b"\n")


def _may_continue(head: bytes) -> bool:
    """Whether the header goes on with a line, judged without reading all of it."""
    # Binary data may go on for gigabytes without a line end.
    return (
        head.startswith((b" ", b"\t", b"\r\n", b"\n"))
        or _FIELD.match(head) is not None
        or _MBOX_LINE.match(head) is not None
    )


def _goes_on(scanner: LineScanner) -> bool:
    """Whether a line that is no field is of the header nevertheless.

    It is where a field follows before the next blank line, or CMS behind that: taken for
    text it would hide what is encrypted.
    """
    head = scanner.peek(_LOOK_AHEAD)
    position = head.find(b"\n") + 1
    while position:
        end = head.find(b"\n", position) + 1
        line = head[position:end] if end else head[position:]
        if not line.strip(b"\r\n"):
            return bool(end) and looks_like_cms(head[end:])
        if field_name(line):
            return True
        position = end
    return False


def _is_delimiter(line: bytes, boundaries: Sequence[bytes]) -> bool:
    return any(match_delimiter(line, boundary) is not None for boundary in boundaries)
