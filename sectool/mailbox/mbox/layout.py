"""Finds where one message of an mbox lies, and which of its bytes are its content."""

from __future__ import annotations

import hashlib
import io
import os
from bisect import bisect_right
from itertools import accumulate

from sectool.mailbox.mbox.form import (
    FROM,
    HEADER_LIMIT,
    LINE_LIMIT,
    MARKS_LIMIT,
    Header,
    header_end,
    separates,
)
from sectool.mailbox.mbox.reader import Reader
from sectool.message import COPY_BLOCK
from sectool.values import dataclass

USUAL_HEADER = 16 * 1024
"""Bytes in which most header blocks end."""

QUOTED_LIMIT = 100_000
"""Quoted lines in one message; one with more is read as it stands."""

_FIELD_LIMIT = 256
_EMPTY = (b"\n\n", b"\n\r\n")
_ALONE = (b"\n", b"\r\n")


@dataclass(frozen=True, slots=True)
class Layout:
    """Where one message lies in an open file."""

    start: int
    """Of its separator line."""
    end: int
    """Of all of it, with the empty line before the next separator."""
    line: bytes
    """The separator; empty in a file that holds one message alone."""
    header: Header
    header_start: int
    ranges: tuple[tuple[int, int], ...]
    """What of the file is the content of the message, in order."""
    is_ended: bool
    """Whether its last line has an end; else the content has one more than the file."""
    hides: bool = False
    """Whether what would begin another message is part of it, as a Content-Length says alone."""
    is_plain: bool = False
    """Whether no line of it begins with ``From ``, after marks or none."""

    @property
    def size(self) -> int:
        """Bytes of the content."""
        return sum(end - start for start, end in self.ranges) + (not self.is_ended)


@dataclass(frozen=True, slots=True)
class _Look:
    """What the lines of a message say that begin with ``From ``."""

    end: int
    """Where the next message begins."""
    quoted: list[int]
    """The first mark of each line that has some."""
    is_raw: bool = False
    """Whether none is quoted."""
    hides: bool = False

    @property
    def is_plain(self) -> bool:
        return not (self.quoted or self.is_raw or self.hides)


def lay_out(
    reader: Reader,
    start: int,
    end: int | None,
    *,
    by_length: bool,
    bare: bool = False,
    is_plain: bool = False,
) -> Layout:
    """Finds where a message ends, and what of it is its content.

    Args:
        reader: of the file.
        start: of its separator line.
        end: where the next message begins, where that is known.
        by_length: whether a Content-Length says it, where it is right.
        bare: the file holds this message alone, without a separator line.
        is_plain: what ``end`` was found with says so, so that no line is looked at.
    """
    line = b"" if bare else reader.line(start)
    header_start = min(start + len(line), reader.size)
    limit = reader.size if end is None else end
    beginning = _beginning(reader, header_start, limit)
    is_whole = end is not None and header_start + len(beginning) >= end
    length = header_end(beginning, is_whole=is_whole)
    header = Header(beginning[:length])
    body = header_start + length
    known = end
    if known is None and (by_length or header.is_numbered):
        known = _end_by_length(reader, body, header)
    if is_plain and known is not None:
        look = _Look(known, [])
    else:
        look = _look_through(reader, header_start, body, known)
    end = look.end
    if length == 0 and not is_whole:
        # What ends before an empty line comes is a header alone.
        size = end - header_start
        length = header_end(beginning[:size], is_whole=size <= len(beginning))
        header = Header(beginning[:length])
        body = header_start + length
    last = end if bare else _without_empty_line(reader, body, end)
    ranges = [(header_start + a, header_start + b) for a, b in header.own_ranges()]
    position = body
    for mark in () if look.is_raw else look.quoted:
        if mark >= body:
            ranges.append((position, mark))
            position = mark + 1
    if last > position:
        ranges.append((position, last))
    last = max(last, body)
    is_ended = last == header_start or reader.read(last - 1, last) == b"\n"
    kept = tuple(part for part in ranges if part[1] > part[0])
    lines = look.hides, look.is_plain
    return Layout(start, end, line, header, header_start, kept, is_ended, *lines)


def _beginning(reader: Reader, start: int, limit: int) -> bytes:
    """All of a header block and an empty line, or as much as may be one."""
    for count in (USUAL_HEADER, HEADER_LIMIT):
        beginning = reader.read(start, min(start + count, limit))
        if header_end(beginning, is_whole=False) or beginning[:1] in {b"\n", b"\r"}:
            break
    return beginning


def _look_through(reader: Reader, header_start: int, body: int, end: int | None) -> _Look:
    """Looks at all lines of a message that begin with ``From ``, after marks or none."""
    quoted: list[int] = []
    is_raw = hides = False
    for found in reader.find_all(FROM, header_start, reader.size if end is None else end):
        before = reader.read(max(found - MARKS_LIMIT - 4, header_start), found)
        marks = len(before) - len(before.rstrip(b">"))
        ahead = before[: len(before) - marks]
        if ahead and not ahead.endswith(b"\n"):
            continue
        if marks:
            if marks <= MARKS_LIMIT and found >= body and not is_raw:
                quoted.append(found - marks)
                is_raw = len(quoted) > QUOTED_LIMIT
            continue
        is_after_empty = ahead.endswith(_EMPTY) or ahead in _ALONE
        if not hides and is_after_empty and is_separator(reader, found):
            if end is None:
                return _Look(found, quoted, is_raw, hides)
            hides = True
        is_raw = is_raw or found >= body
    return _Look(reader.size if end is None else end, quoted, is_raw, hides)


def end_by_length(reader: Reader, layout: Layout) -> int | None:
    """Where a Content-Length says that the next message begins, if one begins there."""
    return _end_by_length(reader, layout.header_start + len(layout.header.raw), layout.header)


def _end_by_length(reader: Reader, body: int, header: Header) -> int | None:
    length = header.content_length
    if length is None:
        return None
    # It counts from behind the empty line that ends the header.
    empty = reader.read(body, body + 2)
    place = body + (1 if empty[:1] == b"\n" else 2) + length
    if place > reader.size:
        return None
    after = reader.read(place, place + 2)
    for end in (place + (1 if after[:1] == b"\n" else 2), place):
        if end >= reader.size and (end == place or not after.strip(b"\r\n")):
            return reader.size
        if is_separator(reader, end):
            return end
    return None


def is_separator(reader: Reader, place: int, *, first: bool = False) -> bool:
    """Whether a message begins at a place that comes after an empty line, or is the first."""
    line = reader.line(place)
    if not line.startswith(FROM) or len(line) > LINE_LIMIT:
        return False
    following = place + len(line)
    return separates(line, reader.read(following, following + _FIELD_LIMIT), first=first)


def _without_empty_line(reader: Reader, start: int, end: int) -> int:
    tail = reader.read(max(end - 3, start), end)
    if tail in (b"\n", b"\r\n") or tail.endswith(b"\n\n"):
        return end - (2 if tail == b"\r\n" else 1)
    return end - 2 if tail.endswith(b"\n\r\n") else end


def first_separator(reader: Reader) -> int | None:
    """Where the first message begins; None: there is none."""
    start = 0
    for byte in reader.read(0, LINE_LIMIT):
        if byte not in b"\r\n":
            break
        start += 1
    return start if is_separator(reader, start, first=True) else None


def digest_of(reader: Reader, layout: Layout) -> bytes:
    """SHA-256 of the content of a message."""
    sha256 = hashlib.sha256()
    for start, end in layout.ranges:
        for place in range(start, end, COPY_BLOCK):
            sha256.update(reader.read(place, min(place + COPY_BLOCK, end)))
    if not layout.is_ended:
        sha256.update(b"\n")
    return sha256.digest()


class RangesStream(io.RawIOBase):
    """The content of one message of an open file, which it owns."""

    def __init__(self, descriptor: int, layout: Layout) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._ranges = layout.ranges
        self._ends = list(accumulate(end - start for start, end in layout.ranges))
        self._size = layout.size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(base + offset, 0)
        return self._position

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]  # the buffer protocol
        number = bisect_right(self._ends, self._position)
        if number == len(self._ends):
            # The end that the last line lacks in the file.
            is_left = self._position < self._size and len(view) > 0
            view[: int(is_left)] = b"\n"[: int(is_left)]
            self._position += is_left
            return int(is_left)
        start, end = self._ranges[number]
        offset = self._position - (self._ends[number] - (end - start))
        count = min(len(view), end - start - offset)
        count = os.preadv(self._descriptor, [view[:count]], start + offset)
        self._position += count
        return count

    def close(self) -> None:
        if not self.closed:
            os.close(self._descriptor)
        super().close()
