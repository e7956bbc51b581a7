"""Reads a stored message by lines where it must, by blocks where it can (RFC 2046 section 5.1.1).

Lines end in CRLF or LF; a bare CR ends nothing. It knows delimiter lines and
offsets, and nothing of what stands between them.
"""

from __future__ import annotations

from typing import BinaryIO

from sectool.errors import LimitExceeded
from sectool.values import dataclass

BLOCK = 256 * 1024
"""Bytes read from the stream at a time."""
_TRANSPORT_PADDING = 1024
"""White space that may follow a boundary on its line."""


@dataclass(frozen=True, slots=True)
class Delimiter:
    """One delimiter line of an open multipart."""

    index: int
    """Which of the boundaries it is."""
    start: int
    """Where the body before it ends: the line end before the delimiter belongs to it."""
    is_final: bool
    line_start: int
    """Of its first hyphen."""
    line_end: int
    """Where its own line end begins."""
    end: int
    """Offset after that."""


class CanonicalLines:
    """Text with every line end as CRLF, block by block (RFC 8551 section 3.1.1)."""

    def __init__(self) -> None:
        self._carriage_return = b""

    def update(self, block: bytes) -> bytes:
        """What is certain after this block."""
        text = self._carriage_return + block
        # Its line feed may come with the next block.
        self._carriage_return = b"\r" if text.endswith(b"\r") else b""
        text = text.removesuffix(b"\r") if self._carriage_return else text
        # Most mail has line ends of one kind, which are told faster than replaced.
        if text.count(b"\n") != text.count(b"\r\n"):
            text = text.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        return text

    def finish(self) -> bytes:
        """What is left at the end of the text."""
        rest, self._carriage_return = self._carriage_return, b""
        return rest


class StoreLines:
    """Text with every line end as a store keeps it, block by block.

    Args:
        line_end: CRLF or LF.
    """

    def __init__(self, line_end: bytes) -> None:
        self._line_end = line_end
        self._canonical = CanonicalLines()

    def update(self, block: bytes) -> bytes:
        """What is certain after this block."""
        return self._canonical.update(block).replace(b"\r\n", self._line_end)

    def finish(self) -> bytes:
        """What is left at the end of the text."""
        return self._canonical.finish()


class LineScanner:
    """A forward reader over one stream that knows its offset.

    Args:
        stream: read forward only; its present position is offset zero.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._buffer = b""
        self._position = 0
        self._buffer_offset = 0
        self._at_end = False

    @property
    def offset(self) -> int:
        """Bytes passed so far."""
        return self._buffer_offset + self._position

    def peek(self, count: int) -> bytes:
        """The next bytes, fewer only at the end, without passing them."""
        self._have(count)
        return self._buffer[self._position : self._position + count]

    def read_line(self, limit: int) -> bytes:
        """The next line with its end; empty at the end of the stream.

        Raises:
            LimitExceeded: no line end within ``limit`` bytes.
        """
        found = self._buffer.find(b"\n", self._position)
        while found < 0 and not self._at_end:
            searched = len(self._buffer) - self._position
            if searched > limit:
                break
            self._fill()
            found = self._buffer.find(b"\n", self._position + searched)
        end = len(self._buffer) if found < 0 else found + 1
        if end - self._position > limit:
            raise LimitExceeded(f"a header block is longer than {limit} bytes")
        line = self._buffer[self._position : end]
        self._position = end
        return line

    def skip(self, count: int) -> None:
        """Passes bytes that were peeked at."""
        self._have(count)
        self._position = min(self._position + count, len(self._buffer))

    def push_back(self, line: bytes) -> None:
        """Takes back the line that ``read_line`` gave last."""
        self._position -= len(line)

    def find_delimiter(self, boundaries: tuple[bytes, ...]) -> Delimiter | None:
        """Passes everything up to and with the next delimiter line; None: to the end.

        The present position must be the start of a line.

        Args:
            boundaries: of the open multiparts, outermost first, each with its two
                leading hyphens; of several that match the innermost counts.
        """
        begin = self.offset
        if self.peek(2) == b"--" and (match := self._match(boundaries, begin)):
            return match
        while True:
            found = self._buffer.find(b"\n--", self._position)
            if found >= 0:
                before = found - (found > 0 and self._buffer[found - 1] == 0x0D)
                end = max(self._buffer_offset + before, begin)
                self._position = found + 1
                if match := self._match(boundaries, end):
                    return match
            elif self._at_end:
                self._position = len(self._buffer)
                return None
            else:
                # What may begin a delimiter, with the CR before it, is kept.
                self._position = max(self._position, len(self._buffer) - 4)
                self._fill()

    def _match(self, boundaries: tuple[bytes, ...], body_end: int) -> Delimiter | None:
        """The delimiter line at the present position, passed; None: there is none."""
        room = max(map(len, boundaries)) + _TRANSPORT_PADDING
        self._have(room)
        if not self._buffer.startswith(boundaries, self._position):
            return None
        candidate = self._buffer[self._position : self._position + room]
        line, end, _ = candidate.partition(b"\n")
        if not end and len(candidate) == room:
            return None
        match = find_boundary(line, boundaries)
        if match is None:
            return None
        start = self.offset
        self._position += len(line) + len(end)
        line_end = start + len(line.removesuffix(b"\r"))
        index, is_final = match
        return Delimiter(index, body_end, is_final, start, line_end, self.offset)

    def peek_part(self, count: int, boundaries: tuple[bytes, ...]) -> bytes:
        """As ``peek``, but no further than the next delimiter line, which is the last given.

        So that what lies ahead of each of many small parts is looked at once, and not by all
        parts before it.

        Args:
            count: bytes at most.
            boundaries: of the open multiparts, each with its two leading hyphens.
        """
        head = self.peek(count)
        if not boundaries:
            return head
        start = 0 if head.startswith(b"--") else head.find(b"\n--") + 1
        while start or head.startswith(b"--"):
            end = head.find(b"\n", start) + 1 or len(head)
            if head.startswith(boundaries, start) and find_boundary(head[start:end], boundaries):
                return head[:end]
            start = head.find(b"\n--", end - 1) + 1
            if not start:
                break
        return head

    def _have(self, count: int) -> None:
        while len(self._buffer) - self._position < count and not self._at_end:
            self._fill()

    def _fill(self) -> None:
        rest = self._buffer[self._position :]
        self._buffer_offset += self._position
        self._position = 0
        block = self._stream.read(BLOCK)
        self._at_end = not block
        self._buffer = rest + block


def find_boundary(line: bytes, boundaries: tuple[bytes, ...]) -> tuple[int, bool] | None:
    """Which multipart a delimiter line is of, and whether it is its final one; None: of none.

    Args:
        line: with or without its line end.
        boundaries: outermost first, each with its two leading hyphens and no white space behind;
            of several that match the innermost counts.
    """
    text = line.rstrip(b" \t\r\n")
    # One look at all of them: a line may begin with the boundaries of many multiparts.
    if text not in boundaries and text.removesuffix(b"--").rstrip(b" \t") not in boundaries:
        return None
    for index in range(len(boundaries) - 1, -1, -1):
        is_final = match_delimiter(line, boundaries[index])
        if is_final is not None:
            return index, is_final
    return None


def match_delimiter(line: bytes, boundary: bytes) -> bool | None:
    """Whether a line is the final delimiter of a multipart; None: it is no delimiter of it.

    The whole line is compared: a boundary may be the beginning of another one.

    Args:
        line: with or without its line end.
        boundary: with its two leading hyphens.
    """
    if not line.startswith(boundary):
        return None
    rest = line[len(boundary) :].rstrip(b" \t\r\n")
    if not rest:
        return False
    return True if rest == b"--" else None
