"""Unpacks zip and gzip files in memory, bounded, to look for mail in them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from struct import unpack_from

from sectool.errors import LimitExceeded
from sectool.smime.compressed_data import UnpackingBudget
from sectool.smime.limits import Limits

_END_OF_DIRECTORY = b"PK\x05\x06"
_ENTRY = b"PK\x01\x02"
_LOCAL = b"PK\x03\x04"
_END_SIZE = 22
_LONGEST_COMMENT = 65_535
_STORED, _DEFLATED = 0, 8
_IS_ENCRYPTED = 1
_GZIP = 31
"""What zlib calls a window of the largest size with gzip's header."""
_BLOCK = 64 * 1024


@dataclass(frozen=True, slots=True)
class ArchivedFile:
    """One file in an archive."""

    name: bytes
    """Lower case."""
    is_readable: bool
    """Whether it can be unpacked: it is neither encrypted nor compressed in another way."""
    method: int
    packed: bytes

    def head(self, size: int) -> bytes:
        """Its first bytes; empty where it is damaged."""
        if self.method == _STORED:
            return self.packed[:size]
        try:
            return zlib.decompressobj(-15).decompress(self.packed[: 2 * size], size)
        except zlib.error:
            return b""

    def unpack(self, budget: UnpackingBudget) -> bytes:
        """All of it, as far as it is whole.

        Raises:
            LimitExceeded: the budget is spent.
        """
        if self.method == _STORED:
            budget.spend(len(self.packed))
            return self.packed
        return _inflate(self.packed, zlib.decompressobj(-15), budget)


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
    for _ in range(count):
        if position < 0 or not data.startswith(_ENTRY, position):
            return
        flags, method = unpack_from("<HH", data, position + 8)
        (packed_size,) = unpack_from("<I", data, position + 20)
        name_size, extra_size, comment_size = unpack_from("<HHH", data, position + 28)
        (local,) = unpack_from("<I", data, position + 42)
        name = data[position + 46 : position + 46 + name_size].lower()
        position += 46 + name_size + extra_size + comment_size
        local += shift
        if local < 0 or not data.startswith(_LOCAL, local):
            continue
        begin = local + 30 + sum(unpack_from("<HH", data, local + 26))
        is_readable = not flags & _IS_ENCRYPTED and method in {_STORED, _DEFLATED}
        yield ArchivedFile(name, is_readable, method, data[begin : begin + packed_size])


def unpack_gzip(data: bytes, budget: UnpackingBudget) -> bytes:
    """What the members of a gzip file hold (RFC 1952 section 2.2), as far as they are whole.

    Raises:
        LimitExceeded: the budget is spent.
    """
    members: list[bytes] = []
    while data:
        inflater = zlib.decompressobj(_GZIP)
        members.append(_inflate(data, inflater, budget))
        data = inflater.unused_data
    return b"".join(members)


def _inflate(packed: bytes, inflater: zlib._Decompress, budget: UnpackingBudget) -> bytes:
    blocks: list[bytes] = []
    try:
        while packed and not inflater.eof:
            block = inflater.decompress(packed, _BLOCK)
            budget.spend(len(block))
            blocks.append(block)
            packed = inflater.unconsumed_tail
            if not block and not packed:
                break
    except zlib.error:
        pass  # what came before stands
    return b"".join(blocks)
