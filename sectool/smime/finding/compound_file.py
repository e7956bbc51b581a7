"""Reads the streams of a compound file, as Outlook and old office programs write it ([MS-CFB]).

A stream may lie in sectors anywhere, a short one in pieces of 64 bytes of another
stream. Damage costs the stream it is in.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from itertools import islice
from struct import unpack_from

from sectool.errors import LimitExceeded
from sectool.mime.limits import Limits

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
