"""A pull reader for BER (X.690 section 8) over a stream, for hostile input.

Iterative, bounded in depth and in everything it holds; large OCTET STRINGs are
handed on in blocks. It hashes exactly the bytes that were consumed. It knows
tags and lengths, not what they mean to CMS.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from typing import BinaryIO, Final, Generic, NamedTuple, Self, TypeVar

from sectool.asn1.octets import read_long_length, read_long_tag, read_oid
from sectool.asn1.tags import CONSTRUCTED, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING
from sectool.errors import LimitExceeded, MalformedMessage
from sectool.values import dataclass

BLOCK: Final = 128 * 1024
"""Bytes read from the stream at a time."""
_HEADER_ROOM = 32
"""No accepted header is longer: five identifier and seventeen length octets."""
_SEGMENTED = OCTET_STRING | CONSTRUCTED
"""Identifier octet of an OCTET STRING in segments."""


@dataclass(frozen=True, slots=True)
class ReaderLimits:
    """What a structure may ask of its reader, whatever it means; sizes are in bytes."""

    depth: int = 100
    """Constructed elements open at a time. Real mail needs about twelve; nested
    segments of an OCTET STRING add one each. What is passed over may be deeper."""
    identifier_size: int = 4 * 1024
    """An integer or object identifier, or what is read in such a place; some writers put a
    whole public key in the place of a key identifier."""


LimitsT = TypeVar("LimitsT", bound=ReaderLimits)


class Header(NamedTuple):
    """Identifier and length octets of one element."""

    tag: int
    """Class bits and tag number of the identifier octet, without the constructed
    bit; a number above 30 stands shifted left by eight, over 0x1f and the class."""
    constructed: bool
    length: int | None
    """Content length; None: indefinite, up to the end-of-contents octets."""
    encoded: bytes
    """The octets themselves."""


_END = Header(0, False, 0, b"\0\0")


class BERReader(Generic[LimitsT]):
    """Reads one BER structure front to back.

    Elements are read in order: ``enter`` and ``leave`` walk into a constructed
    one, ``read_*`` and ``skip`` pass one, ``peek`` looks without passing.

    Every method raises ``MalformedMessage`` where the bytes are not what it asks
    for or end too soon, ``LimitExceeded`` where a bound is reached, and lets the
    ``OSError`` of the stream through. ``what`` names the element in such errors.

    Args:
        stream: read forward only, never sought.
        limits: bounds on depth and size; those of its parts travel with the reader.
    """

    def __init__(self, stream: BinaryIO, limits: LimitsT) -> None:
        self._stream = stream
        self.limits = limits
        self._buffer = b""
        self._position = 0
        self._buffer_offset = 0
        self._hashed = 0
        self._sha256 = hashlib.sha256()
        self._ahead: Header | None = None
        # The innermost open element: whether its length is indefinite, and the
        # offset no element inside may pass (None: nothing bounds it).
        self._indefinite = False
        self._end: int | None = None
        self._outer: list[tuple[bool, int | None]] = []

    @classmethod
    def over(cls, raw: bytes, limits: LimitsT) -> Self:
        """A reader of bytes in memory that admits nothing after them."""
        reader = cls(io.BytesIO(raw), limits)
        reader._end = len(raw)
        return reader

    # --- position ---

    @property
    def offset(self) -> int:
        """Bytes consumed so far; meaningful when nothing was peeked at."""
        return self._buffer_offset + self._position

    def digest(self) -> str:
        """SHA-256 of the bytes consumed, lower-case hexadecimal."""
        self._hash_consumed()
        return self._sha256.hexdigest()

    def count_trailing(self) -> int:
        """Reads the stream to its end and counts the bytes not consumed."""
        count = len(self._buffer) - self._position
        while block := self._stream.read(BLOCK):
            count += len(block)
        return count

    # --- elements ---

    def peek(self) -> Header | None:
        """The header of the next element, or None at the end of the open one."""
        if self._ahead is None:
            if not self._indefinite and self._buffer_offset + self._position == self._end:
                return None
            ahead = self._parse_header()
            if ahead.tag == 0:
                self._check_end_of_contents(ahead)
                ahead = _END
            self._ahead = ahead
        return None if self._ahead is _END else self._ahead

    def at(self, tag: int) -> bool:
        """Whether the next element has that tag."""
        header = self.peek()
        return header is not None and header.tag == tag

    def take(self, what: str) -> Header:
        """The header of the next element, now passed; its content must follow."""
        header = self.peek()
        if header is None:
            raise MalformedMessage(f"{what} is missing")
        self._ahead = None
        return header

    def take_tag(self, tag: int, what: str) -> Header:
        """As ``take``, of an element that must have that tag."""
        header = self.take(what)
        if header.tag != tag:
            raise MalformedMessage(f"{what} is not where it belongs (found tag {header.tag:#04x})")
        return header

    def enter(self, tag: int, what: str) -> None:
        """Walks into the next element, which must be constructed."""
        self.enter_header(self.take_tag(tag, what), what)

    def enter_header(self, header: Header, what: str) -> None:
        """Walks into an element whose header was taken."""
        if not header.constructed:
            raise MalformedMessage(f"{what} is not constructed")
        if len(self._outer) >= self.limits.depth:
            raise LimitExceeded(f"elements are nested more than {self.limits.depth} deep")
        self._outer.append((self._indefinite, self._end))
        self._indefinite = header.length is None
        if header.length is not None:
            self._end = self._buffer_offset + self._position + header.length

    def leave(self, what: str) -> None:
        """Closes the open element, of which nothing may be left."""
        if self.peek() is not None:
            raise MalformedMessage(f"{what} holds more than it should")
        self._close()

    def skip(self, what: str) -> None:
        """Passes the next element, whatever it holds."""
        header = self.peek()
        if header is not None and header.length is not None:
            end = self._position + header.length
            if end <= len(self._buffer):
                self._ahead, self._position = None, end
                return
        for header in self._headers(what):
            self._skip_content(header.length or 0)

    def read_raw(self, what: str, limit: int) -> bytes:
        """The next element as encoded, header and all, of at most ``limit`` bytes."""
        raw = self.read_raw_or_skip(what, limit)
        if raw is None:
            raise LimitExceeded(f"{what} is longer than {limit} bytes")
        return raw

    def read_raw_or_skip(self, what: str, limit: int) -> bytes | None:
        """As ``read_raw``; None where it is longer, and was passed."""
        parts: list[bytes] = []
        size = 0
        for header in self._headers(what):
            size += len(header.encoded) + (header.length or 0)
            if size <= limit:
                parts += (header.encoded, self._read_content(header.length or 0))
            else:
                parts.clear()
                self._skip_content(header.length or 0)
        return b"".join(parts) if size <= limit else None

    def _headers(self, what: str) -> Iterator[Header]:
        """Passes the header of the next element, and those inside where its length is indefinite.

        Whoever takes one passes its content. Open elements are only counted, so that their
        depth costs nothing.
        """
        header = self.take(what)
        depth = 0
        while True:
            if header.tag == 0:
                if not depth or header.constructed or header.length != 0:
                    raise MalformedMessage("end-of-contents octets stand where nothing ends")
                depth -= 1
            elif header.length is None:
                depth += 1
            yield header
            if not depth:
                return
            header = self._parse_header()

    def peek_whole(self) -> bytes:
        """The next element as encoded, where it lies whole in the buffer; it is not passed."""
        header = self.peek()
        if header is None or header.length is None:
            return b""
        end = self._position + header.length
        if end > len(self._buffer):
            return b""
        return self._buffer[self._position - len(header.encoded) : end]

    def read_primitive(self, tag: int, what: str, limit: int) -> bytes:
        """The content of the next element, primitive and of at most ``limit`` bytes."""
        header = self.take_tag(tag, what)
        if header.constructed or header.length is None:
            raise MalformedMessage(f"{what} is not primitive")
        if header.length > limit:
            raise LimitExceeded(f"{what} is longer than {limit} bytes")
        return self._read_content(header.length)

    def read_integer(self, what: str) -> int:
        """An INTEGER (X.690 section 8.3)."""
        content = self.read_primitive(INTEGER, what, self.limits.identifier_size)
        if not content:
            raise MalformedMessage(f"{what} is an empty integer")
        return int.from_bytes(content, "big", signed=True)

    def read_oid(self, what: str) -> str:
        """An OBJECT IDENTIFIER in dotted form (X.690 section 8.19)."""
        content = self.read_primitive(OBJECT_IDENTIFIER, what, self.limits.identifier_size)
        return read_oid(content)

    def read_octet_string(self, what: str, limit: int, *, tag: int = OCTET_STRING) -> bytes:
        """An OCTET STRING of at most ``limit`` bytes, primitive or in segments."""
        header = self.take_tag(tag, what)
        if header.length is not None and header.length > 2 * limit + _HEADER_ROOM:
            raise LimitExceeded(f"{what} is longer than {limit} bytes")
        parts: list[bytes] = []
        size = 0
        for block in self.octet_string_blocks(header, what):
            size += len(block)
            if size > limit:
                raise LimitExceeded(f"{what} is longer than {limit} bytes")
            parts.append(block)
        return b"".join(parts)

    def octet_string_blocks(self, header: Header, what: str) -> Iterator[bytes]:
        """The content of an OCTET STRING whose header was taken, in blocks.

        Segments of a constructed one may nest; small ones are gathered. The
        iterator must be read to its end before anything else is read.
        """
        if not header.constructed:
            yield from self._content_blocks(header.length or 0)
            return
        outside = len(self._outer)
        self.enter_header(header, what)
        while len(self._outer) > outside:
            if block := self._gather_segments(outside):
                yield block
            if len(self._outer) == outside:
                return
            segment = self.peek()
            self._ahead = None
            if segment is None:
                self._close()
            elif segment.tag != OCTET_STRING:
                raise MalformedMessage(f"{what} holds a segment that is not an octet string")
            elif segment.constructed:
                self.enter_header(segment, what)
            else:
                yield from self._content_blocks(segment.length or 0)

    # --- inside ---

    def _gather_segments(self, outside: int) -> bytes:
        """Passes segments that lie whole in the buffer, and joins what they hold.

        Does what ``peek``, ``enter_header`` and ``_close`` would, but some mail comes in
        millions of segments of a few bytes each; whatever is unusual is left to them.

        Args:
            outside: elements that are open around the octet string.
        """
        buffer, outer, offset = self._buffer, self._outer, self._buffer_offset
        position, end, indefinite = self._position, self._end, self._indefinite
        parts: list[bytes] = []
        while len(outer) > outside:
            if not indefinite and offset + position == end:
                indefinite, end = outer.pop()
                continue
            stop = len(buffer) if end is None else min(len(buffer), end - offset)
            position = join_segments(buffer, position, stop, parts)
            if position + 2 > stop:
                break
            identifier, length = buffer[position], buffer[position + 1]
            if identifier == _SEGMENTED and len(outer) < self.limits.depth:
                inner = end if length == 0x80 else offset + position + 2 + length
                if length > 0x80 or (end is not None and inner is not None and inner > end):
                    break
                outer.append((indefinite, end))
                indefinite, end = length == 0x80, inner
            elif identifier == length == 0 and indefinite:
                indefinite, end = outer.pop()
            else:
                break
            position += 2
        self._position, self._end, self._indefinite = position, end, indefinite
        return b"".join(parts)

    def _close(self) -> None:
        self._ahead = None
        self._indefinite, self._end = self._outer.pop()

    def _check_end_of_contents(self, header: Header) -> None:
        if not self._indefinite or header.constructed or header.length != 0:
            raise MalformedMessage("end-of-contents octets stand where nothing ends")

    def _parse_header(self) -> Header:
        if len(self._buffer) - self._position < _HEADER_ROOM:
            self._fill(_HEADER_ROOM)
        buffer, start = self._buffer, self._position
        try:
            identifier = buffer[start]
            position = start + 1
            tag = identifier & 0xDF  # without the constructed bit
            if tag & 0x1F == 0x1F:
                tag, position = read_long_tag(buffer, position, tag)
            length: int | None = buffer[position]
            position += 1
            if length is not None and length >= 0x80:
                length, position = read_long_length(buffer, position, length & 0x7F)
        except IndexError:
            raise MalformedMessage("the structure ends too soon") from None
        constructed = bool(identifier & CONSTRUCTED)
        if length is None and not constructed:
            raise MalformedMessage("a primitive element has an indefinite length")
        self._position = position
        end = self._end
        if end is not None and self._buffer_offset + position + (length or 0) > end:
            raise MalformedMessage("an element is longer than what holds it")
        return Header(tag, constructed, length, buffer[start:position])

    def _read_content(self, length: int) -> bytes:
        end = self._position + length
        if end <= len(self._buffer):
            content = self._buffer[self._position : end]
            self._position = end
            return content
        return b"".join(self._content_blocks(length))

    def _content_blocks(self, length: int) -> Iterator[bytes]:
        while length:
            block = self._next_part(length)
            length -= len(block)
            yield block

    def _skip_content(self, length: int) -> None:
        while length:
            length -= len(self._next_part(length))

    def _next_part(self, most: int) -> bytes:
        """At least one byte and at most ``most`` of what follows."""
        if self._position == len(self._buffer):
            self._fill(1)
        part = self._buffer[self._position : self._position + most]
        if not part:
            raise MalformedMessage("the structure ends too soon")
        self._position += len(part)
        return part

    def _fill(self, wanted: int) -> None:
        """Makes ``wanted`` bytes available, or as many as the stream still has."""
        self._hash_consumed()
        rest = self._buffer[self._position :]
        self._buffer_offset += self._position
        self._position = self._hashed = 0
        while len(rest) < wanted and (block := self._stream.read(BLOCK)):
            rest = rest + block if rest else block
        self._buffer = rest

    def _hash_consumed(self) -> None:
        if self._position > self._hashed:
            self._sha256.update(memoryview(self._buffer)[self._hashed : self._position])
            self._hashed = self._position


_OCTET_STRING = 0x04
_SEGMENT_HEADER = 6
"""Bytes that the header of a segment has at most, where it is not left to the parser."""
_TINY = 8
"""Bytes of a segment that costs more to look at than to copy."""
_RUN = 16
"""Tiny segments of one length that have to follow each other before more are looked at together."""
_TOGETHER = 512
"""Tiny segments looked at together."""


def join_segments(buffer: bytes, position: int, stop: int, parts: list[bytes]) -> int:
    """Takes primitive segments that follow each other (X.690 section 8.7.3).

    Args:
        buffer: holds them.
        position: of the first.
        stop: where the buffer ends, or what they are in.
        parts: takes their contents.

    Returns:
        Where what is no such segment begins, or is left to a parser for its rare form.
    """
    while position + _SEGMENT_HEADER <= stop and buffer[position] == _OCTET_STRING:
        length, start = buffer[position + 1], position + 2
        if length > 0x80:
            octets = length - 0x80
            if octets > _SEGMENT_HEADER - 2:
                break
            length, start = int.from_bytes(buffer[start : start + octets]), start + octets
        if length == 0x80 or start + length > stop:
            break
        if length <= _TINY and start == position + 2 and _begins_run(buffer, position, length):
            content, position = _join_tiny(buffer, position, stop, length)
            parts.append(content)
            continue
        position = start + length
        parts.append(buffer[start:position])
    return position


def _begins_run(buffer: bytes, position: int, length: int) -> bool:
    """Whether some segments of one length follow each other, so that a closer look pays."""
    stride = length + 2
    stop = position + _RUN * stride
    return (
        stop <= len(buffer)
        and buffer[position + stride + 1] == length
        and buffer[stop - stride + 1] == length
        and buffer[position:stop:stride] == b"\x04" * _RUN
        and buffer[position + 1 : stop : stride] == b"%c" % length * _RUN
    )


def _join_tiny(buffer: bytes, position: int, stop: int, length: int) -> tuple[bytes, int]:
    """Joins segments of one small length that follow each other, and says where they end.

    There may be millions of a byte each: they are looked at many at a time.
    """
    stride = length + 2
    stop = min(stop, position + _TOGETHER * stride)
    count = (stop - position) // stride
    stop = position + count * stride
    tags, lengths = buffer[position:stop:stride], buffer[position + 1 : stop : stride]
    count = min(
        len(tags) - len(tags.lstrip(b"\x04")), len(lengths) - len(lengths.lstrip(b"%c" % length))
    )
    stop = position + count * stride
    content = bytearray(count * length)
    for offset in range(length):
        content[offset::length] = buffer[position + 2 + offset : stop : stride]
    return bytes(content), stop
