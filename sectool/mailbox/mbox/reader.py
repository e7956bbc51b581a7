"""Reads an open file at any place, in a window that does not grow with it."""

from __future__ import annotations

import os
from collections.abc import Iterator

from sectool.mailbox.mbox.form import LINE_LIMIT, MARKS_LIMIT

WINDOW = 512 * 1024
"""Bytes of a file that are in memory at once."""


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
