"""Unpacks zip and gzip files in memory, bounded, to look for mail in them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from struct import unpack_from

from sectool.budget import Work, current
from sectool.errors import LimitExceeded
from sectool.mime.limits import Limits

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
