"""Reads an mbox from its first byte to its last, in memory that does not grow with it.

The index that is made of it says of each message where it lies and what it holds, in about a
hundred bytes. What names a message is made of its separator line and of its own bytes, so
that neither flags nor what comes before or after it change its name.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import time
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import accumulate

from sectool.errors import MailboxError
from sectool.mailbox.mbox.form import (
    EPOCH,
    FROM,
    HEADER_LIMIT,
    LINE_LIMIT,
    MARKS_LIMIT,
    Header,
    header_end,
    separates,
)
from sectool.message import COPY_BLOCK, Flags
from sectool.values import dataclass

WINDOW = 512 * 1024
"""Bytes of a file that are in memory at once."""

USUAL_HEADER = 16 * 1024
"""Bytes in which most header blocks end."""

QUOTED_LIMIT = 100_000
"""Quoted lines in one message; one with more is read as it stands."""

MESSAGE_LIMIT = 2_000_000
"""Messages in one file."""

_FIELD_LIMIT = 256
_EMPTY = (b"\n\n", b"\n\r\n")
_ALONE = (b"\n", b"\r\n")
_FLAGS = 1000
"""Different sets of flags that one file has, before keywords are passed over."""
_KEY = 16
_DIGEST = 32
_SECOND_NS = 1_000_000_000
_GRAIN_NS = 20_000_000
"""A change so soon after another may leave the times of a file as they are."""


class Reader:
    """Reads an open file at any place, without a position that others could move.

    Args:
        descriptor: of the file, which stays its owner's.
        size: bytes that count; what comes after them is not seen.
        about: length in bytes of what is looked at; None: all of the file.
    """

    def __init__(self, descriptor: int, size: int, about: int | None = None) -> None:
        self.descriptor = descriptor
        self.size = size
        self._window = WINDOW if about is None else min(about + 4 * LINE_LIMIT, WINDOW)
        self._start = 0
        self._data = b""

    def read(self, start: int, end: int) -> bytes:
        """The bytes of a range, as far as they are there."""
        end = min(end, self.size)
        if end <= start:
            return b""
        if not (self._start <= start and end <= self._start + len(self._data)):
            if end - start > WINDOW // 2:
                return self._pread(end - start, start)
            self._start = max(start - LINE_LIMIT - MARKS_LIMIT, 0)
            count = max(self._window, end - self._start)
            self._data = self._pread(min(count, self.size - self._start), self._start)
        return self._data[start - self._start : end - self._start]

    def _pread(self, count: int, start: int) -> bytes:
        data = os.pread(self.descriptor, count, start)
        while len(data) < count and (
            more := os.pread(self.descriptor, count - len(data), start + len(data))
        ):
            data += more
        return data

    def find_all(self, what: bytes, start: int, end: int) -> Iterator[int]:
        """Where ``what`` stands in a range, in order."""
        end = min(end, self.size)
        while start < end:
            self.read(start, min(start + len(what), end))
            data, base = self._data, self._start
            last = min(base + len(data), end) - base
            position = start - base
            while (position := data.find(what, position, last)) >= 0:
                yield base + position
                position += 1
            if base + last >= end:
                return
            start = max(base + last - len(what) + 1, start + 1)

    def line(self, start: int) -> bytes:
        """The line that begins at a place; without its end where that is beyond the limit."""
        return self.read(start, start + LINE_LIMIT).partition(b"\n")[0] + b"\n"


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
    is_raw: bool
    """Whether none is quoted."""
    hides: bool


def lay_out(
    reader: Reader, start: int, end: int | None, *, by_length: bool, bare: bool = False
) -> Layout:
    """Finds where a message ends, and what of it is its content.

    Args:
        reader: of the file.
        start: of its separator line.
        end: where the next message begins, where that is known.
        by_length: whether a Content-Length says it, where it is right.
        bare: the file holds this message alone, without a separator line.
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
    return Layout(start, end, line, header, header_start, kept, is_ended, look.hides)


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


# --- all of a file ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FileState:
    """What differs where a file was exchanged or changed, unless too soon after it was read."""

    device: int
    inode: int
    size: int
    modified: int
    changed: int

    @classmethod
    def of(cls, descriptor: int) -> FileState:
        """That of an open file."""
        return cls.of_status(os.fstat(descriptor))

    @classmethod
    def of_status(cls, status: os.stat_result) -> FileState:
        """The same, of what the system said of it."""
        times = status.st_mtime_ns, status.st_ctime_ns
        return cls(status.st_dev, status.st_ino, status.st_size, *times)

    def is_settled(self, read_at: int) -> bool:
        """Whether a change since it was read, at a time in nanoseconds, shows in it."""
        is_coarse = self.changed % _SECOND_NS == 0
        return self.changed + (2 * _SECOND_NS if is_coarse else _GRAIN_NS) < read_at


class Index:
    """The messages of one file, as it was when it was read.

    Attributes:
        state: of the file.
        is_settled: whether a change since shows in the state.
        by_length: whether the file is of a kind whose Content-Length says where messages end.
    """

    def __init__(self, state: FileState, *, is_settled: bool) -> None:
        self.state = state
        self.is_settled = is_settled
        self.by_length = False
        self.starts = array("Q")
        self.ends = array("Q")
        self.sizes = array("Q")
        self.dates = array("q")
        self._flags = array("L")
        self._all_flags: list[Flags] = []
        self._numbers: dict[Flags, int] = {}
        self.keys = bytearray()
        self.digests = bytearray()
        self._ordinals = array("L")
        self._seen: Counter[bytes] = Counter()

    def __len__(self) -> int:
        return len(self.starts)

    def add(self, layout: Layout, digest: bytes) -> None:
        """Takes the next message."""
        if len(self.starts) >= MESSAGE_LIMIT:
            raise MailboxError(
                f"the mbox file has more than {MESSAGE_LIMIT} messages", hint="split it"
            )
        self.starts.append(layout.start)
        self.ends.append(layout.end)
        self.sizes.append(layout.size)
        self.dates.append(int((layout.header.internal_date(layout.line) - EPOCH).total_seconds()))
        flags = layout.header.flags
        if flags not in self._numbers and len(self._all_flags) >= _FLAGS:
            flags = Flags(flags.system)
        if flags not in self._numbers:
            self._numbers[flags] = len(self._all_flags)
            self._all_flags.append(flags)
        self._flags.append(self._numbers[flags])
        key = key_of(layout.line, digest)
        self._ordinals.append(self._seen[key])
        self._seen[key] += 1
        self.keys += key
        self.digests += digest

    def finish(self) -> None:
        """Lets go of what only ``add`` needs."""
        self._seen.clear()

    def key(self, number: int) -> str:
        """What names a message in its folder."""
        return f"{self.keys[_KEY * number : _KEY * (number + 1)].hex()}.{self._ordinals[number]}"

    def digest(self, number: int) -> str:
        """SHA-256 of the content of a message, lower-case hexadecimal."""
        return self.digests[_DIGEST * number : _DIGEST * (number + 1)].hex()

    def flags(self, number: int) -> Flags:
        """What the store's fields said of a message."""
        return self._all_flags[self._flags[number]]

    def date(self, number: int) -> datetime:
        """When a message came."""
        return EPOCH + timedelta(seconds=self.dates[number])

    def hint(self, number: int) -> str:
        """Changes when the bytes of a message do."""
        return f"{self.sizes[number]}:{self.digest(number)[:16]}"

    def find(self, key: str) -> int | None:
        """The number of the message of that name; None: there is none."""
        name, _, ordinal = key.partition(".")
        if not (_HEXADECIMAL.fullmatch(name) and ordinal.isdecimal()):
            return None
        numbers = _aligned(self.keys, bytes.fromhex(name))
        return next((n for n in numbers if self._ordinals[n] == int(ordinal)), None)

    def tables(self, first: int, last: int) -> tuple[bytearray, bytearray]:
        """What names the messages of a range, and the digests of their contents."""
        return (
            self.keys[_KEY * first : _KEY * last],
            self.digests[_DIGEST * first : _DIGEST * last],
        )

    def with_digest(self, digest: str) -> Iterator[int]:
        """The numbers of the messages whose content has a SHA-256."""
        return _aligned(self.digests, bytes.fromhex(digest))


_HEXADECIMAL = re.compile(rf"[0-9a-f]{{{2 * _KEY}}}")


def key_of(line: bytes, digest: bytes) -> bytes:
    """What a message is named by: its separator line and its content."""
    return hashlib.sha256(line.rstrip(b"\r\n") + b"\0" + digest).digest()[:_KEY]


def _aligned(table: bytearray, entry: bytes) -> Iterator[int]:
    position = table.find(entry)
    while position >= 0:
        number, rest = divmod(position, len(entry))
        if not rest:
            yield number
        position = table.find(entry, position + 1)


def digest_of(reader: Reader, layout: Layout) -> bytes:
    """SHA-256 of the content of a message."""
    sha256 = hashlib.sha256()
    for start, end in layout.ranges:
        for place in range(start, end, COPY_BLOCK):
            sha256.update(reader.read(place, min(place + COPY_BLOCK, end)))
    if not layout.is_ended:
        sha256.update(b"\n")
    return sha256.digest()


def read_index(descriptor: int) -> Index:
    """Reads all of an open file.

    Raises:
        MailboxError: it has more messages than one file may.
        OSError: it cannot be read.
    """
    read_at, state = time.time_ns(), FileState.of(descriptor)
    index = Index(state, is_settled=state.is_settled(read_at))
    reader = Reader(descriptor, state.size)
    position = first = first_separator(reader)
    while position is not None and position < state.size:
        by_length = index.by_length or not len(index)
        layout = lay_out(reader, position, None, by_length=by_length)
        if not len(index) and end_by_length(reader, layout) == layout.end:
            index.by_length = True
        if position != first or not layout.header.is_of_pseudo_message:
            index.add(layout, digest_of(reader, layout))
        position = layout.end
    index.finish()
    return index


def first_separator(reader: Reader) -> int | None:
    """Where the first message begins; None: there is none."""
    start = 0
    for byte in reader.read(0, LINE_LIMIT):
        if byte not in b"\r\n":
            break
        start += 1
    return start if is_separator(reader, start, first=True) else None


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
