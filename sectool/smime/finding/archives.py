"""Looks for mail in zip, gzip and compound files and for recipients in PDF, in memory, bounded."""

from __future__ import annotations

import binascii
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from itertools import islice
from struct import unpack_from

from sectool import cms
from sectool.budget import Work, current
from sectool.errors import LimitExceeded
from sectool.message import BytesContent
from sectool.mime.limits import Limits
from sectool.values import dataclass

_END_OF_DIRECTORY = b"PK\x05\x06"
_END_OF_DIRECTORY_64 = b"PK\x06\x06"
_ENTRY = b"PK\x01\x02"
_LOCAL = b"PK\x03\x04"
_END_SIZE = 22
_ENDS_64_SIZE = 56 + 20
"""The end record and the locator of zip64; the record may have more behind."""
_LONG = 0xFFFFFFFF
"""Stands for a number that is in the field of zip64."""
_SIZES_64 = 1
_LONGEST_COMMENT = 65_535
_STORED, _DEFLATED = 0, 8
_IS_ENCRYPTED = 1
_GZIP = 31
"""What zlib calls a window of the largest size with gzip's header."""
_BLOCK = 64 * 1024
_PIECE = 4 * 1024


@dataclass(frozen=True, slots=True)
class ArchivedFile:
    """One file in an archive."""

    name: bytes
    """Lower case."""
    is_readable: bool
    """Whether it can be unpacked: it is neither encrypted nor compressed in another way."""
    method: int
    packed: memoryview
    """Of the archive: many files may be said to lie in one place."""

    def head(self, size: int) -> bytes:
        """Its first bytes; empty where it is damaged."""
        if self.method == _STORED:
            return bytes(self.packed[:size])
        try:
            return zlib.decompressobj(-15).decompress(self.packed[: 2 * size], size)
        except zlib.error:
            return b""

    def unpack(self) -> bytes:
        """All of it, as far as it is whole.

        Raises:
            LimitExceeded: enough was unpacked for the message.
        """
        if self.method == _STORED:
            current().spend_if_left(Work.ARCHIVE, len(self.packed))
            return bytes(self.packed)
        inflater = zlib.decompressobj(-15)
        return b"".join(_inflate(piece, inflater) for piece in _pieces(self.packed))


def files_of_zip(data: bytes, limits: Limits) -> list[ArchivedFile]:
    """The files of a zip archive, by its directory; none where there is no whole directory.

    Raises:
        LimitExceeded: there are too many.
    """
    end = data.rfind(_END_OF_DIRECTORY, max(len(data) - _END_SIZE - _LONGEST_COMMENT, 0))
    if end < 0:
        return []
    try:
        (count, size, start) = unpack_from("<HII", data, end + 10)
        long_end = data.rfind(_END_OF_DIRECTORY_64, max(end - 16 * _ENDS_64_SIZE, 0), end)
        if long_end >= 0 and (count == 0xFFFF or _LONG in {size, start}):
            end = long_end
            (count, size, start) = unpack_from("<QQQ", data, end + 32)
        # Bytes before the archive, as of a program that unpacks itself, count for nothing.
        shift = end - size - start
        return list(_entries(data, start + shift, shift, count, limits))
    except struct.error:
        return []


def names_in_zip(tail: bytes) -> list[bytes]:
    """Names, lower case, of the files of an archive; empty: its directory is not in sight.

    Args:
        tail: the last bytes of the archive.
    """
    end = tail.rfind(_END_OF_DIRECTORY)
    names: list[bytes] = []
    try:
        count, size = unpack_from("<HI", tail, end + 10)
        position = end - size
        if end < 0 or position < 0:
            return []
        for _ in range(count):
            name, extra, comment = unpack_from("<HHH", tail, position + 28)
            names.append(tail[position + 46 : position + 46 + name].lower())
            position += 46 + name + extra + comment
    except struct.error:
        return []
    return names if position == end else []


def _entries(
    data: bytes, position: int, shift: int, count: int, limits: Limits
) -> Iterator[ArchivedFile]:
    if count > limits.archive_entries:
        raise LimitExceeded("an archive has too many files to look into")
    view = memoryview(data)
    for _ in range(count):
        if position < 0 or not data.startswith(_ENTRY, position):
            return
        flags, method = unpack_from("<HH", data, position + 8)
        packed_size, size = unpack_from("<II", data, position + 20)
        name_size, extra_size, comment_size = unpack_from("<HHH", data, position + 28)
        (local,) = unpack_from("<I", data, position + 42)
        begin = position + 46 + name_size
        name = data[position + 46 : begin].lower()
        packed_size, local = _long_sizes(data[begin : begin + extra_size], packed_size, size, local)
        position += 46 + name_size + extra_size + comment_size
        local += shift
        if local < 0 or not data.startswith(_LOCAL, local):
            continue
        begin = local + 30 + sum(unpack_from("<HH", data, local + 26))
        is_readable = not flags & _IS_ENCRYPTED and method in {_STORED, _DEFLATED}
        yield ArchivedFile(name, is_readable, method, view[begin : begin + packed_size])


def _long_sizes(extra: bytes, packed_size: int, size: int, local: int) -> tuple[int, int]:
    """The packed size and the place of a file, from the extra field where they stand there."""
    position = 0
    while position + 4 <= len(extra):
        kind, length = unpack_from("<HH", extra, position)
        position += 4
        if kind == _SIZES_64:
            # In this order, and each only where its short form says so.
            numbers = iter(unpack_from(f"<{length // 8}Q", extra, position))
            if size == _LONG:
                next(numbers, 0)
            packed_size = next(numbers, 0) if packed_size == _LONG else packed_size
            local = next(numbers, 0) if local == _LONG else local
        position += length
    return packed_size, local


def unpack_gzip(data: bytes) -> bytes:
    """What the members of a gzip file hold (RFC 1952 section 2.2), as far as they are whole.

    Raises:
        LimitExceeded: enough was unpacked for the message.
    """
    members: list[bytes] = []
    inflater = zlib.decompressobj(_GZIP)
    for piece in _pieces(memoryview(data)):
        rest: bytes | memoryview = piece
        while rest:
            members.append(_inflate(rest, inflater))
            if not inflater.eof:
                break
            rest, inflater = inflater.unused_data, zlib.decompressobj(_GZIP)
    return b"".join(members)


def _pieces(packed: memoryview) -> Iterator[memoryview]:
    """Short ones, since zlib copies what it leaves of each."""
    return (packed[start : start + _PIECE] for start in range(0, len(packed), _PIECE))


def _inflate(packed: bytes | memoryview, inflater: zlib._Decompress) -> bytes:
    blocks: list[bytes] = []
    try:
        while packed and not inflater.eof:
            block = inflater.decompress(packed, _BLOCK)
            current().spend_if_left(Work.ARCHIVE, len(block))
            blocks.append(block)
            packed = inflater.unconsumed_tail
            if not block and not packed:
                break
    except zlib.error:
        pass  # what came before stands
    return b"".join(blocks)


# --- compound files -------------------------------------------------------------------------------
# As Outlook and old office programs write them ([MS-CFB]). A stream may lie in sectors
# anywhere, a short one in pieces of 64 bytes of another stream. Damage costs the stream
# it is in.


_HEADER_SIZE = 512
_ENTRY_SIZE = 128
_IN_HEADER = 109
"""Sectors of the allocation table that the header names."""
_LAST_SECTOR = 0xFFFFFFFA
_STREAM, _ROOT = 2, 5
_SHIFTS = range(6, 17)


class CompoundFile:
    """The streams of one file that is held in memory.

    Args:
        data: the file.
        limits: bounds on hostile input.

    Raises:
        LimitExceeded: it has too many streams.
    """

    def __init__(self, data: bytes, limits: Limits) -> None:
        self._data = data
        self._budget = 4 * len(data)
        """Bytes that may be copied; chains may share sectors."""
        self._short: Sequence[int] = ()
        self._short_stream = b""
        self._entries: list[tuple[str, int, int, int]] = []
        self._table: list[int] = []
        self._cutoff = 0
        try:
            self._read(limits)
        except (struct.error, ValueError):
            return

    def streams(self) -> Iterator[tuple[str, bytes]]:
        """Name and content of each stream, as far as it can be read."""
        for name, kind, sector, size in self._entries:
            if kind != _STREAM or not size:
                continue
            if size < self._cutoff:
                yield name, self._join(self._short_stream, self._short, sector, self._piece, size)
            else:
                yield name, self._long(sector, size)

    def _read(self, limits: Limits) -> None:
        data = self._data
        shift, short_shift = unpack_from("<HH", data, 30)
        if shift not in _SHIFTS or short_shift not in _SHIFTS:
            raise ValueError
        self._size, self._piece = 1 << shift, 1 << short_shift
        directory, _, self._cutoff, first_short = unpack_from("<IIII", data, 48)
        for sector in islice(self._table_sectors(), len(data) // self._size + 1):
            self._table += self._numbers(self._sector(sector))
        self._read_directory(self._long(directory, len(data)), limits)
        self._short = self._numbers(self._long(first_short, len(data)))

    def _table_sectors(self) -> Iterator[int]:
        further, count = unpack_from("<II", self._data, 68)
        listed: Sequence[int] = unpack_from(f"<{_IN_HEADER}I", self._data, 76)
        for _ in range(min(count, len(self._data) // self._size) + 1):
            yield from (one for one in listed if one < _LAST_SECTOR)
            if further >= _LAST_SECTOR:
                return
            numbers = self._numbers(self._sector(further))
            if not numbers:
                return
            listed, further = numbers[:-1], numbers[-1]

    def _read_directory(self, raw: bytes, limits: Limits) -> None:
        if len(raw) // _ENTRY_SIZE > limits.archive_entries * 4:
            raise LimitExceeded("a compound file has too many streams to look into")
        for at in range(0, len(raw) - _ENTRY_SIZE + 1, _ENTRY_SIZE):
            length, kind = unpack_from("<HB", raw, at + 64)
            sector, size = unpack_from("<II", raw, at + 116)
            name = raw[at : at + max(min(length, 64) - 2, 0)].decode("utf-16-le", "replace")
            if kind == _ROOT and not self._short_stream:
                self._short_stream = self._long(sector, size)
            self._entries.append((name, kind, sector, size))

    def _sector(self, number: int) -> bytes:
        # The header takes the place of one sector, whatever their size.
        begin = max(_HEADER_SIZE, self._size) + number * self._size
        return self._data[begin : begin + self._size]

    @staticmethod
    def _numbers(raw: bytes) -> Sequence[int]:
        return unpack_from(f"<{len(raw) // 4}I", raw)

    def _long(self, sector: int, size: int) -> bytes:
        # Sectors are counted from behind the header.
        data = memoryview(self._data)[max(_HEADER_SIZE, self._size) :]
        return self._join(data, self._table, sector, self._size, size)

    def _join(
        self,
        data: bytes | memoryview,
        table: Sequence[int],
        number: int,
        piece: int,
        size: int,
    ) -> bytes:
        pieces: list[bytes | memoryview] = []
        left = min(size, len(data), self._budget)
        self._budget -= left
        while left > 0 and number < len(table) and number < _LAST_SECTOR:
            begin = number * piece
            block = data[begin : begin + min(piece, left)]
            if not block:
                break
            pieces.append(block)
            left -= len(block)
            number = table[number]
        return b"".join(pieces)


# --- PDF ------------------------------------------------------------------------------------------
# What is encrypted to certificates (ISO 32000-2 section 7.6.5).


ENCRYPTION = b"/Encrypt"
"""What stands in the trailer of every encrypted PDF."""
_HANDLER = re.compile(rb"/(?:Adobe\.PubSec|adbe\.pkcs7\.s[345]|Entrust\.PPKEF)\b")
_RECIPIENTS = re.compile(rb"/Recipients\s*\[?")
_HEXADECIMAL = re.compile(rb"\s*<([0-9A-Fa-f\s]{64,})>")
_LITERAL = re.compile(rb"\s*\(")
_TOKEN = re.compile(rb"\\.|[()]", re.DOTALL)
_LONGEST_STRINGS = 4 * 1024 * 1024
"""Bytes of all that are looked at in one file."""
_ESCAPE = re.compile(rb"\\([0-7]{1,3}|\r\n|.)", re.DOTALL)
_ESCAPED = {
    b"n": b"\n",
    b"r": b"\r",
    b"t": b"\t",
    b"b": b"\b",
    b"f": b"\f",
    b"\n": b"",
    b"\r\n": b"",
}


def recipients_of_pdf(data: bytes, limits: Limits) -> list[cms.RecipientsSeen]:
    """The envelopes that hold the key of a PDF; one that cannot be read stands for them all.

    Args:
        data: the file.
        limits: bounds on hostile input.
    """
    if _HANDLER.search(data) is None:
        return []
    found: list[cms.RecipientsSeen] = []
    left = _LONGEST_STRINGS
    for match in islice(_RECIPIENTS.finditer(data), limits.envelopes_unreached):
        position = match.end()
        while len(found) < limits.envelopes_unreached:
            begin = position
            raw, position = _string(data, begin, left)
            left -= position - begin
            if not raw:
                break
            found.append(cms.read_recipients(BytesContent(raw)))
    return found or [cms.RecipientsSeen("", True, (), False)]


def _string(data: bytes, position: int, most: int) -> tuple[bytes, int]:
    """A string object of at most so many bytes and where it ends; empty: there is none."""
    if match := _HEXADECIMAL.match(data, position):
        digits = b"".join(match[1].split())
        return binascii.unhexlify(digits[: len(digits) & ~1]), match.end()
    match = _LITERAL.match(data, position)
    if match is None:
        return b"", position
    begin = match.end() - 1
    depth = 0
    for token in _TOKEN.finditer(data, begin, begin + most):
        depth += (token[0] == b"(") - (token[0] == b")")
        if depth == 0:
            end = token.start()
            break
    else:
        return b"", min(begin + most, len(data))
    return _ESCAPE.sub(_unescaped, data[begin + 1 : end]), end + 1


def _unescaped(match: re.Match[bytes]) -> bytes:
    word = match[1]
    if word[:1].isdigit() and word[:1] < b"8":
        return bytes((int(word, 8) & 0xFF,))
    return _ESCAPED.get(word, word)
