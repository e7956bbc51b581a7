"""Reads ranges of a stored message in order, in blocks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from sectool.errors import MessageChanged
from sectool.message import COPY_BLOCK


class ForwardReader:
    """A stream read by ascending offsets.

    Args:
        stream: at its first byte, which is offset zero.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._offset = 0

    def blocks_to(self, end: int) -> Iterator[bytes]:
        """What lies between here and ``end``; must be read to its end.

        Raises:
            MessageChanged: the stream ends sooner.
        """
        while self._offset < end:
            block = self._stream.read(min(end - self._offset, COPY_BLOCK))
            if not block:
                raise MessageChanged("the message became shorter while it was read")
            self._offset += len(block)
            yield block

    def pass_to(self, end: int) -> None:
        """Leaves out what lies between here and ``end``.

        Raises:
            MessageChanged: the stream ends sooner.
        """
        if end > self._offset and self._stream.seekable():
            self._stream.seek(end)
            self._offset = end
            return
        for _ in self.blocks_to(end):
            pass
