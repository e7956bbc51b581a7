"""Header blocks as bytes: fields with their offsets (RFC 5322 section 2.2).

Tolerates LF, CRLF and both, 8-bit values and a missing blank line. It changes
nothing and keeps every byte countable.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

from sectool.errors import LimitExceeded
from sectool.message import BytesContent, Content
from sectool.mime.limits import DEFAULT_LIMITS, Limits
from sectool.mime.lines import LineScanner, find_boundary
from sectool.mime.lookahead import (
    FIELD,
    LOOK_AHEAD,
    doubled_line_end,
    goes_on_behind_blank,
    leading_size,
    may_begin_field,
)
from sectool.mime.transfer_encoding import looks_like_cms
from sectool.values import dataclass

_FIELD_AFTER_CR = re.compile(rb"\r[!-9;-~]+[ \t]*:")
_MBOX_LINE = re.compile(rb">?From ")
_FOLD = re.compile(rb"\r?\n")

_WHOLE_FIELD = re.compile(rb"(?!--)([!-9;-~]{1,200}+)[ \t]*+:[^\n]*+\n(?:[ \t][^\n]*+\n)*+")
"""Not what may be a delimiter line: a boundary may hold a colon."""
_BLANK = re.compile(rb"\r*\n")
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


class Field(NamedTuple):
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
        value = self.raw.partition(b":")[2].strip(b" \t\r\n")
        return _FOLD.sub(b"", value) if b"\n" in value else value


@dataclass(frozen=True)
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
    """Of the first field: CRLF or LF; LF where there is none. Twice that where every line
    end of the message is doubled."""

    @property
    def is_doubled(self) -> bool:
        """Whether every line end is there twice."""
        return self.line_end.count(b"\n") > 1

    def first(self, name: bytes) -> bytes | None:
        """The value of the first field of that name, lower case; None: there is none.

        Of duplicates the first counts, as in most mail programs.
        """
        field = self._first.get(name)
        return None if field is None else field.value

    @cached_property
    def _first(self) -> dict[bytes, Field]:
        return {field.name: field for field in reversed(self.fields)}


def field_name(line: bytes) -> bytes | None:
    """The name, in lower case, of the field that a line begins; None: it begins none."""
    match = FIELD.match(line)
    return match[1].lower() if match else None


def is_blank(line: bytes) -> bool:
    """Whether the line is empty but for its end."""
    # CR CR LF is what a conversion of line ends leaves that was made twice.
    return line.endswith(b"\n") and not line.strip(b"\r\n")


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
    scanner: LineScanner,
    boundaries: Sequence[bytes] = (),
    limits: Limits = DEFAULT_LIMITS,
    *,
    is_message: bool = False,
    is_doubled: bool = False,
    begins_message: bool = False,
) -> HeaderBlock:
    """Reads the header of the entity at the scanner's position, and its blank line.

    A line that is neither field nor continuation ends the header, unless a field
    follows it before the next blank line, or CMS behind that: such lines occur in
    real mail, and what follows them says whether the message is encrypted. So
    does a blank line behind which the header goes on. A delimiter line ends it too.

    Args:
        scanner: left at the first byte of the body.
        boundaries: of the multiparts around, each with its two leading hyphens.
        limits: bounds on size and count.
        is_message: whether lines before the header of a message are passed.
        is_doubled: whether every line end of the message is known to be there twice.
        begins_message: whether a message begins behind the blank line where the header says
            nothing else, as in a digest.

    Raises:
        LimitExceeded: the header is too long or has too many fields.
    """
    return _HeaderReader(scanner, boundaries, limits, begins_message).read(is_message, is_doubled)


def sound_header(head: bytes, offset: int = 0) -> HeaderBlock | None:
    """A header in which nothing is odd, as ``read_header`` reads it, and faster.

    Args:
        head: what begins with it; the first ``LOOK_AHEAD`` bytes, or all there is, decide.
        offset: of the first byte in the stream.

    Returns:
        None where anything is odd, so that it is to be read properly.
    """
    head = head[:LOOK_AHEAD]
    fields: list[Field] = []
    position = 0
    while match := _WHOLE_FIELD.match(head, position):
        fields.append(Field(match[1].lower(), offset + position, match[0]))
        position = match.end()
    blank = _BLANK.match(head, position)
    if blank is None or may_begin_field(head[blank.end() : blank.end() + _LONGEST_NAME]):
        return None
    if len(fields) < 2:
        return None
    line_end = b"\r\n" if fields[0].raw.partition(b"\n")[0].endswith(b"\r") else b"\n"
    return HeaderBlock(offset, offset + position, offset + blank.end(), tuple(fields), line_end)


def header_of(
    content: Content, limits: Limits = DEFAULT_LIMITS, *, is_message: bool = False
) -> HeaderBlock:
    """The header that a content begins with; of one in memory it is read once.

    Args:
        content: a message or another entity.
        limits: bounds on size and count.
        is_message: whether lines before the header of a message are passed.

    Raises:
        LimitExceeded: the header is too long or has too many fields.
        OSError: the content cannot be read.
    """
    known = content.headers if isinstance(content, BytesContent) else []
    for header in known:
        assert isinstance(header, HeaderBlock)
        return header
    header = sound_header(content.raw) if isinstance(content, BytesContent) else None
    if header is None:
        with content.open() as stream:
            header = read_header(LineScanner(stream), limits=limits, is_message=is_message)
    if header.fields and header.fields[0].start == 0:
        known.append(header)  # no lines stand before it, be it of a message or not
    return header


def header_in_memory(content: Content, limits: Limits = DEFAULT_LIMITS) -> HeaderBlock | None:
    """The header of a message in memory; None: it is not, and has its header read as it goes by.

    Raises:
        LimitExceeded: as ``header_of``.
    """
    in_memory = isinstance(content, BytesContent)
    return header_of(content, limits, is_message=True) if in_memory else None


class _HeaderReader:
    def __init__(
        self,
        scanner: LineScanner,
        boundaries: Sequence[bytes],
        limits: Limits,
        begins_message: bool,
    ) -> None:
        self._scanner = scanner
        self._boundaries = tuple(boundaries)
        self._limits = limits
        self._begins_message = begins_message
        self._start = scanner.offset
        self._starts: list[tuple[bytes, int]] = []
        self._lines: list[list[bytes]] = []
        self._latest: list[bytes] | None = None
        self._line_end = b""
        self._is_doubled = False
        self._count = 0
        self._sure_until = 0
        """Offset to which the header is known to go on."""

    def read(self, is_message: bool, is_doubled: bool) -> HeaderBlock:
        scanner = self._scanner
        self._is_doubled = is_doubled
        if not is_doubled and (sound := self._read_sound()) is not None:
            return sound
        if is_message and FIELD.match(scanner.peek(_LONGEST_NAME)) is None:
            scanner.skip(leading_size(scanner.peek(LOOK_AHEAD)))
        elif is_doubled:
            self._pass_blank()
        end = scanner.offset
        while _may_continue(scanner.peek(_LONGEST_NAME)) or (self._starts and self._goes_on()):
            if not self._take_line():
                break
            end = scanner.offset
        fields = tuple(
            Field(name, offset, b"".join(parts))
            for (name, offset), parts in zip(self._starts, self._lines, strict=True)
        )
        line_end = (self._line_end or b"\n") * (2 if self._is_doubled else 1)
        return HeaderBlock(self._start, end, scanner.offset, fields, line_end)

    def _read_sound(self) -> HeaderBlock | None:
        header = sound_header(self._scanner.peek(LOOK_AHEAD), self._scanner.offset)
        if header is not None:
            self._scanner.skip(header.body_start - header.start)
        return header

    def _take_line(self) -> bool:
        """Reads a line; False: it is not of the header, and passed where it is blank."""
        line = self._read_line()
        if is_blank(line):
            return self._take_blank(line)
        self._line_end = self._line_end or (b"\r\n" if line.endswith(b"\r\n") else b"\n")
        if _is_delimiter(line, self._boundaries) or not self._file(line):
            self._scanner.push_back(line)
            return False
        if self._is_doubled and self._latest is not None:
            self._latest.append(self._pass_blank())
        self._count += 1
        limits = self._limits
        if len(self._lines) > limits.header_fields or self._count > limits.header_lines:
            raise LimitExceeded("a header block has too many fields or lines")
        return True

    def _take_blank(self, line: bytes) -> bool:
        if not self._is_doubled and self._doubles(line):
            self._is_doubled = True
            self._lines[0].append(line)
            return True
        if self._goes_on_behind_blank():
            self._latest = []
            while self._pass_blank():
                pass
            return True
        if self._is_doubled:
            self._pass_blank()
        return False

    def _read_line(self) -> bytes:
        passed = self._scanner.offset - self._start
        return self._scanner.read_line(self._limits.header_size - passed)

    def _file(self, line: bytes) -> bool:
        """Files a line; False: it is not of the header."""
        if name := field_name(line):
            self._starts.append((name, self._scanner.offset - len(line)))
            self._latest = [line]
            self._lines.append(self._latest)
        elif line[0] not in b" \t":
            # An mbox separator or a damaged line: of the header, but of no field.
            self._latest = []
        elif self._latest is None:
            return False
        else:
            self._latest.append(line)
        return True

    def _pass_blank(self) -> bytes:
        """Passes a blank line, if one is next."""
        if not self._scanner.peek(2).startswith((b"\n", b"\r\n")):
            return b""
        return self._read_line()

    def _doubles(self, blank: bytes) -> bool:
        """Whether the blank line behind the first line is that line's own, doubled."""
        if len(self._lines) != 1 or self._starts[0][0].startswith(b"content-"):
            return False
        return bool(doubled_line_end(self._lines[0][0] + blank + self._scanner.peek(LOOK_AHEAD)))

    def _goes_on(self) -> bool:
        """Whether a line that is no field is of the header nevertheless.

        It is where a field follows before the next blank line, or CMS behind that: taken for
        text it would hide what is encrypted. What follows one line follows the next ones, too:
        each is looked at once.
        """
        offset = self._scanner.offset
        if offset < self._sure_until:
            return True
        head = self._scanner.peek(LOOK_AHEAD)
        position = head.find(b"\n") + 1
        while position:
            end = head.find(b"\n", position) + 1
            line = head[position:end] if end else head[position:]
            is_blank_line = not line.strip(b"\r\n")
            if is_blank_line and not (end and looks_like_cms(head[end:])):
                return False
            if is_blank_line or field_name(line):
                self._sure_until = offset + position
                return True
            position = end
        return False

    def _goes_on_behind_blank(self) -> bool:
        if self._begins_message and not self._starts:
            return False
        if not may_begin_field(self._scanner.peek(_LONGEST_NAME)):
            return False
        types = [
            b"".join(lines).partition(b":")[2].strip()
            for (name, _), lines in zip(self._starts, self._lines, strict=True)
            if name == b"content-type"
        ]
        names = [name for name, _ in self._starts]
        return goes_on_behind_blank(names, types, self._scanner.peek(LOOK_AHEAD))


def _may_continue(head: bytes) -> bool:
    """Whether the header goes on with a line, judged without reading all of it."""
    # Binary data may go on for gigabytes without a line end.
    return (
        head.startswith((b" ", b"\t", b"\r\n", b"\n", b"\r\r\n"))
        or FIELD.match(head) is not None
        or _MBOX_LINE.match(head) is not None
    )


def _is_delimiter(line: bytes, boundaries: tuple[bytes, ...]) -> bool:
    return line.startswith(boundaries) and find_boundary(line, boundaries) is not None
