"""Content that can only be written, such as a decryption, read like any other.

A thread writes it into a short queue while it is read, so that it never lies
whole in memory or on a disk.
"""

from __future__ import annotations

import contextvars
import io
import queue
import threading
from collections.abc import Callable
from dataclasses import field
from typing import BinaryIO

from sectool.message import BytesContent, Content, InnerEntity, Sink, digest_stream
from sectool.values import dataclass

_BLOCK = 256 * 1024
_WAITING_BLOCKS = 4
IN_MEMORY = 32 * 1024 * 1024
"""Plaintext up to this size, in bytes, is held in memory while it is looked into: what is encrypted
again inside of it is else decrypted from the beginning for each look at each of many layers."""


def content_of(inner: InnerEntity) -> Content:
    """A plaintext as content: small in memory, large decrypted anew for each reading."""
    if inner.size > IN_MEMORY or isinstance(inner.content, BytesContent):
        return inner.content
    buffer = io.BytesIO()
    inner.write_to(buffer)
    return BytesContent(buffer.getvalue())


@dataclass(frozen=True)
class PushedContent:
    """Bytes that are written anew each time they are opened."""

    write_to: Callable[[Sink], object] = field(repr=False)
    """Writes all of them; what it raises reaches the reader."""
    size: int
    """In bytes."""

    @property
    def digest(self) -> str:
        """SHA-256 of all bytes, lower-case hexadecimal."""
        with self.open() as stream:
            return digest_stream(stream)

    def open(self) -> BinaryIO:
        """A new stream from the first byte; the caller closes it."""
        return io.BufferedReader(_Pipe(self.write_to), _BLOCK)


class _Closed(Exception):  # it ends a writer nobody reads from and is no error
    pass


class _Pipe(io.RawIOBase):
    """The reading end; closing it ends the writer."""

    def __init__(self, write_to: Callable[[Sink], object]) -> None:
        super().__init__()
        self._queue: queue.Queue[memoryview | BaseException | None] = queue.Queue(_WAITING_BLOCKS)
        self._block = memoryview(b"")
        self._at_end = False
        self._is_wanted = True
        # What the message may cost is counted there, too.
        run = contextvars.copy_context().run
        self._writer = threading.Thread(target=run, args=(self._write, write_to), daemon=True)
        self._writer.start()

    def _write(self, write_to: Callable[[Sink], object]) -> None:
        last: BaseException | None = None
        try:
            write_to(self._Writer(self))
        except _Closed:
            pass
        except BaseException as error:  # noqa: BLE001  # it is the reader's to handle
            last = error
        self._queue.put(last)

    class _Writer:
        def __init__(self, pipe: _Pipe) -> None:
            self._pipe = pipe

        def write(self, data: bytes, /) -> int:
            if not self._pipe._is_wanted:  # noqa: SLF001  # two ends of one thing
                raise _Closed
            for start in range(0, len(data), _BLOCK):
                self._pipe._queue.put(memoryview(data)[start : start + _BLOCK])  # noqa: SLF001
            return len(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        target = memoryview(buffer)  # type: ignore[arg-type]  # the buffer protocol
        while not self._block and not self._at_end:
            item = self._queue.get()
            if isinstance(item, memoryview):
                self._block = item
                continue
            self._at_end = True
            if item is not None:
                raise item
        count = min(len(target), len(self._block))
        target[:count] = self._block[:count]
        self._block = self._block[count:]
        return count

    def close(self) -> None:
        self._is_wanted = False
        while not self._at_end:
            self._at_end = not isinstance(self._queue.get(), memoryview)
        self._writer.join()
        super().close()
