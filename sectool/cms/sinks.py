"""Sinks for what is only looked at: hashed on its way, or not kept."""

from __future__ import annotations

import hashlib

from sectool.cms.seams import Sink


class HashingSink:
    """Hands bytes on to a sink, and knows how many there were and their digest."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._sha256 = hashlib.sha256()
        self.size = 0
        """Bytes that were written."""

    def write(self, data: bytes, /) -> None:
        self._sha256.update(data)
        self.size += len(data)
        self._sink.write(data)

    def digest(self) -> str:
        """SHA-256 of what was written, lower-case hexadecimal."""
        return self._sha256.hexdigest()


class _Discard:
    def write(self, _data: bytes, /) -> None:
        pass


DISCARD: Sink = _Discard()
"""A sink for checking what is not to be kept."""
